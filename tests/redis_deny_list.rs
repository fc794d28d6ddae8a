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

use test_support::{client::within, redis::Redis};
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
