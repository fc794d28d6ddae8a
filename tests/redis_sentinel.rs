//! The Redis stores behind real Sentinels.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::time::{Duration, Instant};

use test_support::{client::within, sentinel::Sentinels};
use tower_oauth2_password::store::{
    Denial, Denied, DenyList as _, Family, FamilyId, Previous, RefreshStore as _, Rotation, SecretHash, TokenRef,
    redis::{RedisDenyList, RedisStores},
};

const HOUR: Duration = Duration::from_secs(3_600);
const SOON: Duration = Duration::from_secs(5);
const ID: FamilyId = FamilyId([7; 16]);

/// The deadline that a request sets for its stores.
fn soon() -> Instant {
    Instant::now() + Duration::from_millis(500)
}

async fn deny(list: &RedisDenyList, id: &str) -> bool {
    list.deny(Denial::new(Denied::Token(id), None, id, HOUR), soon()).await.is_ok()
}

fn denies(list: &RedisDenyList, id: &str) -> bool {
    let mut token = TokenRef::new("alice");
    token.id = Some(id);
    list.is_denied(token)
}

#[tokio::test]
async fn a_failover_is_followed() {
    let mut sentinels = Sentinels::start();
    // The last one is asked first.
    sentinels.kill_last();
    let stores = RedisStores::open_sentinel("shop", sentinels.urls()).unwrap();
    let (families, list) = (stores.refresh_tokens(), stores.deny_list());
    within(SOON, "another Sentinel", async || families.find(ID, soon()).await.is_ok()).await;
    families.insert(ID, Family::new(SecretHash([1; 32]), "alice", HOUR, HOUR), 10, soon()).await.unwrap();
    within(SOON, "the copy", async || list.is_in_sync()).await;
    assert!(deny(&list, "before").await);
    // Replication takes a moment.
    tokio::time::sleep(Duration::from_secs(1)).await;

    sentinels.primary.kill9();
    within(Duration::from_secs(2), "the loss", async || !list.is_in_sync()).await;
    within(Duration::from_secs(30), "the failover", async || deny(&list, "after").await).await;
    let old = Previous::new(SecretHash([1; 32]), Vec::new());
    assert_eq!(families.rotate(ID, old, SecretHash([2; 32]), soon()).await.unwrap(), Rotation::Rotated);
    within(SOON, "the copy", async || list.is_in_sync()).await;
    let late = RedisStores::open_sentinel("shop", sentinels.urls()).unwrap().deny_list();
    within(SOON, "the copy", async || late.is_in_sync()).await;
    assert!(["before", "after"].iter().all(|id| denies(&late, id) && denies(&list, id)));
}

#[tokio::test]
async fn an_unknown_name_is_an_error_that_says_so() {
    let sentinels = Sentinels::start();
    let families = RedisStores::open_sentinel("other", sentinels.urls()).unwrap().refresh_tokens();
    let error = families.find(ID, soon()).await.unwrap_err().to_string();
    assert!(error.contains("knows no primary of this name"), "{error}");
}
