//! Refresh tokens through the public API, compared with a model step by step.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError},
};
use test_support::{
    refresh_model::{Step, Times},
    refresh_server::{self, step},
};
use tower_oauth2_password::{RefreshTokens, store::MemoryRefreshStore};

/// A store in memory, with a clock that the test moves.
fn run(times: Times, steps: &[Step]) -> Result<(), TestCaseError> {
    let clock = Arc::new(AtomicU64::new(0));
    let (now, millis) = (Arc::clone(&clock), Duration::from_millis);
    let store = MemoryRefreshStore::new().with_clock(move || millis(now.load(Ordering::Relaxed)));
    let mut tokens =
        RefreshTokens::new(store).with_absolute_ttl(millis(times.absolute)).with_idle_ttl(millis(times.idle));
    if let Some(grace) = times.grace {
        tokens = tokens.with_grace(millis(grace));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(refresh_server::run(times, tokens, steps, async |millis| {
        clock.fetch_add(millis, Ordering::Relaxed);
    }))
}

fn config() -> Config {
    Config { cases: 400, failure_persistence: None, ..Config::default() }
}

const TIMES: Times = Times { absolute: 10_000, idle: 3_000, grace: None };

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_answer_matches_the_model(steps in proptest::collection::vec(step(), 1..60)) {
        run(TIMES, &steps)?;
    }

    #[test]
    fn every_answer_matches_the_model_with_a_grace_period(steps in proptest::collection::vec(step(), 1..60)) {
        run(Times { grace: Some(500), ..TIMES }, &steps)?;
    }

    #[test]
    fn an_idle_lifetime_beyond_the_absolute_one_changes_nothing(steps in proptest::collection::vec(step(), 1..60)) {
        run(Times { idle: 30_000, grace: Some(3_000), ..TIMES }, &steps)?;
    }
}
