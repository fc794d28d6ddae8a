//! Revoked access tokens in memory.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use super::store::{Contents, MemoryStore};
use super::{clock::nanos, table::Table};
use crate::secret::digest;
use crate::store::deny_list::{Denial, Denied, DenyList, SHARE, TokenRef};
use crate::store::{StoreFuture, in_time};

/// One entry of a deny list, in which no name or id can be read, and all have one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Entry {
    /// The digest of what is denied: a token, a session or a subject.
    pub(in crate::store) key: [u8; 16],
    /// The digest of an issuer and its subject.
    pub(in crate::store) subject: [u8; 16],
    /// Set if the subject is denied.
    pub(in crate::store) before: Option<SystemTime>,
}

impl Entry {
    pub(in crate::store) fn of(denial: &Denial<'_>) -> Self {
        let subject = subject_digest(denial.issuer, denial.subject);
        let (key, before) = match denial.denied {
            Denied::Token(id) => (digest("token", &[id]), None),
            Denied::Session(id) => (digest("session", &[id]), None),
            Denied::SubjectBefore(end) => (subject, Some(end)),
        };
        Self { key, subject, before }
    }
}

fn subject_digest(issuer: Option<&str>, subject: &str) -> [u8; 16] {
    digest("subject", &[issuer.unwrap_or_default(), subject])
}

/// The revoked tokens of one process.
#[expect(missing_debug_implementations, reason = "`MemoryStore` prints no contents")]
#[derive(Default)]
pub struct DeniedTokens {
    entries: Table<[u8; 16], Entry>,
    /// How many tokens and sessions of each subject there are.
    shares: HashMap<[u8; 16], usize>,
}

impl Contents for DeniedTokens {
    const CAPACITY: usize = 200_000;

    fn len(&self) -> usize {
        self.entries.len()
    }
}

impl DeniedTokens {
    /// False if the share is used up, and `None` if there is no room.
    fn insert(&mut self, mut entry: Entry, mut expires: u64, limits: [usize; 2], now: u64) -> Option<bool> {
        let [capacity, share] = limits;
        self.entries.sweep(now, |_, old| release(&mut self.shares, old));
        if let Some((known, old)) = self.entries.get(entry.key) {
            (entry.before, expires) = (entry.before.max(old.before), expires.max(known));
        } else if self.entries.len() >= capacity {
            return None;
        } else if entry.before.is_none() {
            if self.has_used_up(entry.subject, share, now) {
                return Some(false);
            }
            *self.shares.entry(entry.subject).or_default() += 1;
        }
        self.entries.insert(entry.key, expires, entry);
        Some(true)
    }

    /// Whether the subject has used up its share, when all that expired is gone.
    fn has_used_up(&mut self, subject: [u8; 16], share: usize, now: u64) -> bool {
        let is_full = |shares: &HashMap<_, usize>| shares.get(&subject).is_some_and(|used| *used >= share);
        while is_full(&self.shares) && self.entries.first_expired(now).is_some() {
            self.entries.sweep(now, |_, old| release(&mut self.shares, old));
        }
        is_full(&self.shares)
    }

    fn is_denied(&self, token: TokenRef<'_>, now: u64) -> bool {
        let entry = |key| self.entries.alive(key, now);
        let named = |kind, id: Option<&str>| id.is_some_and(|id| entry(digest(kind, &[id])).is_some());
        let before = || entry(subject_digest(token.issuer, token.subject))?.before;
        named("token", token.id)
            || named("session", token.session_id)
            || before().is_some_and(|end| token.is_from_before(end))
    }
}

fn release(shares: &mut HashMap<[u8; 16], usize>, old: Entry) {
    if old.before.is_none()
        && let Some(used) = shares.get_mut(&old.subject)
    {
        *used = used.saturating_sub(1);
        if *used == 0 {
            shares.remove(&old.subject);
        }
    }
}

impl MemoryStore<DeniedTokens> {
    /// Remembers an entry, of which a subject may have this many.
    pub(in crate::store) fn insert(&self, entry: Entry, ttl: Duration, share: usize) -> Option<bool> {
        let limits = [self.capacity, share];
        self.write(|denied, now| denied.insert(entry, now.saturating_add(nanos(ttl)), limits, now))
    }

    /// Whether this entry would be one more than the share of its subject.
    #[cfg(feature = "redis")]
    pub(in crate::store) fn is_full_for(&self, entry: Entry) -> bool {
        let is_new = |denied: &DeniedTokens| entry.before.is_none() && denied.entries.get(entry.key).is_none();
        self.write(|denied, now| is_new(denied) && denied.has_used_up(entry.subject, SHARE, now))
    }
}

