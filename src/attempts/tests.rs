use std::{net::IpAddr, sync::Arc, time::Duration};

use futures_util::FutureExt;
use http::request::Parts;
use tokio::{runtime::Builder, time::Instant};

use super::{limits::AttemptLimits, queue::PAUSE};
use crate::store::{AttemptLimit, MemoryAttemptStore, STORE_BUDGET, StoreBudget};

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

fn limits(store: &Arc<MemoryAttemptStore>) -> AttemptLimits {
    AttemptLimits::new(Arc::clone(store), |_: &Parts| None)
}

fn at(address: &str) -> Option<IpAddr> {
    Some(address.parse().unwrap())
}

async fn fail(limits: &AttemptLimits, account: &str, address: &str) -> Option<u16> {
    match limits.reserve(account, at(address)).await {
        Ok(attempt) => {
            attempt.failed().await.unwrap();
            None
        }
        Err(error) => Some(error.status().as_u16()),
    }
}

#[tokio::test]
async fn an_address_is_limited_whatever_the_account() {
    let limits = limits(&Arc::default()).with_address_limit(AttemptLimit { failures: 3, window: MINUTE });
    assert_eq!(fail(&limits, "a", "192.0.2.1").await, None);
    limits.reserve("right", at("192.0.2.1")).await.unwrap().succeeded().await.unwrap();
    assert_eq!(fail(&limits, "b", "192.0.2.1").await, None);
    assert_eq!(fail(&limits, "c", "::ffff:192.0.2.1").await, None, "the same address");
    assert_eq!(fail(&limits, "d", "192.0.2.1").await, Some(429), "a success clears only its own account");
    assert_eq!(fail(&limits, "d", "192.0.2.2").await, None);
    for host in 1..=3 {
        assert_eq!(fail(&limits, "e", &format!("2001:db8::{host}")).await, None);
    }
    assert_eq!(fail(&limits, "f", "2001:db8::4").await, Some(429), "one network, one address");
    assert_eq!(fail(&limits, "f", "2001:db8:0:1::4").await, None);
}

#[tokio::test(start_paused = true)]
async fn an_account_is_slowed_down_and_never_refused() {
    let slow = AttemptLimit { failures: 2, window: MINUTE };
    let limits = limits(&Arc::default()).with_account_slowdown(slow, SECOND);
    for host in 1..=2 {
        assert_eq!(fail(&limits, "alice", &format!("192.0.2.{host}")).await, None);
    }
    let begun = Instant::now();
    limits.reserve("alice", at("192.0.2.3")).await.unwrap().succeeded().await.unwrap();
    assert_eq!(begun.elapsed(), SECOND);
    let begun = Instant::now();
    assert_eq!(fail(&limits, "bob", "192.0.2.3").await, None);
    assert_eq!(begun.elapsed(), Duration::ZERO, "another account");
}

