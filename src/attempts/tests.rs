use std::time::{Duration, Instant};

use futures_util::FutureExt;

use super::{waiting::LONGEST_PAUSE, *};
use crate::store::MemoryAttemptStore;

const MINUTE: Duration = Duration::from_secs(60);

fn limits(store: &Arc<MemoryAttemptStore>) -> AttemptLimits {
    AttemptLimits::new(Arc::clone(store), |_| None)
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

#[tokio::test]
async fn an_account_is_slowed_down_and_never_refused() {
    let delay = Duration::from_millis(120);
    let slow = AttemptLimit { failures: 2, window: MINUTE };
    let limits = limits(&Arc::default()).with_account_slowdown(slow, delay);
    for host in 1..=2 {
        assert_eq!(fail(&limits, "alice", &format!("192.0.2.{host}")).await, None);
    }
    let begun = Instant::now();
    limits.reserve("alice", at("192.0.2.3")).await.unwrap().succeeded().await.unwrap();
    assert!(begun.elapsed() >= delay, "{:?}", begun.elapsed());
    let begun = Instant::now();
    assert_eq!(fail(&limits, "bob", "192.0.2.3").await, None);
    assert!(begun.elapsed() < delay, "another account waits for nothing: {:?}", begun.elapsed());
}

#[tokio::test]
async fn attempts_at_once_do_not_get_past_the_slow_down() {
    let delay = Duration::from_millis(120);
    let slow = AttemptLimit { failures: 2, window: MINUTE };
    let limits = limits(&Arc::default()).with_account_slowdown(slow, delay);
    let begun = Instant::now();
    let under_way = [limits.reserve("alice", at("192.0.2.1")).await, limits.reserve("alice", at("192.0.2.2")).await];
    let third = limits.reserve("alice", at("192.0.2.3")).await;
    assert!(begun.elapsed() >= delay, "{:?}", begun.elapsed());
    assert!(third.is_ok() && under_way.iter().all(Result::is_ok));
}

#[tokio::test]
async fn who_is_held_is_told_at_once_though_the_account_is_slow() {
    let slow = AttemptLimit { failures: 1, window: MINUTE };
    let limits = limits(&Arc::default()).with_account_slowdown(slow, MINUTE).with_account_and_address_limit(slow);
    assert_eq!(fail(&limits, "alice", "192.0.2.1").await, None);
    let again = limits.reserve("alice", at("192.0.2.1")).now_or_never();
    assert_eq!(again.expect("held, and nobody sleeps").unwrap_err().status(), 429);
}

#[tokio::test]
async fn those_who_are_slowed_down_take_places() {
    let slow = AttemptLimit { failures: 1, window: MINUTE };
    let limits = limits(&Arc::default()).with_account_slowdown(slow, MINUTE).with_account_and_address_limit(slow);
    assert_eq!(fail(&limits, "alice", "192.0.2.1").await, None);
    let mut sleeps = Box::pin(limits.reserve("alice", at("192.0.2.2")));
    assert!((&mut sleeps).now_or_never().is_none());
    assert_eq!(limits.reserve("alice", at("192.0.2.2")).await.unwrap_err().status(), 503, "no more sleep than may try");
}

#[tokio::test]
async fn limits_are_as_they_were_set() {
    let store = Arc::default();
    let once = AttemptLimit { failures: 1, window: MINUTE };
    let limits = limits(&store).with_account_and_address_limit(once).with_client_secret_limit(once);
    assert_eq!(fail(&limits, "alice", "192.0.2.1").await, None);
    assert_eq!(fail(&limits, "alice", "192.0.2.1").await, Some(429));
    let budget = StoreBudget::new(STORE_TIME_BUDGET);
    let client =
        async || limits.client("web", at("192.0.2.1"), &budget).await.map(|_| ()).map_err(|error| error.status());
    assert!(client().await.is_ok(), "dropped undecided, it gives its place back");
    limits.client("web", at("192.0.2.1"), &budget).await.unwrap().failed().await.unwrap();
    assert_eq!(client().await.unwrap_err(), 429);

    let keyed = limits.clone().with_key("another secret");
    assert_eq!(fail(&keyed, "alice", "192.0.2.1").await, None, "another key counts elsewhere");
}

#[tokio::test]
async fn who_waits_for_a_place_gets_one_that_comes_free() {
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
    assert_eq!(limits.reserve("alice", None).await.unwrap_err().status(), 503, "not for ever");
    drop(kept);
    assert!(limits.reserve("alice", None).await.is_ok());
}

#[tokio::test]
async fn spellings_of_one_name_count_together_where_they_are_folded() {
    let limits = limits(&Arc::default()).with_canonical_account(|name| name.to_lowercase());
    for n in 0..10 {
        let name = if n % 2 == 0 { "alice" } else { "ALICE" };
        assert_eq!(fail(&limits, name, "192.0.2.1").await, None);
    }
    assert_eq!(fail(&limits, "Alice", "192.0.2.1").await, Some(429), "R7.6");
}

#[tokio::test]
async fn a_delay_without_end_ends() {
    let slow = AttemptLimit { failures: 1, window: MINUTE };
    let limits = limits(&Arc::default()).with_account_slowdown(slow, Duration::MAX);
    assert_eq!(fail(&limits, "alice", "192.0.2.1").await, None);
    let waits = tokio::time::timeout(Duration::from_millis(20), limits.reserve("alice", at("192.0.2.2"))).await;
    assert!(waits.is_err(), "it waits and does not panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_is_served_in_turn_and_no_place_stays_empty() {
    let limits = limits(&Arc::default());
    let checks = (0..200).map(|_| {
        let limits = limits.clone();
        tokio::spawn(async move {
            let attempt = limits.reserve("alice", None).await?;
            tokio::time::sleep(Duration::from_millis(10)).await;
            attempt.succeeded().await
        })
    });
    let checks: Vec<_> = checks.collect();
    let begun = Instant::now();
    for check in checks {
        check.await.unwrap().unwrap();
    }
    // 20 rounds of ten at once; asked by the clock alone, it would be a pause for each of them.
    assert!(begun.elapsed() < 20 * LONGEST_PAUSE / 2, "{:?}", begun.elapsed());
    assert!(limits.waiting.is_empty(limits.key("account and address", "alice", None).unwrap()));
}

#[tokio::test]
async fn places_that_come_free_in_another_process_are_all_taken_together() {
    let store = Arc::default();
    let two = AttemptLimit { failures: 2, window: MINUTE };
    let [here, there] = [&store, &store].map(|store| limits(store).with_account_and_address_limit(two));
    let taken = [there.reserve("alice", None).await.unwrap(), there.reserve("alice", None).await.unwrap()];
    let (mut first, mut second) = (Box::pin(here.reserve("alice", None)), Box::pin(here.reserve("alice", None)));
    assert!((&mut first).now_or_never().is_none());
    timer::sleep(LONGEST_PAUSE / 2).await;
    assert!((&mut second).now_or_never().is_none());
    drop(taken);
    let _kept = first.await.unwrap();
    assert!(second.now_or_never().is_some_and(|reserved| reserved.is_ok()), "not a pause later");
}

#[tokio::test]
async fn all_who_wait_are_told_at_once_that_the_account_is_held() {
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
async fn with_nobody_in_the_queue_a_place_is_taken_at_once() {
    let limits = limits(&Arc::default());
    assert!(limits.reserve("alice", at("192.0.2.1")).now_or_never().is_some_and(|reserved| reserved.is_ok()));
}
