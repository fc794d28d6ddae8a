//! One budget of time for all store calls of one request.

use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant};

use tokio::time::Instant;

use crate::error::{BoxError, TokenError};
use crate::sync::{Mutex, OnDrop, lock, timeout_at};

/// The default.
pub(crate) const STORE_BUDGET: Duration = Duration::from_millis(500);

const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(60);

/// A store that keeps its deadline gets this much longer to say why it failed.
const GRACE: Duration = Duration::from_millis(20);

/// What is left of the time, 10 ms to a minute, that one request may wait for its stores. Only the calls count, not the
/// time between them, such as a password hash. A request makes one call at a time.
#[derive(Clone, Debug)]
pub(crate) struct StoreBudget(Arc<Mutex<Duration>>);

impl StoreBudget {
    pub(crate) fn new(total: Duration) -> Self {
        Self(Arc::new(Mutex::new(total.clamp(SHORTEST, LONGEST))))
    }

    /// Makes a call, passes it its deadline, and gives up a moment later. An error is logged, and becomes a 503 unless it is
    /// a [`TokenError`].
    pub(crate) async fn spend<T, F>(&self, call: impl FnOnce(StdInstant) -> F) -> Result<T, TokenError>
    where
        F: Future<Output = Result<T, BoxError>>,
    {
        let left = *lock(&self.0);
        if left.is_zero() {
            return Err(failed("the request has used up its time for stores".into()));
        }
        let begun = Instant::now();
        // Also a call that is dropped has spent its time.
        let _spent = OnDrop(|| *lock(&self.0) = left.saturating_sub(begun.elapsed()));
        let deadline = begun + left;
        match timeout_at(deadline + GRACE, call(deadline.into_std())).await {
            Ok(answer) => answer.map_err(failed),
            Err(no_answer) => Err(failed(no_answer.into())),
        }
    }
}

fn failed(cause: BoxError) -> TokenError {
    TokenError::from_cause("a store failed", cause)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::sync::sleep;

    const SECOND: Duration = Duration::from_secs(1);

    async fn answers_after(wait: Duration) -> Result<(), BoxError> {
        sleep(wait).await?;
        Ok(())
    }

    fn left(budget: &StoreBudget) -> Duration {
        *lock(&budget.0)
    }

    #[tokio::test(start_paused = true)]
    async fn calls_share_one_time_and_what_lies_between_is_not_counted() {
        let budget = StoreBudget::new(10 * SECOND);
        budget.spend(|_| answers_after(SECOND)).await.unwrap();
        assert_eq!(left(&budget), 9 * SECOND);
        sleep(SECOND).await.unwrap();
        let clone = budget.clone();
        clone.spend(|_| answers_after(SECOND)).await.unwrap();
        assert_eq!(left(&budget), 8 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_call_gets_what_is_left_and_none_is_made_after_the_end() {
        let budget = StoreBudget::new(SECOND);
        let end = (Instant::now() + SECOND).into_std();
        assert_eq!(budget.spend(async |deadline| Ok(deadline)).await.unwrap(), end);
        assert_eq!(budget.spend(|_| answers_after(2 * SECOND)).await.unwrap_err().status(), 503);
        let mut called = false;
        let late = budget.spend(|_| {
            called = true;
            answers_after(Duration::ZERO)
        });
        assert_eq!(late.await.unwrap_err().status(), 503);
        assert!(!called);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_never_ends_is_given_up_a_moment_after_its_deadline() {
        let budget = StoreBudget::new(SECOND);
        let begun = Instant::now();
        assert!(budget.spend(|_| std::future::pending::<Result<(), BoxError>>()).await.is_err());
        let waited = begun.elapsed();
        assert!(waited >= SECOND + GRACE && waited <= SECOND + 2 * GRACE, "{waited:?}");
        assert!(left(&budget).is_zero());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_call_has_spent_its_time() {
        let budget = StoreBudget::new(10 * SECOND);
        let mut call = Box::pin(budget.spend(|_| std::future::pending::<Result<(), BoxError>>()));
        assert!(call.as_mut().now_or_never().is_none());
        tokio::time::advance(SECOND).await;
        drop(call);
        assert_eq!(left(&budget), 9 * SECOND);
    }

    #[tokio::test]
    async fn an_error_of_a_store_is_a_503_unless_it_is_a_token_error() {
        let budget = StoreBudget::new(SECOND);
        let fail = |cause: BoxError| budget.spend(move |_| async move { Err::<(), _>(cause) });
        assert_eq!(fail("no route to 192.0.2.7".into()).await.unwrap_err().code(), "temporarily_unavailable");
        let own = TokenError::custom("quota", "Your quota is used up");
        assert_eq!(fail(own.into()).await.unwrap_err().code(), "quota");
    }
}
