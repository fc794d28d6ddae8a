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

use std::time::Instant;

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
use crate::error::StoreError;

/// An error once the caller has given up.
pub(crate) fn in_time(deadline: Instant) -> Result<(), StoreError> {
    if Instant::now() < deadline { Ok(()) } else { Err(StoreError::new("the call came after its deadline")) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_call_is_late_from_its_deadline_on() {
        assert!(in_time(Instant::now() + Duration::from_secs(60)).is_ok());
        assert!(in_time(Instant::now()).is_err());
    }
}
