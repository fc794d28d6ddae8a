//! State that outlives a request: refresh token families, failed attempts, revoked access tokens.
//!
//! 1. Each kind of state has one trait: [`RefreshStore`], [`AttemptStore`], [`DenyList`]. Its documentation is a contract.
//! 2. The memory stores serve one process. They are bounded, and their contents are lost when the process ends.
//! 3. The [Redis stores](redis) serve several processes (feature `redis`), and so do those of the package
//!    `tower-oauth2-password-sqlx`, in Postgres or SQLite.
//! 4. The package `tower-oauth2-password-testkit` checks the contract of your own store.
//!
//! A request waits 500 ms for all its stores together, unless
//! [`with_store_budget`](crate::AuthorizationServer::with_store_budget) sets another time. Each call gets the deadline that
//! is left.

mod attempts;
mod budget;
mod deny_list;
mod memory;
#[cfg(feature = "redis")]
pub mod redis;
mod refresh;

use std::time::Instant;

pub use self::attempts::{AttemptKey, AttemptLimit, AttemptOutcome, AttemptStore, Reservation, ReservationId, Slot};
pub(crate) use self::budget::{STORE_BUDGET, StoreBudget};
pub use self::deny_list::{Denial, Denied, DenyList, TokenRef};
pub use self::memory::{MemoryAttemptStore, MemoryDenyList, MemoryRefreshStore, MemoryStore};
pub use self::refresh::{Family, FamilyId, Previous, RefreshStore, Rotation, SecretHash, Session, SubjectRef};
use crate::error::{BoxError, BoxFuture};

/// What a store returns: a boxed future, so that a layer can hold any store.
///
/// ```
/// use std::time::Instant;
/// use tower_oauth2_password::store::StoreFuture;
///
/// fn ask<'a>(name: &'a str, deadline: Instant) -> StoreFuture<'a, usize> {
///     Box::pin(async move {
///         if Instant::now() >= deadline {
///             return Err("too late".into());
///         }
///         Ok(name.len()) // ask your database, and use `?` on its errors
///     })
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// assert!(ask("alice", Instant::now()).await.is_err());
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
pub type StoreFuture<'a, T> = BoxFuture<'a, Result<T, BoxError>>;

/// An error once the deadline has passed.
pub(crate) fn in_time(deadline: Instant) -> Result<(), BoxError> {
    if Instant::now() < deadline { Ok(()) } else { Err("the call came after its deadline".into()) }
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
