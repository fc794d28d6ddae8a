//! The stores of this crate keep the contract of their traits, and the kit that says so catches stores that do not.
#![cfg(feature = "testkit")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

#[path = "support/broken_stores.rs"]
mod broken_stores;
#[cfg(feature = "redis")]
#[path = "support/redis.rs"]
#[allow(dead_code, reason = "only the tests of outages pause and kill it")]
mod support;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use broken_stores::{Fault, RacingRefreshStore, broken};
use tokio::runtime::{Builder, Runtime};
use tower_oauth2_password::store::{
    MemoryAttemptStore, MemoryDenyList, MemoryRefreshStore,
    testkit::{self, Job},
};

fn threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap()
}

fn spawn(job: Job) {
    tokio::spawn(job);
}

#[test]
fn memory_keeps_the_contracts() {
    // One thread that drives nothing but futures: the kit brings no need of a runtime along.
    let bare = Builder::new_current_thread().build().unwrap();
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
fn memory_gives_a_place_back_that_nobody_settles() {
    // A clock that runs 20 times as fast; the kit measures by its own.
    let start = Instant::now();
    let store = MemoryAttemptStore::new().with_clock(move || start.elapsed() * 20);
    threads().block_on(testkit::attempt_store_lease(store));
}

#[cfg(feature = "redis")]
mod redis {
    use std::time::Duration;

    use tower_oauth2_password::store::{DenyList, redis::RedisStores};

    use super::{support::Redis, *};

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
    fn redis_gives_a_place_back_that_nobody_settles() {
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
    fn a_process_that_starts_later_knows_a_token_for_its_longest_time() {
        let redis = Redis::start();
        threads().block_on(async {
            let early = stores(&redis).deny_list();
            for ttl in [Duration::from_secs(3_600), Duration::from_millis(1)] {
                early.deny("twice", ttl, Instant::now() + PATIENCE).await.unwrap();
            }
            let late = stores(&redis).deny_list();
            let begun = Instant::now();
            while !late.is_denied("twice") {
                assert!(begun.elapsed() < Duration::from_secs(2), "the second time replaced the first");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }
}

/// What the kit says of a store, if it finds it broken.
fn verdict(run: impl AsyncFnOnce()) -> Option<String> {
    let runtime = threads();
    let panic = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run()))).err()?;
    Some(panic.downcast_ref::<String>().expect("the kit panics with a message").clone())
}

#[test]
fn a_fault_is_caught_and_its_clause_named() {
    let refresh = |fault| verdict(async || testkit::refresh_store(broken(fault)).await);
    let attempts = |fault| verdict(async || testkit::attempt_store(broken(fault)).await);
    let denials = |fault| verdict(async || testkit::deny_list(broken(fault)).await);
    type Check<'a> = &'a (dyn Fn(Fault) -> Option<String> + Sync);
    let faults: [(Check<'_>, Fault, &str); 24] = [
        (&refresh, Fault::LosesTheStamp, "`find` returns what `insert` was given"),
        (&refresh, Fault::LosesWhatWasSealed, "keeps the presented secret with what was sealed"),
        (&refresh, Fault::AcceptsAnySecret, "a secret that is not current is a mismatch"),
        (&refresh, Fault::EndsTheFamilyOnMismatch, "leaves the family as it is"),
        (&refresh, Fault::NeverRevokes, "a revoked family stays gone"),
        (&refresh, Fault::RevokesSubjectsInPart, "`revoke_subject` ends all families"),
        (&refresh, Fault::CountsTooMany, "counts those that were there"),
        (&refresh, Fault::ReadsThenWrites, "exactly one is answered `Rotated`"),
        (&refresh, Fault::RotationUndoesRevocation, "a revocation that was answered holds"),
        (&refresh, Fault::TellsNoAge, "how old the predecessor is"),
        (&refresh, Fault::NeverEndsUnused, "for its idle lifetime and no longer"),
        (&refresh, Fault::EndsTooEarly, "for its absolute lifetime and no longer"),
        (&attempts, Fault::IgnoresOpenChecks, "failures and open reservations together never exceed the limit"),
        (&attempts, Fault::SuccessClearsNothing, "forgets the failures"),
        (&attempts, Fault::SharesKeys, "keys are independent"),
        (&attempts, Fault::HeldTriesCount, "failure stops counting"),
        (&attempts, Fault::ReadsThenWrites, "of many reservations at once"),
        (&attempts, Fault::IgnoresUnknownFailures, "`Failed` with an unknown id still counts"),
        (&denials, Fault::ForgetsDenials, "a denied token is denied at once"),
        (&denials, Fault::DeniesAll, "a token that nobody denied is not denied"),
        (&denials, Fault::EndsTooEarly, "for its time and no longer"),
        (&refresh, Fault::IgnoresDeadlines, "comes after its deadline"),
        (&attempts, Fault::IgnoresDeadlines, "comes after its deadline"),
        (&denials, Fault::IgnoresDeadlines, "comes after its deadline"),
    ];
    std::thread::scope(|scope| {
        let checks = faults.map(|(check, fault, clause)| (scope.spawn(move || check(fault)), fault, clause));
        for (check, fault, clause) in checks {
            let said = check.join().unwrap().unwrap_or_else(|| panic!("{fault:?} was not caught"));
            assert!(said.contains(clause), "{fault:?} was caught, but as: {said}");
        }
    });
}

#[test]
fn a_race_between_threads_is_caught_in_parallel() {
    let said = verdict(async || {
        testkit::refresh_store_in_parallel([RacingRefreshStore::default()], spawn).await;
    });
    assert!(said.is_some_and(|said| said.contains("exactly one is answered `Rotated`")));
}

#[test]
fn a_store_without_a_fault_passes_as_the_broken_ones_are_made() {
    let runtime = threads();
    runtime.block_on(testkit::refresh_store(broken(Fault::None)));
    runtime.block_on(testkit::attempt_store(broken(Fault::None)));
    runtime.block_on(testkit::deny_list(broken(Fault::None)));
}
