//! State that outlives a request: refresh token families, failed attempts, revoked access tokens.
//!
//! Each kind is a trait with an implementation in memory and, behind the feature `redis`, one in Redis. The contract of
//! each trait is checked by the package `tower-oauth2-password-testkit`, which your own store can run, too.

mod attempts;
mod budget;
mod deny_list;
mod memory;
#[cfg(feature = "redis")]
pub mod redis;
mod refresh;

use std::{fmt, time::Instant};

pub(crate) use self::{
    attempts::DynAttemptStore,
    budget::{STORE_TIME_BUDGET, StoreBudget},
    deny_list::DynDenyList,
    refresh::DynRefreshStore,
};
pub use self::{
    attempts::{AttemptKey, AttemptLimit, AttemptOutcome, AttemptStore, Reservation, ReservationId},
    deny_list::DenyList,
    memory::{MemoryAttemptStore, MemoryDenyList, MemoryRefreshStore},
    refresh::{Family, FamilyId, Previous, RefreshStore, Rotation, SecretHash, Successor},
};
use crate::BoxError;

/// A store could not answer: what it needs is away, too slow, or full. The cause is logged, never shown.
#[derive(Debug)]
pub struct StoreError(BoxError);

impl StoreError {
    /// Wraps the cause.
    pub fn new(cause: impl Into<BoxError>) -> Self {
        Self(cause.into())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store is unavailable")
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.0.as_ref())
    }
}

/// An error once the caller has given up.
pub(crate) fn in_time(deadline: Instant) -> Result<(), StoreError> {
    if Instant::now() < deadline { Ok(()) } else { Err(StoreError::new("the call came after its deadline")) }
}

#[cfg(test)]
mod tests {
    use std::{error::Error, time::Duration};

    use super::*;

    #[test]
    fn an_error_tells_its_cause_to_the_log_alone() {
        let error = StoreError::new("no route to 192.0.2.7");
        assert_eq!(error.to_string(), "the store is unavailable");
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("no route to 192.0.2.7"));
    }

    #[test]
    fn a_call_is_late_from_its_deadline_on() {
        assert!(in_time(Instant::now() + Duration::from_secs(60)).is_ok());
        assert!(in_time(Instant::now()).is_err());
    }
}
