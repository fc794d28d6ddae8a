//! The store that counts failed attempts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::StoreFuture;
use crate::secret::debug_only;

/// The key that attempts count under: an HMAC of the account, the address, or both. All keys have the same size, and none
/// reveals a name.
///
/// ```
/// use tower_oauth2_password::store::AttemptKey;
///
/// assert_eq!(format!("{:?}", AttemptKey([7; 16])), "AttemptKey { .. }");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttemptKey(pub [u8; 16]);

debug_only!(AttemptKey {});

/// How many failures are allowed, and for how long each of them counts: a sliding window.
///
/// ```
/// use std::time::Duration;
/// use tower_oauth2_password::store::AttemptLimit;
///
/// let limit = AttemptLimit { failures: 10, window: Duration::from_secs(60) };
/// assert_eq!(limit.failures, 10);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptLimit {
    /// After so many failures, further attempts are blocked.
    pub failures: u32,
    /// How long a failure counts.
    pub window: Duration,
}

/// How long a slot stays reserved for an attempt that is never settled.
pub(super) const LEASE: Duration = Duration::from_secs(30);

/// Identifies one reservation. It is random, so that processes need not agree on it, and is used once.
///
/// ```
/// use tower_oauth2_password::store::ReservationId;
///
/// let id: ReservationId = 0x5eed;
/// assert_eq!(id.to_be_bytes().len(), 8, "what a store has to keep of it");
/// ```
pub type ReservationId = u64;

/// One slot of a limit, for one attempt.
///
/// ```
/// use std::time::Duration;
/// use tower_oauth2_password::store::{AttemptKey, AttemptLimit, Slot};
///
/// let limit = AttemptLimit { failures: 10, window: Duration::from_secs(60) };
/// let slot = Slot { key: AttemptKey([7; 16]), id: 1, limit };
/// assert_eq!(slot.limit.failures, 10);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The key that the attempt counts under.
    pub key: AttemptKey,
    /// The reservation.
    pub id: ReservationId,
    /// The limit for this key.
    pub limit: AttemptLimit,
}

/// The answer to an attempt that asks for a slot.
///
/// ```
/// use std::time::Duration;
/// use tower_oauth2_password::store::Reservation;
///
/// let blocked = Reservation::Blocked { retry_after: Duration::from_secs(60) };
/// assert_ne!(blocked, Reservation::Busy);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reservation {
    /// The slot is reserved and must be settled.
    Reserved,
    /// Failures and attempts in progress together fill the limit. A slot may become free at any moment.
    Busy,
    /// The failures alone fill the limit.
    Blocked {
        /// The time until the oldest failure stops counting.
        retry_after: Duration,
    },
}

/// The outcome of an attempt.
///
/// ```
/// use tower_oauth2_password::store::AttemptOutcome;
///
/// assert_ne!(AttemptOutcome::Failed, AttemptOutcome::Released);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// The credentials were wrong: the slot becomes a failure.
    Failed,
    /// The credentials were right: the slot becomes free, and the failures under this key are deleted.
    Succeeded,
    /// Nothing was decided (overload, an outage), or a success does not clear this key: the slot becomes free.
    Released,
}

/// Counts failed attempts.
///
/// # Contract
/// 1. `reserve` is one atomic step, also across processes. Failures and reservations under one key never exceed the
///    limit. `Blocked` neither adds a failure nor extends the block.
/// 2. A failure counts for `limit.window` from the moment that it was settled. A reservation that is never settled (a crash)
///    ends after 30 seconds at most.
/// 3. Memory is bounded, whatever the number of keys. An entry at its limit is never evicted.
/// 4. Time is the store's own, and does not follow steps of this machine's wall clock.
/// 5. A call has no effect after its `deadline`, and one that comes later is an error.
/// 6. After an error it is unknown whether the call took effect.
///
/// ```
/// use std::time::Instant;
/// use tower_oauth2_password::store::{AttemptOutcome, AttemptStore, Reservation, Slot, StoreFuture};
///
/// /// Counts nothing.
/// struct Unlimited;
///
/// impl AttemptStore for Unlimited {
///     fn reserve(&self, _slot: Slot, _deadline: Instant) -> StoreFuture<'_, Reservation> {
///         Box::pin(async { Ok(Reservation::Reserved) })
///     }
///
///     fn settle(&self, _slot: Slot, _outcome: AttemptOutcome, _deadline: Instant) -> StoreFuture<'_, ()> {
///         Box::pin(async { Ok(()) })
///     }
/// }
///
/// # use std::time::Duration;
/// # use tower_oauth2_password::store::{AttemptKey, AttemptLimit};
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let limit = AttemptLimit { failures: 0, window: Duration::ZERO };
/// let slot = Slot { key: AttemptKey([7; 16]), id: 1, limit };
/// assert_eq!(Unlimited.reserve(slot, Instant::now()).await?, Reservation::Reserved);
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an `AttemptStore`",
    label = "expected `MemoryAttemptStore`, `RedisAttemptStore`, one of another package or your own"
)]
pub trait AttemptStore: Send + Sync + 'static {
    /// Reserves a slot, if the limit allows it.
    fn reserve(&self, slot: Slot, deadline: Instant) -> StoreFuture<'_, Reservation>;

    /// Records the outcome of an attempt. For an unknown reservation `Succeeded` still clears and `Failed` still counts.
    fn settle(&self, slot: Slot, outcome: AttemptOutcome, deadline: Instant) -> StoreFuture<'_, ()>;

    /// Frees a slot whose request was cancelled. It is called from `drop` and must not wait. The default does nothing: the
    /// reservation ends after 30 seconds.
    fn abandon(&self, _slot: Slot) {}
}

impl<S: AttemptStore + ?Sized> AttemptStore for Arc<S> {
    fn reserve(&self, slot: Slot, deadline: Instant) -> StoreFuture<'_, Reservation> {
        S::reserve(self, slot, deadline)
    }

    fn settle(&self, slot: Slot, outcome: AttemptOutcome, deadline: Instant) -> StoreFuture<'_, ()> {
        S::settle(self, slot, outcome, deadline)
    }

    fn abandon(&self, slot: Slot) {
        S::abandon(self, slot);
    }
}
