//! Refresh token families in memory.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{clock::Clock, family_table::FamilyTable};
use crate::{
    error::StoreError,
    store::{Family, FamilyId, RefreshStore, Rotation, SecretHash, Successor, in_time},
    sync::{Mutex, lock},
};

/// Refresh token families in the memory of this process; gone when it ends.
///
/// Clones share their families. At most [`with_capacity`](Self::with_capacity) families are kept, 100,000 unless
/// configured, at about half a kilobyte each; when a login needs more room, the family that would expire first is ended
/// and its user has to log in again.
///
/// ```
/// use std::time::{Duration, Instant};
/// use tower_oauth2_password::store::{Family, FamilyId, MemoryRefreshStore, RefreshStore, Rotation, SecretHash, Successor};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let store = MemoryRefreshStore::new();
/// let (id, first, second) = (FamilyId([7; 16]), SecretHash([1; 32]), SecretHash([2; 32]));
/// let hour = Duration::from_secs(3_600);
/// let soon = Instant::now() + hour;
/// store.insert(id, Family::new(first, "alice", 24 * hour, hour), soon).await?;
/// assert_eq!(store.rotate(id, first, Successor::new(second), soon).await?, Rotation::Rotated);
/// assert_eq!(store.rotate(id, first, Successor::new(second), soon).await?, Rotation::Mismatch);
/// # Ok::<(), tower_oauth2_password::StoreError>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct MemoryRefreshStore {
    table: Arc<Mutex<FamilyTable>>,
    capacity: usize,
    clock: Clock,
}

impl MemoryRefreshStore {
    /// A store for up to 100,000 families.
    #[must_use]
    pub fn new() -> Self {
        Self { table: Arc::default(), capacity: 100_000, clock: Clock::default() }
    }

    /// How many families there may be at most; 0 counts as 1.
    #[must_use]
    pub fn with_capacity(mut self, families: usize) -> Self {
        self.capacity = families.max(1);
        self
    }

    /// Takes the time from `clock`, which tells how much has passed since some fixed moment: for tests that cannot
    /// wait. Unless configured, time is the operating system's monotonic clock.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        self.clock = Clock::new(clock);
        self
    }

    /// How many families are kept, those that lapsed and were not swept yet among them.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.table).len()
    }

    /// Whether no family is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for MemoryRefreshStore {
    fn default() -> Self {
        Self::new()
    }
}

impl RefreshStore for MemoryRefreshStore {
    async fn insert(&self, id: FamilyId, family: Family, deadline: Instant) -> Result<(), StoreError> {
        in_time(deadline)?;
        let inserted = lock(&self.table).insert(id.0, family, self.capacity, self.clock.now());
        if inserted { Ok(()) } else { Err(StoreError::new("a family of this name exists")) }
    }

    async fn find(&self, id: FamilyId, deadline: Instant) -> Result<Option<Family>, StoreError> {
        in_time(deadline)?;
        Ok(lock(&self.table).find(id.0, self.clock.now()))
    }

    async fn rotate(
        &self,
        id: FamilyId,
        presented: SecretHash,
        successor: Successor,
        deadline: Instant,
    ) -> Result<Rotation, StoreError> {
        in_time(deadline)?;
        Ok(lock(&self.table).rotate(id.0, presented, successor, self.clock.now()))
    }

    async fn revoke(&self, id: FamilyId, deadline: Instant) -> Result<(), StoreError> {
        in_time(deadline)?;
        lock(&self.table).remove(id.0);
        Ok(())
    }

    async fn revoke_subject(&self, subject: &str) -> Result<u64, StoreError> {
        Ok(lock(&self.table).remove_subject(subject, self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SecretHash;

    #[tokio::test]
    async fn a_store_counts_its_families_and_keeps_as_many_as_it_may() {
        let store = MemoryRefreshStore::new().with_capacity(2);
        assert_eq!((store.len(), store.is_empty()), (0, true));
        let hour = Duration::from_secs(3_600);
        for (n, kept) in [(1, 1), (2, 2), (3, 2)] {
            let family = Family::new(SecretHash([n; 32]), "alice", hour, hour);
            store.insert(FamilyId([n; 16]), family, Instant::now() + hour).await.unwrap();
            assert_eq!((store.len(), store.is_empty()), (kept, false));
        }
    }
}
