//! What all calls share: their time, and the numbers of the contracts.

use std::time::{Duration, Instant};

use tower_oauth2_password::{BoxError, store::AttemptOutcome};

/// The deadline of calls that come without one: an outage must not hold them.
pub(crate) const STORE_BUDGET: Duration = Duration::from_millis(500);
/// How long connecting may take, and creating the tables.
pub(crate) const OPENING: Duration = Duration::from_secs(5);
/// How long a slot stays reserved for an attempt that is never settled.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
/// How long a subject's end is remembered.
pub(crate) const END_KEPT: Duration = Duration::from_secs(300);
/// How many tokens and sessions of one subject the deny list holds.
pub(crate) const SHARE: i64 = 100;
/// How many entries the deny list holds.
pub(crate) const MOST_DENIED: i64 = 1_000_000;
/// How many entries of the deny list are read at once.
pub(crate) const PAGE: i64 = 5_000;

/// The tables count microseconds. 100 years, so that no sum of times overflows.
pub(crate) fn micros(time: Duration) -> i64 {
    const MOST: i64 = 100 * 365 * 24 * 3_600 * 1_000_000;
    i64::try_from(time.as_micros()).unwrap_or(MOST).min(MOST)
}

pub(crate) fn duration(micros: i64) -> Duration {
    Duration::from_micros(micros.try_into().unwrap_or_default())
}

/// An error once the deadline has passed.
pub(crate) fn in_time(deadline: Instant) -> Result<(), BoxError> {
    if Instant::now() < deadline { Ok(()) } else { Err("the call came after its deadline".into()) }
}

/// Waits for the database, but no longer than until the deadline.
pub(crate) async fn before<T>(
    deadline: Instant,
    call: impl Future<Output = Result<T, BoxError>>,
) -> Result<T, BoxError> {
    in_time(deadline)?;
    let answer = tokio::time::timeout_at(deadline.into(), call).await;
    answer.unwrap_or_else(|_| Err("the database did not answer before the deadline".into()))
}

/// The outcome of an attempt: whether it adds a failure, and whether it clears those before it.
pub(crate) fn adds_and_clears(outcome: AttemptOutcome) -> (bool, bool) {
    (outcome == AttemptOutcome::Failed, outcome == AttemptOutcome::Succeeded)
}

/// Runs `future` in the background. Without a runtime it is dropped.
pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(future);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_time_is_a_hundred_years() {
        assert_eq!(micros(Duration::from_millis(1_500)), 1_500_000);
        assert_eq!(micros(Duration::MAX), 3_153_600_000_000_000);
        assert_eq!((duration(7), duration(-7)), (Duration::from_micros(7), Duration::ZERO));
    }

    #[tokio::test]
    async fn a_call_is_late_from_its_deadline_on() {
        assert!(before(Instant::now(), async { Ok(()) }).await.is_err());
        let soon = Instant::now() + Duration::from_millis(10);
        let error = before(soon, std::future::pending::<Result<(), BoxError>>()).await.unwrap_err();
        assert!(error.to_string().contains("did not answer"), "{error}");
    }
}
