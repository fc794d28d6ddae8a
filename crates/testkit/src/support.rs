//! What all checks share: calls, races and time.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use futures_util::future::{BoxFuture, join_all};
use tokio::time::sleep;
use tower_oauth2_password::{BoxError, store::AttemptKey};

/// A job to run to its end in parallel with others, for instance by `|job| { tokio::spawn(job); }`.
pub type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);
pub(crate) const SHORT: Duration = Duration::from_millis(400);
/// How far the store's clock and its rounding may be off.
pub(crate) const SLACK: Duration = Duration::from_millis(100);
/// How long expired data may linger.
const LINGER: Duration = Duration::from_millis(1_500);
const STEP: Duration = Duration::from_millis(20);
/// How long all calls of one race may take, and the deadline of calls that do not test deadlines.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many times to try a check whose calls must be faster than a lifetime.
pub(crate) const ROUNDS: usize = 8;

/// A deadline for calls that do not test deadlines.
pub(crate) fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// A deadline that has passed.
pub(crate) fn over() -> Instant {
    Instant::now()
}

/// The clause on deadlines, which all contracts share.
pub(crate) const LATE: &str = "a call that comes after its deadline is an error and takes no effect";

/// Names the broken clause of one trait's contract.
#[derive(Clone, Copy)]
pub(crate) struct Contract(pub(crate) &'static str);

impl Contract {
    pub(crate) fn broken(self, clause: &str, seen: impl fmt::Display) -> ! {
        panic!("the contract of {} is broken: {clause} ({seen})", self.0)
    }

    #[track_caller]
    pub(crate) fn require(self, holds: bool, clause: &str, seen: impl fmt::Display) {
        if !holds {
            self.broken(clause, seen);
        }
    }

    /// A call after its deadline must return an error.
    #[track_caller]
    pub(crate) fn require_late<T>(self, call: &str, answer: &Result<T, BoxError>) {
        self.require(answer.is_err(), LATE, format_args!("`{call}` says that it was done"));
    }

    /// The result of a call that has no reason to fail.
    pub(crate) fn answer<T>(self, call: &str, answer: Result<T, BoxError>) -> T {
        match answer {
            Ok(answer) => answer,
            Err(error) => panic!("{}::{call} failed, so nothing can be said of the store: {error}", self.0),
        }
    }
}

/// When a call began and when it returned: the store saw it in between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
}

impl Span {
    pub(crate) async fn of<T>(call: impl Future<Output = T>) -> (Span, T) {
        let from = Instant::now();
        let answer = call.await;
        (Span { from, to: Instant::now() }, answer)
    }

    /// The shortest and the longest time between what the store did in `self` and in `later`.
    pub(crate) fn until(self, later: Span) -> (Duration, Duration) {
        let (least, most) = (later.from.saturating_duration_since(self.to), later.to - self.from);
        (least.saturating_sub(SLACK), most + SLACK)
    }
}

/// Asks again and again whether what began at `began` still exists. It must exist for `ttl`, and not much longer.
pub(crate) async fn lasts<A>(contract: Contract, clause: &str, began: Span, ttl: Duration, mut ask: A)
where
    A: AsyncFnMut() -> bool,
{
    loop {
        let (asked, there) = Span::of(ask()).await;
        let (least, most) = began.until(asked);
        if there && least > ttl + LINGER {
            contract.broken(clause, format_args!("still there {least:?} after its begin, for a lifetime of {ttl:?}"));
        }
        if !there {
            contract.require(most >= ttl, clause, format_args!("gone within {most:?} for a lifetime of {ttl:?}"));
            return;
        }
        sleep(STEP).await;
    }
}

/// Waits until `ask` returns true, which must happen within `limit`.
pub(crate) async fn comes<A>(contract: Contract, clause: &str, limit: Duration, mut ask: A)
where
    A: AsyncFnMut() -> bool,
{
    let begun = Instant::now();
    loop {
        let asked = begun.elapsed();
        if ask().await {
            return;
        }
        contract.require(asked <= limit, clause, format_args!("not so after {asked:?}"));
        sleep(STEP).await;
    }
}

/// Repeats a check that counts only if the machine was fast enough: `attempt` returns whether it was.
pub(crate) async fn decided<A>(clause: &str, mut attempt: A)
where
    A: AsyncFnMut() -> bool,
{
    for _ in 0..ROUNDS {
        if attempt().await {
            return;
        }
    }
    panic!("the calls took too long to decide whether {clause}: run the kit on a machine with less to do");
}

/// Polls `future` up to `polls` times, then drops it.
pub(crate) async fn poll_and_drop<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        left = left.saturating_sub(1);
        if left == 0 {
            return Poll::Ready(None);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// Where the calls of a race run.
#[derive(Clone, Copy)]
pub(crate) enum Race<'a> {
    /// All in the caller's task, which wakes for each of them.
    OneTask,
    /// Wherever the caller's function runs them.
    Spawned(&'a (dyn Fn(Job) + Send + Sync)),
}

impl Race<'_> {
    /// Runs calls at once and returns their results in order.
    pub(crate) async fn run<T: Send + 'static>(self, calls: Vec<BoxFuture<'static, T>>) -> Vec<T> {
        match self {
            Race::OneTask => join_all(calls).await,
            Race::Spawned(spawn) => spawned(spawn, calls).await,
        }
    }
}

async fn spawned<T: Send + 'static>(spawn: &(dyn Fn(Job) + Send + Sync), calls: Vec<BoxFuture<'static, T>>) -> Vec<T> {
    let count = calls.len();
    let answers = Arc::new(Mutex::new(Vec::with_capacity(count)));
    for (n, call) in calls.into_iter().enumerate() {
        let answers = Arc::clone(&answers);
        spawn(Box::pin(async move {
            let answer = call.await;
            lock(&answers).push((n, answer));
        }));
    }
    let begun = Instant::now();
    while lock(&answers).len() < count {
        if begun.elapsed() > PATIENCE {
            panic!("of {count} calls at once, {} were answered within {PATIENCE:?}", lock(&answers).len());
        }
        sleep(Duration::from_millis(1)).await;
    }
    let mut answers = std::mem::take(&mut *lock(&answers));
    answers.sort_unstable_by_key(|&(n, _)| n);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes that no other check uses.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if let Err(error) = getrandom::fill(&mut bytes) {
        panic!("the operating system gave no random bytes: {error}");
    }
    bytes
}

/// A name that no other check uses.
pub(crate) fn name(kind: &str) -> String {
    format!("testkit {kind} {:032x}", u128::from_ne_bytes(random()))
}

pub(crate) fn attempt_key() -> AttemptKey {
    AttemptKey(random())
}
