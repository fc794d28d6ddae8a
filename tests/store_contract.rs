//! This crate's stores keep the contracts of their traits.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

use std::time::Instant;

use tokio::runtime::{Builder, Runtime};
use tower_oauth2_password::store::{MemoryAttemptStore, MemoryDenyList, MemoryRefreshStore};
use tower_oauth2_password_testkit::{self as testkit, Job};

fn threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap()
}

fn spawn(job: Job) {
    tokio::spawn(job);
}

#[test]
fn memory_keeps_the_contracts() {
    let bare = Builder::new_current_thread().enable_time().build().unwrap();
    bare.block_on(testkit::refresh_store(MemoryRefreshStore::new()));
    bare.block_on(testkit::attempt_store(MemoryAttemptStore::new()));
    bare.block_on(testkit::deny_list(MemoryDenyList::new()));
    let list = MemoryDenyList::new();
    bare.block_on(testkit::deny_list_shared(list.clone(), list));
}

#[test]
fn memory_keeps_the_contracts_in_parallel() {
    threads().block_on(async {
        let store = MemoryRefreshStore::new();
        testkit::refresh_store_in_parallel([store.clone(), store], spawn).await;
        let store = MemoryAttemptStore::new();
        testkit::attempt_store_in_parallel([store.clone(), store], spawn).await;
    });
}

#[test]
fn memory_frees_a_slot_that_is_never_settled() {
    // The store's clock runs 20 times as fast; the kit measures with its own clock.
    let start = Instant::now();
    let store = MemoryAttemptStore::new().with_clock(move || start.elapsed() * 20);
    threads().block_on(testkit::attempt_store_lease(store));
}

#[cfg(feature = "redis")]
mod redis {
    use std::time::Duration;

    use tower_oauth2_password::store::{Denial, Denied, DenyList, TokenRef, redis::RedisStores};

    use test_support::redis::Redis;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn stores(redis: &Redis) -> RedisStores {
        RedisStores::open(&redis.url()).unwrap()
    }

    #[test]
    fn redis_keeps_the_contract_of_refresh_stores() {
        let redis = Redis::start();
        threads().block_on(async {
            testkit::refresh_store(stores(&redis).refresh_tokens()).await;
            let handles = [stores(&redis).refresh_tokens(), stores(&redis).refresh_tokens()];
            testkit::refresh_store_in_parallel(handles, spawn).await;
        });
    }

    #[test]
    fn redis_keeps_the_contract_of_attempt_stores() {
        let redis = Redis::start();
        threads().block_on(async {
            testkit::attempt_store(stores(&redis).attempts()).await;
            let handles = [stores(&redis).attempts(), stores(&redis).attempts()];
            testkit::attempt_store_in_parallel(handles, spawn).await;
        });
    }

    #[test]
    fn redis_frees_a_slot_that_is_never_settled() {
        let redis = Redis::start();
        threads().block_on(async { testkit::attempt_store_lease(stores(&redis).attempts()).await });
    }

    #[test]
    fn redis_keeps_the_contract_of_deny_lists() {
        let redis = Redis::start();
        threads().block_on(async {
            testkit::deny_list(stores(&redis).deny_list()).await;
            testkit::deny_list_shared(stores(&redis).deny_list(), stores(&redis).deny_list()).await;
        });
    }

    #[test]
    fn a_process_that_starts_later_knows_a_token_for_its_whole_time() {
        let redis = Redis::start();
        threads().block_on(async {
            let early = stores(&redis).deny_list();
            for ttl in [Duration::from_secs(3_600), Duration::from_millis(1)] {
                let denial = Denial::new(Denied::Token("twice"), None, "alice", ttl);
                assert!(early.deny(denial, Instant::now() + PATIENCE).await.unwrap());
            }
            let late = stores(&redis).deny_list();
            let begun = Instant::now();
            let mut token = TokenRef::new("alice");
            token.id = Some("twice");
            while !late.is_denied(token) {
                assert!(begun.elapsed() < Duration::from_secs(2), "the second time replaced the first");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }
}
