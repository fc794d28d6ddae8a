//! What the memory stores have in common: the builder, the lock, the count.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{fmt, sync::Arc};

use super::table::nanos;
use crate::error::BoxError;
use crate::store::{StoreFuture, in_time};
use crate::sync::{RwLock, read, write};

/// A store in the memory of this process: [`MemoryRefreshStore`](super::MemoryRefreshStore),
/// [`MemoryAttemptStore`](super::MemoryAttemptStore) or [`MemoryDenyList`](super::MemoryDenyList). Clones share their contents.
///
/// ```
/// use tower_oauth2_password::store::MemoryRefreshStore;
///
/// let store = MemoryRefreshStore::new().with_capacity(1_000_000);
/// assert!(store.is_empty());
/// assert_eq!(store.clone().len(), 0);
/// ```
#[must_use]
pub struct MemoryStore<T> {
    shared: Arc<Locked<T>>,
    pub(super) capacity: usize,
    /// The time since some fixed moment. It only moves forward, whatever happens to the wall clock.
    clock: Arc<dyn Fn() -> Duration + Send + Sync>,
}

#[derive(Default)]
struct Locked<T> {
    contents: RwLock<T>,
    /// Beside the lock, so that the guard of a server that revokes nothing does not take it.
    len: AtomicUsize,
}

/// What a memory store holds.
pub trait Contents: Default {
    /// The default capacity.
    const CAPACITY: usize;
    /// The number of entries.
    fn len(&self) -> usize;
}

impl<T: Contents> MemoryStore<T> {
    /// A store of the default capacity.
    pub fn new() -> Self {
        let start = Instant::now();
        // Logins that were verified before the store existed have a time, too.
        let clock = Arc::new(move || Duration::from_secs(3_600) + start.elapsed());
        Self { shared: Arc::default(), capacity: T::CAPACITY, clock }
    }

    /// Sets how many entries there may be at most. 0 counts as 1.
    pub fn with_capacity(self, entries: usize) -> Self {
        Self { capacity: entries.max(1), ..self }
    }

    /// Takes the time from `clock`, which returns the time since some fixed moment, for tests. The default is the operating
    /// system's monotonic clock.
    pub fn with_clock(self, clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    /// The number of entries. Expired ones count until they are removed.
    pub fn len(&self) -> usize {
        self.shared.len.load(Ordering::Acquire)
    }

    /// Whether the store has no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn read<R>(&self, ask: impl FnOnce(&T, u64) -> R) -> R {
        ask(&read(&self.shared.contents), nanos((self.clock)()))
    }

    pub(super) fn write<R>(&self, change: impl FnOnce(&mut T, u64) -> R) -> R {
        let mut contents = write(&self.shared.contents);
        let answer = change(&mut contents, nanos((self.clock)()));
        self.shared.len.store(contents.len(), Ordering::Release);
        answer
    }
}

impl<T: Contents + Send + Sync> MemoryStore<T> {
    /// Changes the contents when the answer is awaited, unless that is after the deadline.
    pub(super) fn answer<'a, R: 'a>(
        &'a self,
        deadline: Instant,
        change: impl FnOnce(&mut T, u64) -> Result<R, BoxError> + Send + 'a,
    ) -> StoreFuture<'a, R> {
        Box::pin(async move { in_time(deadline).and_then(|()| self.write(change)) })
    }
}

impl<T: Contents> Default for MemoryStore<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for MemoryStore<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), capacity: self.capacity, clock: Arc::clone(&self.clock) }
    }
}

impl<T: Contents> fmt::Debug for MemoryStore<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only the number: the id of a family is enough to revoke it, and keys of attempts could be matched to names.
        f.debug_struct("MemoryStore")
            .field("len", &self.len())
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
