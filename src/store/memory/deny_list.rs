//! Revoked access tokens in memory.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use super::clock::{Clock, nanos};
use crate::{
    error::StoreError,
    store::{DenyList, in_time},
    sync::{RwLock, read, write},
};

/// How many lapsed tokens one insertion drops at most: more than it adds, so that they cannot pile up.
const SWEEP: usize = 4;

/// What stands for a `jti` in a list: of one size, however long the `jti`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TokenDigest(pub(super) [u8; 16]);

impl TokenDigest {
    pub(super) fn of(token_id: &str) -> Self {
        let mut digest = [0; 16];
        digest.iter_mut().zip(Sha256::digest(token_id)).for_each(|(to, from)| *to = from);
        Self(digest)
    }
}

/// Revoked access tokens in the memory of this process; forgotten when it ends.
///
/// Clones share their tokens. At most [`with_capacity`](Self::with_capacity) tokens are remembered, 200,000 unless
/// configured, at about a hundred bytes each; a revocation that finds the list full is answered with an error.
///
/// ```
/// use std::time::{Duration, Instant};
/// use tower_oauth2_password::store::{DenyList, MemoryDenyList};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let list = MemoryDenyList::new();
/// let soon = Instant::now() + Duration::from_secs(1);
/// list.deny("jti-1", Duration::from_secs(900), soon).await?;
/// assert!(list.is_denied("jti-1"));
/// assert!(!list.is_denied("jti-2"));
/// # Ok::<(), tower_oauth2_password::StoreError>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct MemoryDenyList {
    shared: Arc<Shared>,
    capacity: usize,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Shared {
    table: RwLock<Table>,
    /// So that the guard of a server that revokes nothing neither hashes nor locks.
    len: AtomicUsize,
}

#[derive(Debug, Default)]
struct Table {
    until: HashMap<TokenDigest, u64>,
    by_lapse: BTreeSet<(u64, TokenDigest)>,
}

impl MemoryDenyList {
    /// A list for up to 200,000 tokens.
    #[must_use]
    pub fn new() -> Self {
        Self { shared: Arc::default(), capacity: 200_000, clock: Clock::default() }
    }

    /// How many tokens may be remembered at most; 0 counts as 1.
    #[must_use]
    pub fn with_capacity(mut self, tokens: usize) -> Self {
        self.capacity = tokens.max(1);
        self
    }

    /// Takes the time from `clock`, which tells how much has passed since some fixed moment: for tests that cannot
    /// wait. Unless configured, time is the operating system's monotonic clock.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        self.clock = Clock::new(clock);
        self
    }

    /// How many tokens are remembered, those that lapsed and were not swept yet among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.len.load(Ordering::Acquire)
    }

    /// Whether no token is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Remembers a token; says whether there was room.
    fn insert(&self, token: TokenDigest, ttl: Duration, capacity: usize) -> bool {
        let mut table = write(&self.shared.table);
        let now = self.clock.now_nanos();
        table.sweep(now);
        let until = now.saturating_add(nanos(ttl));
        let inserted = match table.until.get(&token).copied() {
            Some(known) if known >= until => true,
            None if table.until.len() >= capacity => false,
            known => {
                if let Some(known) = known {
                    table.by_lapse.remove(&(known, token));
                }
                table.until.insert(token, until);
                table.by_lapse.insert((until, token));
                true
            }
        };
        self.shared.len.store(table.until.len(), Ordering::Release);
        inserted
    }
}

impl Table {
    fn sweep(&mut self, now: u64) {
        for _ in 0..SWEEP {
            match self.by_lapse.first().copied() {
                Some(first) if first.0 <= now => {
                    self.by_lapse.remove(&first);
                    self.until.remove(&first.1);
                }
                _ => break,
            }
        }
    }
}

impl Default for MemoryDenyList {
    fn default() -> Self {
        Self::new()
    }
}

impl DenyList for MemoryDenyList {
    async fn deny(&self, token_id: &str, ttl: Duration, deadline: Instant) -> Result<(), StoreError> {
        in_time(deadline)?;
        if self.insert(TokenDigest::of(token_id), ttl, self.capacity) {
            Ok(())
        } else {
            Err(StoreError::new("the list of revoked tokens is full; with_capacity makes it larger"))
        }
    }

    fn is_denied(&self, token_id: &str) -> bool {
        if self.is_empty() {
            return false;
        }
        let token = TokenDigest::of(token_id);
        let now = self.clock.now_nanos();
        read(&self.shared.table).until.get(&token).is_some_and(|&until| until > now)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn a_list_counts_what_it_holds_and_has_room_for_one_at_least() {
        let list = MemoryDenyList::default().with_capacity(0);
        assert!(list.is_empty());
        assert!(list.insert(TokenDigest::of("a"), Duration::from_secs(60), list.capacity));
        assert!(!list.insert(TokenDigest::of("b"), Duration::from_secs(60), list.capacity));
        assert_eq!((list.len(), list.is_empty()), (1, false));
    }

    #[test]
    fn a_full_list_refuses_and_keeps_what_it_has() {
        let now = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&now);
        let list = MemoryDenyList::new().with_clock(move || Duration::from_secs(clock.load(Ordering::Relaxed)));
        let minute = Duration::from_secs(60);
        let (a, b, c) = (TokenDigest::of("a"), TokenDigest::of("b"), TokenDigest::of("c"));
        assert!(list.insert(a, minute, 2) && list.insert(b, minute * 2, 2));
        assert!(!list.insert(c, minute, 2));
        assert!(list.insert(a, minute, 2), "a known token needs no room");
        assert!(list.is_denied("a") && list.is_denied("b") && !list.is_denied("c"));
        assert!(list.insert(b, minute, 2) && list.insert(a, minute, 2), "an earlier end changes nothing");
        now.store(59, Ordering::Relaxed);
        assert!(list.is_denied("a"));
        now.store(60, Ordering::Relaxed);
        assert!(!list.is_denied("a") && list.is_denied("b"));
        assert!(list.insert(c, minute, 2));
        assert_eq!(list.len(), 2);
    }

    #[test]
    fn a_later_end_replaces_an_earlier_one() {
        let now = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&now);
        let list = MemoryDenyList::new().with_clock(move || Duration::from_secs(clock.load(Ordering::Relaxed)));
        for seconds in [60, 120] {
            assert!(list.insert(TokenDigest::of("a"), Duration::from_secs(seconds), 2));
        }
        now.store(119, Ordering::Relaxed);
        assert!(list.is_denied("a"));
        now.store(120, Ordering::Relaxed);
        assert!(!list.is_denied("a"));
    }
}
