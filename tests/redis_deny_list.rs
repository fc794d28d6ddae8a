//! The local copy of the deny list in Redis: when it starts, what the log says, and how it catches up.
#![cfg(feature = "redis")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

use std::time::{Duration, Instant};

use test_support::{client::within, redis::Redis, slow::Slow};
use tokio::runtime::{Builder, Runtime};
use tower_oauth2_password::store::{
    Denial, Denied, DenyList, TokenRef,
    redis::{RedisDenyList, RedisStores},
};

const HOUR: Duration = Duration::from_secs(3_600);
const SOON: Duration = Duration::from_secs(5);

fn list(redis: &Redis) -> RedisDenyList {
    RedisStores::open(&redis.url()).unwrap().deny_list()
}

async fn deny(list: &RedisDenyList, id: &str) {
    let denial = Denial::new(Denied::Token(id), None, id, HOUR);
    assert!(list.deny(denial, Instant::now() + SOON).await.unwrap());
}

fn denies(list: &RedisDenyList, id: &str) -> bool {
    let mut token = TokenRef::new("alice");
    token.id = Some(id);
    list.is_denied(token)
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn a_list_that_was_made_outside_a_runtime_follows_from_the_first_question_on() {
    let redis = Redis::start();
    let guarding = list(&redis);
    assert!(!guarding.is_in_sync());
    for round in ["first", "second"] {
        // The second runtime begins after the first has ended, and its task with it.
        runtime().block_on(async {
            within(SOON, "the copy", async || guarding.is_in_sync()).await;
            let revoking = list(&redis);
            deny(&revoking, round).await;
            within(Duration::from_secs(1), "the message", async || denies(&guarding, round)).await;
        });
        assert!(!guarding.is_in_sync(), "nothing follows without a runtime");
    }
    assert!(denies(&guarding, "first"));
}

#[test]
fn a_long_list_is_read_in_pages() {
    let redis = Redis::start();
    runtime().block_on(async {
        let mut connection =
            redis::Client::open(redis.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
        let member = "for n = 1, 12000 do redis.call('ZADD', KEYS[1], 4e12 + n, string.format('%032d', n)) end";
        let _: () =
            redis::cmd("EVAL").arg(member).arg(1).arg("oauth2:deny").query_async(&mut connection).await.unwrap();
        let list = list(&redis);
        within(SOON, "the copy", async || list.is_in_sync()).await;
        assert_eq!(format!("{list:?}").matches("len: 12000").count(), 1, "{list:?}");
    });
}

#[test]
fn a_list_that_messages_do_not_reach_is_not_in_sync_within_two_seconds_and_reads_what_it_missed() {
    let redis = Redis::start();
    runtime().block_on(async {
        let proxy = Slow::in_front_of(redis.port()).await;
        let guarding = RedisStores::open(&format!("redis://{}", proxy.address)).unwrap().deny_list();
        let revoking = list(&redis);
        within(SOON, "the copy", async || guarding.is_in_sync()).await;
        deny(&revoking, "heard").await;
        within(Duration::from_secs(1), "the message", async || denies(&guarding, "heard")).await;

        proxy.lose_messages(true);
        deny(&revoking, "missed").await;
        within(Duration::from_secs(2), "the loss", async || !guarding.is_in_sync()).await;
        within(Duration::from_secs(2), "reading", async || denies(&guarding, "missed")).await;
        deny(&revoking, "later").await;
        within(Duration::from_secs(3), "reading again", async || denies(&guarding, "later")).await;
        assert!(!guarding.is_in_sync(), "what was published has not arrived");

        proxy.lose_messages(false);
        within(SOON, "the end of the loss", async || guarding.is_in_sync()).await;
    });
}
