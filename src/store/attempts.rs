//! Where failed attempts are counted.

use std::{
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::error::{BoxFuture, StoreError};

/// What attempts are counted by: an HMAC of the account, the address, or both, so that keys have one size and say
/// nothing to who reads the store.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttemptKey(pub [u8; 16]);

impl fmt::Debug for AttemptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttemptKey")
    }
}

/// How many failures are allowed within how long: a sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptLimit {
    /// The number of failures after which further attempts are held.
    pub failures: u32,
    /// How long a failure counts.
    pub window: Duration,
}

/// How long a place is kept for a check that is never settled.
pub(super) const RESERVATION_LEASE: Duration = Duration::from_secs(30);

/// Names one reservation; random, so that processes need not agree on it. None is reserved twice.
pub type ReservationId = u64;

/// What became of the wish to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reservation {
    /// A place is taken; it must be settled.
    Reserved,
    /// Failures and checks under way together fill the limit: a place may come free any moment.
    Busy,
    /// The failures alone fill the limit.
    Held {
        /// Until the oldest failure stops counting.
        retry_after: Duration,
    },
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// The credentials were wrong: the place becomes a failure.
    Failed,
    /// The credentials were right: the place is given back and the failures under this key are forgotten.
    Succeeded,
    /// Nothing was learned (shed, broken, or right under a key that a success does not clear): the place is given back.
    Released,
}

/// Counts failed attempts.
///
/// # Contract
/// - `reserve` is one atomic step, also across processes: failures and open reservations under one key never exceed the
///   limit. `Held` neither adds a failure nor makes the hold longer.
/// - A failure counts for `limit.window` from its settlement. A reservation that is never settled (a crash) is given back
///   after at most 30 seconds.
/// - Memory is bounded whatever the number of keys; an entry at its limit is never dropped to make room.
/// - Time is the store's own and does not follow steps of the wall clock of this machine.
/// - `deadline` is when the caller gives up: a call takes no effect after it, and one that comes late is an `Err`.
/// - An `Err` means that it is not known whether the call took effect.
pub trait AttemptStore: Send + Sync + 'static {
    /// Takes a place under `key`, if the limit allows it.
    fn reserve(
        &self,
        key: AttemptKey,
        id: ReservationId,
        limit: AttemptLimit,
        deadline: Instant,
    ) -> impl Future<Output = Result<Reservation, StoreError>> + Send;

    /// Says what became of a reserved place. Unknown ids are ignored, except that `Succeeded` still clears and `Failed`
    /// still counts.
    fn settle(
        &self,
        key: AttemptKey,
        id: ReservationId,
        limit: AttemptLimit,
        outcome: AttemptOutcome,
        deadline: Instant,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Gives a place back when the caller has gone, without waiting: called from `drop`. The default leaves it to the
    /// 30 seconds of the contract.
    fn abandon(&self, key: AttemptKey, id: ReservationId) {
        let _ = (key, id);
    }
}

impl<S: AttemptStore> AttemptStore for Arc<S> {
    fn reserve(
        &self,
        key: AttemptKey,
        id: ReservationId,
        limit: AttemptLimit,
        deadline: Instant,
    ) -> impl Future<Output = Result<Reservation, StoreError>> + Send {
        S::reserve(self, key, id, limit, deadline)
    }

    fn settle(
        &self,
        key: AttemptKey,
        id: ReservationId,
        limit: AttemptLimit,
        outcome: AttemptOutcome,
        deadline: Instant,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        S::settle(self, key, id, limit, outcome, deadline)
    }

    fn abandon(&self, key: AttemptKey, id: ReservationId) {
        S::abandon(self, key, id);
    }
}

/// `AttemptStore` with its futures boxed, so that the endpoint can hold any of them.
pub(crate) trait DynAttemptStore: Send + Sync {
    fn reserve(
        &self,
        key: AttemptKey,
        id: ReservationId,
        limit: AttemptLimit,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Reservation, StoreError>>;
    fn settle(
        &self,
        key: AttemptKey,
        id: ReservationId,
        limit: AttemptLimit,
        outcome: AttemptOutcome,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<(), StoreError>>;
    fn abandon(&self, key: AttemptKey, id: ReservationId);
}

impl<S: AttemptStore> DynAttemptStore for S {
    fn reserve(
        &self,
        key: AttemptKey,
        id: ReservationId,
        limit: AttemptLimit,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Reservation, StoreError>> {
        Box::pin(AttemptStore::reserve(self, key, id, limit, deadline))
    }

    fn settle(
        &self,
        key: AttemptKey,
        id: ReservationId,
        limit: AttemptLimit,
        outcome: AttemptOutcome,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(AttemptStore::settle(self, key, id, limit, outcome, deadline))
    }

    fn abandon(&self, key: AttemptKey, id: ReservationId) {
        AttemptStore::abandon(self, key, id);
    }
}
