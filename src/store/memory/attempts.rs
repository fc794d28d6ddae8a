//! Failed attempts in memory.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{attempt_table::AttemptTable, clock::Clock};
use crate::{
    error::StoreError,
    store::{AttemptKey, AttemptLimit, AttemptOutcome, AttemptStore, Reservation, ReservationId, in_time},
    sync::{Mutex, lock},
};

/// Failed attempts in the memory of this process.
///
/// Clones share their counts. At most [`with_capacity`](Self::with_capacity) keys are kept, 200,000 unless configured:
/// under 100 MiB with limits of up to 16 failures, whatever strangers send. When a new key needs room, keys whose
/// failures no longer count are dropped first, then those with the fewest failures. A key at its limit is never dropped:
/// when nothing else is left, attempts under new keys are answered with an error, that is, refused for the time being.
///
/// ```
/// use std::time::{Duration, Instant};
/// use tower_oauth2_password::store::{
///     AttemptKey, AttemptLimit, AttemptOutcome, AttemptStore, MemoryAttemptStore, Reservation,
/// };
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let store = MemoryAttemptStore::new();
/// let (key, limit) = (AttemptKey([7; 16]), AttemptLimit { failures: 1, window: Duration::from_secs(60) });
/// let soon = Instant::now() + limit.window;
/// assert_eq!(store.reserve(key, 1, limit, soon).await?, Reservation::Reserved);
/// assert_eq!(store.reserve(key, 2, limit, soon).await?, Reservation::Busy);
/// store.settle(key, 1, limit, AttemptOutcome::Failed, soon).await?;
/// assert!(matches!(store.reserve(key, 3, limit, soon).await?, Reservation::Held { .. }));
/// # Ok::<(), tower_oauth2_password::StoreError>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct MemoryAttemptStore {
    table: Arc<Mutex<AttemptTable>>,
    capacity: usize,
    clock: Clock,
}

impl MemoryAttemptStore {
    /// A store for up to 200,000 keys.
    #[must_use]
    pub fn new() -> Self {
        Self { table: Arc::default(), capacity: 200_000, clock: Clock::default() }
    }

    /// How many keys there may be at most; 0 counts as 1.
    #[must_use]
    pub fn with_capacity(mut self, keys: usize) -> Self {
        self.capacity = keys.max(1);
        self
    }

    /// Takes the time from `clock`, which tells how much has passed since some fixed moment: for tests that cannot
    /// wait. Unless configured, time is the operating system's monotonic clock.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        self.clock = Clock::new(clock);
        self
    }

    /// How many keys are kept, those that lapsed and were not swept yet among them.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.table).len()
    }

    /// Whether no key is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for MemoryAttemptStore {
    fn default() -> Self {
        Self::new()
    }
}

fn full<T>(_: T) -> StoreError {
    StoreError::new("the table of attempts is full of keys at their limit; with_capacity makes it larger")
}

impl AttemptStore for MemoryAttemptStore {
    async fn reserve(
        &self,
        key: AttemptKey,
        id: ReservationId,
        limit: AttemptLimit,
        deadline: Instant,
    ) -> Result<Reservation, StoreError> {
        in_time(deadline)?;
        lock(&self.table).reserve(key.0, id, limit, self.capacity, self.clock.now_nanos()).map_err(full)
    }

    async fn settle(
        &self,
        key: AttemptKey,
        id: ReservationId,
        limit: AttemptLimit,
        outcome: AttemptOutcome,
        deadline: Instant,
    ) -> Result<(), StoreError> {
        in_time(deadline)?;
        let mut table = lock(&self.table);
        let now = self.clock.now_nanos();
        match outcome {
            AttemptOutcome::Failed => table.fail(key.0, id, limit, self.capacity, now).map_err(full),
            AttemptOutcome::Succeeded => {
                table.succeed(key.0, id, now);
                Ok(())
            }
            AttemptOutcome::Released => {
                table.release(key.0, id, now);
                Ok(())
            }
        }
    }

    fn abandon(&self, key: AttemptKey, id: ReservationId) {
        lock(&self.table).release(key.0, id, self.clock.now_nanos());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_counts_the_keys_that_it_holds() {
        let store = MemoryAttemptStore::new();
        assert_eq!((store.len(), store.is_empty()), (0, true));
        let limit = AttemptLimit { failures: 1, window: Duration::from_secs(60) };
        store.reserve(AttemptKey([1; 16]), 1, limit, Instant::now() + Duration::from_secs(60)).await.unwrap();
        assert_eq!((store.len(), store.is_empty()), (1, false));
    }
}
