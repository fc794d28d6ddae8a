//! One budget of time for all that one request asks of its stores.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use crate::{
    error::StoreError,
    sync::{Mutex, lock},
    timer,
};

/// How long a request waits for its stores unless told otherwise.
pub(crate) const STORE_TIME_BUDGET: Duration = Duration::from_millis(500);

const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(60);

/// A store that keeps its deadline may say why it failed.
const LAST_WORDS: Duration = Duration::from_millis(20);

/// What is left of the time, from 10 ms to a minute, that one request may wait for its stores. Calls at the same time are
/// counted once; what lies between calls, such as a password hash, is not counted.
#[derive(Clone)]
pub(crate) struct StoreBudget(Arc<Mutex<State>>);

struct State {
    left: Duration,
    waiting: usize,
    since: Instant,
}

impl StoreBudget {
    pub(crate) fn new(total: Duration) -> Self {
        Self(Arc::new(Mutex::new(State { left: total.clamp(SHORTEST, LONGEST), waiting: 0, since: Instant::now() })))
    }

    /// Makes a call, given its deadline, and ends it a moment later whatever the store does.
    pub(crate) async fn spend<T, F>(&self, call: impl FnOnce(Instant) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let wait = Wait::begin(self);
        if wait.time.is_zero() {
            return Err(StoreError::new("the request's time for its stores is used up"));
        }
        let mut call = pin!(call(wait.since + wait.time));
        let mut over = pin!(timer::sleep(wait.time + LAST_WORDS));
        poll_fn(|cx| match call.as_mut().poll(cx) {
            Poll::Pending => over.as_mut().poll(cx).map(|()| Err(StoreError::new("the store did not answer in time"))),
            answered => answered,
        })
        .await
    }
}

impl fmt::Debug for StoreBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreBudget").field("left", &lock(&self.0).left).finish_non_exhaustive()
    }
}

/// One call under way; dropping it stops the clock if it was the last.
struct Wait<'a> {
    budget: &'a StoreBudget,
    since: Instant,
    time: Duration,
}

impl<'a> Wait<'a> {
    fn begin(budget: &'a StoreBudget) -> Self {
        let now = Instant::now();
        let mut state = lock(&budget.0);
        if state.waiting == 0 {
            state.since = now;
        }
        state.waiting += 1;
        let time = state.left.saturating_sub(now.saturating_duration_since(state.since));
        Self { budget, since: now, time }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.budget.0);
        state.waiting -= 1;
        if state.waiting == 0 {
            state.left = state.left.saturating_sub(state.since.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::join;

    const SHORT: Duration = Duration::from_millis(60);

    async fn answers_after(wait: Duration) -> Result<(), StoreError> {
        timer::sleep(wait).await;
        Ok(())
    }

    fn left(budget: &StoreBudget) -> Duration {
        lock(&budget.0).left
    }

    #[tokio::test]
    async fn calls_share_one_time_and_what_lies_between_is_not_counted() {
        let budget = StoreBudget::new(SHORT * 20);
        budget.spend(|_| answers_after(SHORT)).await.unwrap();
        let after_one = left(&budget);
        assert!(after_one <= SHORT * 19, "{after_one:?}");
        timer::sleep(SHORT).await;
        assert_eq!(left(&budget), after_one);
        let other = budget.clone();
        other.spend(|_| answers_after(SHORT)).await.unwrap();
        assert!(left(&budget) + SHORT <= after_one, "a clone spends the same time");
    }

    #[tokio::test]
    async fn calls_at_once_are_counted_once() {
        let budget = StoreBudget::new(SHORT * 100);
        let begun = Instant::now();
        let (one, other) =
            join(budget.spend(|_| answers_after(SHORT)), budget.spend(|_| answers_after(SHORT * 2))).await;
        assert!(one.is_ok() && other.is_ok());
        let spent = SHORT * 100 - left(&budget);
        assert!(spent >= SHORT * 2 && spent <= begun.elapsed(), "{spent:?}");
    }

    #[tokio::test]
    async fn a_later_call_gets_what_is_left_and_none_is_made_after_the_end() {
        let budget = StoreBudget::new(SHORT);
        let total = Instant::now() + SHORT;
        let deadline = budget.spend(async |deadline| Ok(deadline)).await.unwrap();
        assert!(deadline >= total);
        assert!(budget.spend(|_| answers_after(SHORT * 100)).await.is_err());
        let mut called = false;
        let late = budget.spend(|_| {
            called = true;
            answers_after(Duration::ZERO)
        });
        assert!(late.await.is_err());
        assert!(!called);
    }

    #[tokio::test]
    async fn a_store_that_never_answers_is_not_waited_for() {
        let budget = StoreBudget::new(SHORT);
        let begun = Instant::now();
        assert!(budget.spend(|_| std::future::pending::<Result<(), StoreError>>()).await.is_err());
        assert!(begun.elapsed() >= SHORT);
        assert!(left(&budget).is_zero());
    }

    #[tokio::test]
    async fn a_call_that_is_dropped_stops_the_clock() {
        let budget = StoreBudget::new(SHORT * 100);
        {
            let mut call = pin!(budget.spend(|_| std::future::pending::<Result<(), StoreError>>()));
            poll_fn(|cx| {
                assert!(call.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
        }
        assert_eq!(lock(&budget.0).waiting, 0);
    }
}
