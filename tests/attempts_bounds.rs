//! How much memory strangers can make the attempt store use, and what a clock that steps back does to it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

use std::{
    env, fs,
    future::Future,
    pin::pin,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use tower_oauth2_password::store::{
    AttemptKey, AttemptLimit, AttemptOutcome, AttemptStore, MemoryAttemptStore, Reservation, Slot,
};

const MINUTE: Duration = Duration::from_secs(60);
const TEN: AttemptLimit = AttemptLimit { failures: 10, window: MINUTE };
/// The documented bound of the store: 200,000 keys, for limits of up to 16 failures.
const DOCUMENTED_KEYS: usize = 200_000;
const DOCUMENTED_MIB: f64 = 100.0;

/// Memory stores never wait, so their futures are ready at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a memory store waited"),
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// A different key for each number, spread like HMACs of names.
fn key(number: u64) -> AttemptKey {
    let spread = (u128::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    AttemptKey(spread.to_be_bytes())
}

/// Records a failed attempt as the endpoint does.
fn fail(store: &MemoryAttemptStore, number: u64, limit: AttemptLimit) {
    let answer = now(store.reserve(Slot { key: key(number), id: number, limit }, soon())).unwrap();
    assert_eq!(answer, Reservation::Reserved, "attempt {number}");
    now(store.settle(Slot { key: key(number), id: number, limit }, AttemptOutcome::Failed, soon())).unwrap();
}

fn is_blocked(store: &MemoryAttemptStore, number: u64, limit: AttemptLimit) -> bool {
    matches!(
        now(store.reserve(Slot { key: key(number), id: u64::MAX, limit }, soon())).unwrap(),
        Reservation::Blocked { .. }
    )
}

/// Runs a test in its own process, where nothing else uses memory or leaves it behind.
fn in_own_process(test: &str, run: impl FnOnce()) {
    const CHILD: &str = "ATTEMPTS_BOUNDS_CHILD";
    if env::var_os(CHILD).is_some() {
        return run();
    }
    let arguments = [test, "--exact", "--nocapture"];
    let output = Command::new(env::current_exe().unwrap()).args(arguments).env(CHILD, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    println!("{said}");
}

/// A field of `/proc/self/status` in MiB.
fn mebibytes(figure: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("memory is measured by /proc: run this test on Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':')).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<f64>().unwrap() / 1024.0
}

/// The peak rise of resident memory while `run` ran.
fn peak_of<T>(run: impl FnOnce() -> T) -> (T, f64) {
    let before = mebibytes("VmRSS");
    let output = run();
    (output, mebibytes("VmHWM") - before)
}

#[test]
fn a_million_names_stay_within_the_bound_and_free_nobody_who_is_blocked() {
    in_own_process("a_million_names_stay_within_the_bound_and_free_nobody_who_is_blocked", || {
        let blocked = 0..100_u64;
        let (store, peak) = peak_of(|| {
            // However slow the machine is, nothing expires.
            let store = MemoryAttemptStore::new().with_clock(|| MINUTE);
            for number in blocked.clone() {
                (0..10).for_each(|_| fail(&store, number, TEN));
            }
            for number in 1_000..1_001_000 {
                fail(&store, number, TEN);
                if number % 50_000 == 0 {
                    assert!(store.len() <= DOCUMENTED_KEYS, "{} keys", store.len());
                }
            }
            store
        });
        println!("{} keys, {peak:.1} MiB at most", store.len());
        assert!(store.len() <= DOCUMENTED_KEYS, "{} keys", store.len());
        assert!(store.len() > DOCUMENTED_KEYS / 2, "the names of this test did not fill the store: {}", store.len());
        assert!(peak < DOCUMENTED_MIB, "{peak:.1} MiB");
        assert!(peak > 5.0, "{peak:.1} MiB for {} keys: the measure is broken", store.len());
        assert!(blocked.clone().all(|number| is_blocked(&store, number, TEN)), "a blocked pair is free");
    });
}

#[test]
fn the_largest_entries_stay_within_the_bound() {
    in_own_process("the_largest_entries_stay_within_the_bound", || {
        let limit = AttemptLimit { failures: 16, window: MINUTE };
        let time = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&time);
        let (store, peak) = peak_of(|| {
            let store =
                MemoryAttemptStore::new().with_clock(move || Duration::from_nanos(clock.load(Ordering::Relaxed)));
            for number in 0..DOCUMENTED_KEYS as u64 {
                // One failure and fifteen checks under way: a slot takes more memory than a failure.
                for id in 0..16 {
                    assert_eq!(
                        now(store.reserve(Slot { key: key(number), id, limit }, soon())).unwrap(),
                        Reservation::Reserved
                    );
                }
                now(store.settle(Slot { key: key(number), id: 0, limit }, AttemptOutcome::Failed, soon())).unwrap();
            }
            store
        });
        println!("{} keys, {peak:.1} MiB at most", store.len());
        assert_eq!(store.len(), DOCUMENTED_KEYS);
        assert!(peak < DOCUMENTED_MIB, "{peak:.1} MiB");
        assert!(
            now(store.reserve(Slot { key: key(u64::MAX), id: 0, limit }, soon())).is_err(),
            "entries at their limit make no room"
        );
        // Expired entries are freed gradually: each new key frees a few.
        time.store(u64::try_from(MINUTE.as_nanos()).unwrap(), Ordering::Relaxed);
        for number in 1_000_000..1_000_000 + DOCUMENTED_KEYS as u64 / 4 {
            fail(&store, number, limit);
        }
        assert!(store.len() <= DOCUMENTED_KEYS / 2, "{} keys", store.len());
    });
}

#[test]
fn a_clock_that_steps_back_unblocks_nobody_and_locks_nobody_out() {
    let time = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&time);
    let at = |seconds: u64| time.store(seconds, Ordering::Relaxed);
    let store = MemoryAttemptStore::new()
        .with_capacity(50)
        .with_clock(move || Duration::from_secs(clock.load(Ordering::Relaxed)));
    let limit = AttemptLimit { failures: 2, window: MINUTE };
    at(1_000);
    (0..2).for_each(|_| fail(&store, 1, limit));
    fail(&store, 2, limit);
    now(store.reserve(Slot { key: key(3), id: 7, limit }, soon())).unwrap();
    for back in [999, 940, 500, 0] {
        at(back);
        assert!(is_blocked(&store, 1, limit), "the clock at {back}");
        let Reservation::Blocked { retry_after } =
            now(store.reserve(Slot { key: key(1), id: 8, limit }, soon())).unwrap()
        else {
            panic!()
        };
        assert_eq!(retry_after, Duration::from_secs(1_060 - back));
        // Failures and slots from before the step still count, and new ones are accepted.
        assert_eq!(now(store.reserve(Slot { key: key(2), id: back, limit }, soon())).unwrap(), Reservation::Reserved);
        assert_eq!(now(store.reserve(Slot { key: key(2), id: back + 1, limit }, soon())).unwrap(), Reservation::Busy);
        store.abandon(Slot { key: key(2), id: back, limit });
        now(store.settle(Slot { key: key(4), id: back, limit }, AttemptOutcome::Failed, soon())).unwrap();
        now(store.settle(Slot { key: key(4), id: back, limit }, AttemptOutcome::Succeeded, soon())).unwrap();
        for number in 100..200 {
            fail(&store, number + back * 1_000, limit);
        }
        assert!(store.len() <= 50);
        assert!(is_blocked(&store, 1, limit), "many names later, with the clock at {back}");
        // The entry of key 2 may have been dropped to make room. Either way, settling it does not depend on the clock.
        now(store.settle(Slot { key: key(2), id: 1, limit }, AttemptOutcome::Succeeded, soon())).unwrap();
        fail(&store, 2, limit);
    }
    // A block from before the steps and one from after them each end with their own window.
    at(0);
    (0..2).for_each(|_| fail(&store, 5, limit));
    at(59);
    assert!(is_blocked(&store, 5, limit));
    at(60);
    assert!(!is_blocked(&store, 5, limit) && is_blocked(&store, 1, limit));
    at(1_060);
    assert!(!is_blocked(&store, 1, limit));
    at(u64::MAX);
    assert!(!is_blocked(&store, 6, limit));
}

#[test]
fn any_times_in_any_order_keep_the_limit_and_the_bound() {
    let time = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&time);
    let store = MemoryAttemptStore::new()
        .with_capacity(20)
        .with_clock(move || Duration::from_millis(clock.load(Ordering::Relaxed)));
    let limit = AttemptLimit { failures: 3, window: MINUTE };
    // A small generator with a fixed seed, so that a failure can be repeated.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for id in 0..200_000 {
        time.store(draw(120_000), Ordering::Relaxed);
        let key = key(draw(40));
        let outcome = match draw(4) {
            0 => AttemptOutcome::Succeeded,
            1 => AttemptOutcome::Released,
            _ => AttemptOutcome::Failed,
        };
        // A store full of entries at their limit may refuse. It must not panic or grow.
        if now(store.reserve(Slot { key, id, limit }, soon())).is_ok_and(|answer| answer == Reservation::Reserved) {
            let settled = now(store.settle(Slot { key, id, limit }, outcome, soon()));
            assert!(settled.is_ok(), "a place that was given cannot be settled");
        }
        assert!(store.len() <= 20);
    }
    time.store(240_000, Ordering::Relaxed);
    for number in 0..20 {
        assert_eq!(
            now(store.reserve(Slot { key: key(number), id: 1, limit }, soon())).unwrap(),
            Reservation::Reserved,
            "key {number}"
        );
    }
}