impl DenyList for MemoryStore<DeniedTokens> {
    fn deny<'a>(&'a self, denial: Denial<'a>, deadline: Instant) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            in_time(deadline)?;
            let inserted = self.insert(Entry::of(&denial), denial.ttl, SHARE);
            inserted.ok_or_else(|| "the deny list is full: raise it with `with_capacity`".into())
        })
    }

    fn is_denied(&self, token: TokenRef<'_>) -> bool {
        !self.is_empty() && self.read(|denied, now| denied.is_denied(token, now))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use super::*;
    use crate::store::MemoryDenyList;

    const MINUTE: Duration = Duration::from_secs(60);

    fn with_clock() -> (MemoryDenyList, Arc<AtomicU64>) {
        let now = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&now);
        (MemoryDenyList::new().with_clock(move || Duration::from_secs(clock.load(Ordering::Relaxed))), now)
    }

    fn insert(list: &MemoryDenyList, id: &str, ttl: Duration) -> Option<bool> {
        list.insert(Entry::of(&Denial::new(Denied::Token(id), None, id, ttl)), ttl, SHARE)
    }

    fn denies(list: &MemoryDenyList, id: &str) -> bool {
        let mut token = TokenRef::new("alice");
        token.id = Some(id);
        list.is_denied(token)
    }

    #[test]
    fn a_list_counts_its_tokens_and_has_room_for_at_least_one() {
        let list = MemoryDenyList::default().with_capacity(0);
        assert!(list.is_empty());
        assert_eq!((insert(&list, "a", MINUTE), insert(&list, "b", MINUTE)), (Some(true), None));
        assert_eq!((list.len(), list.is_empty()), (1, false));
    }

    #[test]
    fn a_full_list_refuses_and_keeps_its_tokens() {
        let (list, now) = with_clock();
        let list = list.with_capacity(2);
        assert_eq!((insert(&list, "a", MINUTE), insert(&list, "b", MINUTE * 2)), (Some(true), Some(true)));
        assert_eq!(insert(&list, "c", MINUTE), None);
        assert_eq!(insert(&list, "a", MINUTE), Some(true), "a known token needs no room");
        assert!(denies(&list, "a") && denies(&list, "b") && !denies(&list, "c"));
        assert_eq!((insert(&list, "b", MINUTE), insert(&list, "a", MINUTE)), (Some(true), Some(true)));
        now.store(59, Ordering::Relaxed);
        assert!(denies(&list, "a"));
        now.store(60, Ordering::Relaxed);
        assert!(!denies(&list, "a") && denies(&list, "b"), "an earlier end changes nothing");
        assert_eq!(insert(&list, "c", MINUTE), Some(true));
        assert_eq!(list.len(), 2);
    }

    #[test]
    fn a_later_end_replaces_an_earlier_one() {
        let (list, now) = with_clock();
        for seconds in [60, 120] {
            assert_eq!(insert(&list, "a", Duration::from_secs(seconds)), Some(true));
        }
        now.store(119, Ordering::Relaxed);
        assert!(denies(&list, "a"));
        now.store(120, Ordering::Relaxed);
        assert!(!denies(&list, "a"));
    }

    #[test]
    fn an_expired_token_gives_its_share_back() {
        let (list, now) = with_clock();
        let entry = |id| Entry::of(&Denial::new(Denied::Token(id), None, "alice", MINUTE));
        let insert = |id| list.insert(entry(id), MINUTE, 2);
        assert_eq!(["a", "b", "c", "a"].map(insert), [Some(true), Some(true), Some(false), Some(true)]);
        now.store(60, Ordering::Relaxed);
        assert_eq!(["c", "d", "e"].map(insert), [Some(true), Some(true), Some(false)]);
        assert_eq!(list.read(|denied, _| denied.shares.len()), 1);
    }

    #[tokio::test]
    async fn an_arc_of_a_list_is_the_list() {
        let list = Arc::new(MemoryDenyList::new());
        let denial = Denial::new(Denied::SubjectBefore(SystemTime::now()), None, "alice", MINUTE);
        assert!(DenyList::deny(&list, denial, Instant::now() + MINUTE).await.unwrap());
        assert!(
            DenyList::is_denied(&list, TokenRef::new("alice")) && !DenyList::is_denied(&list, TokenRef::new("bob"))
        );
    }
}