#[tokio::test(start_paused = true)]
async fn concurrent_attempts_do_not_get_past_the_slowdown() {
    let slow = AttemptLimit { failures: 2, window: MINUTE };
    let limits = limits(&Arc::default()).with_account_slowdown(slow, SECOND);
    let begun = Instant::now();
    let first_two = [limits.reserve("alice", at("192.0.2.1")).await, limits.reserve("alice", at("192.0.2.2")).await];
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let third = limits.reserve("alice", at("192.0.2.3")).await;
    assert_eq!(begun.elapsed(), SECOND);
    assert!(third.is_ok() && first_two.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_blocked_attempt_is_not_slowed_down() {
    let slow = AttemptLimit { failures: 1, window: MINUTE };
    let limits = limits(&Arc::default()).with_account_slowdown(slow, MINUTE).with_account_and_address_limit(slow);
    assert_eq!(fail(&limits, "alice", "192.0.2.1").await, None);
    let again = limits.reserve("alice", at("192.0.2.1")).now_or_never();
    assert_eq!(again.expect("nobody sleeps").unwrap_err().status(), 429);
}

#[tokio::test(start_paused = true)]
async fn slowed_attempts_keep_their_slots() {
    let slow = AttemptLimit { failures: 1, window: MINUTE };
    let limits = limits(&Arc::default()).with_account_slowdown(slow, MINUTE).with_account_and_address_limit(slow);
    assert_eq!(fail(&limits, "alice", "192.0.2.1").await, None);
    let mut sleeps = Box::pin(limits.reserve("alice", at("192.0.2.2")));
    assert!((&mut sleeps).now_or_never().is_none());
    assert_eq!(limits.reserve("alice", at("192.0.2.2")).await.unwrap_err().status(), 503);
}

#[tokio::test]
async fn limits_are_as_configured() {
    let store = Arc::default();
    let once = AttemptLimit { failures: 1, window: MINUTE };
    let limits = limits(&store).with_account_and_address_limit(once).with_client_secret_limit(once);
    assert_eq!(fail(&limits, "alice", "192.0.2.1").await, None);
    assert_eq!(fail(&limits, "alice", "192.0.2.1").await, Some(429));
    let budget = StoreBudget::new(STORE_BUDGET);
    let client = async || limits.reserve_client(&budget, "web", at("192.0.2.1")).await;
    assert!(client().await.is_ok(), "a dropped attempt gives its slot back");
    client().await.unwrap().failed().await.unwrap();
    assert_eq!(client().await.unwrap_err().status(), 429);

    let keyed = limits.clone().with_key("another secret");
    assert_eq!(fail(&keyed, "alice", "192.0.2.1").await, None, "another key counts elsewhere");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_attempt_gets_the_slot_that_becomes_free() {
    let once = AttemptLimit { failures: 1, window: MINUTE };
    let limits = limits(&Arc::default()).with_account_and_address_limit(once);
    let first = limits.reserve("alice", None).await.unwrap();
    let second = tokio::spawn({
        let limits = limits.clone();
        async move { limits.reserve("alice", None).await }
    });
    tokio::task::yield_now().await;
    first.succeeded().await.unwrap();
    second.await.unwrap().unwrap().succeeded().await.unwrap();

    let kept = limits.reserve("alice", None).await.unwrap();
    let begun = Instant::now();
    assert_eq!(limits.reserve("alice", None).await.unwrap_err().status(), 503);
    assert_eq!(begun.elapsed(), SECOND);
    drop(kept);
    assert!(limits.reserve("alice", None).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_20_seconds_at_most() {
    let slow = AttemptLimit { failures: 1, window: MINUTE };
    let limits = limits(&Arc::default()).with_account_slowdown(slow, Duration::MAX);
    assert_eq!(fail(&limits, "alice", "192.0.2.1").await, None);
    let begun = Instant::now();
    assert_eq!(fail(&limits, "alice", "192.0.2.2").await, None);
    assert_eq!(begun.elapsed(), 20 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_crowd_is_served_in_order_and_no_slot_stays_empty() {
    const CHECK: Duration = Duration::from_millis(10);
    let limits = limits(&Arc::default());
    let begun = Instant::now();
    let attempts = (0..200).map(|_| {
        let limits = limits.clone();
        tokio::spawn(async move {
            let attempt = limits.reserve("alice", None).await?;
            let reserved_at = begun.elapsed();
            tokio::time::sleep(CHECK).await;
            attempt.succeeded().await.map(|()| reserved_at)
        })
    });
    let attempts: Vec<_> = attempts.collect();
    let mut reserved_at = Vec::new();
    for attempt in attempts {
        reserved_at.push(attempt.await.unwrap().unwrap());
    }
    assert!(reserved_at.is_sorted(), "{reserved_at:?}");
    // 20 rounds of ten at once. If the store were only asked every pause, each round would take one.
    assert!(begun.elapsed() < 20 * PAUSE / 2, "{:?}", begun.elapsed());
    assert!(!limits.has_queue_for("alice"));
}

#[tokio::test(start_paused = true)]
async fn slots_freed_by_another_process_are_all_taken_at_once() {
    let store = Arc::default();
    let two = AttemptLimit { failures: 2, window: MINUTE };
    let [here, there] = [&store, &store].map(|store| limits(store).with_account_and_address_limit(two));
    let taken = [there.reserve("alice", None).await.unwrap(), there.reserve("alice", None).await.unwrap()];
    let (mut first, mut second) = (Box::pin(here.reserve("alice", None)), Box::pin(here.reserve("alice", None)));
    assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
    drop(taken);
    let _kept = first.await.unwrap();
    assert!(second.now_or_never().is_some_and(|reserved| reserved.is_ok()), "not a pause later");
}

#[tokio::test(start_paused = true)]
async fn all_waiting_attempts_are_refused_at_once_when_the_account_is_blocked() {
    let once = AttemptLimit { failures: 1, window: MINUTE };
    let limits = limits(&Arc::default()).with_account_and_address_limit(once);
    let guess = limits.reserve("alice", None).await.unwrap();
    let mut waiting: Vec<_> = (0..20).map(|_| Box::pin(limits.reserve("alice", None))).collect();
    for one in &mut waiting {
        assert!(one.now_or_never().is_none());
    }
    guess.failed().await.unwrap();
    for one in waiting {
        assert_eq!(one.now_or_never().unwrap().unwrap_err().status(), 429);
    }
}

#[tokio::test]
async fn without_a_queue_a_slot_is_reserved_at_once() {
    let limits = limits(&Arc::default());
    assert!(limits.reserve("alice", at("192.0.2.1")).now_or_never().is_some_and(|reserved| reserved.is_ok()));
}

#[test]
fn without_a_timer_an_attempt_is_a_503() {
    let limits = limits(&Arc::default());
    let bare = Builder::new_current_thread().build().unwrap();
    assert_eq!(bare.block_on(limits.reserve("alice", None)).unwrap_err().status(), 503);
}
