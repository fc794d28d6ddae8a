//! The log of a deny list in Redis without the right to subscribe. It has a process of its own: so has its log.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::time::Duration;

use test_support::{client::within, log::Log, redis::Redis};
use tokio::runtime::Builder;
use tower_oauth2_password::store::redis::RedisStores;

const SOON: Duration = Duration::from_secs(5);

#[test]
fn without_the_right_to_subscribe_the_log_says_so_once_and_when_it_is_over() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    let redis = Redis::start();
    redis.command("ACL SETUSER app on >secret ~* &* +@all -subscribe");
    let url = redis.url().replace("//", "//app:secret@");
    let said = |text: &str| log.text().matches(text).count();
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let list = RedisStores::open(&url).unwrap().deny_list();
        within(SOON, "the warning", async || said("the deny list is not in sync") == 1).await;
        assert!(said("subscribe") > 0, "the cause");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!list.is_in_sync());
        assert_eq!(said("the deny list is not in sync"), 1, "tried again and again, and logged once");
        redis.command("ACL SETUSER app +subscribe resetchannels allchannels");
        within(SOON, "the copy", async || list.is_in_sync()).await;
        // Redis may close the connections of a user whose rights change.
        assert!(said("the deny list is in sync") >= 1);
    });
}
