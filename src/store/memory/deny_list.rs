//! Revoked access tokens in memory.

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime},
};

use super::{
    clock::nanos,
    store::{Contents, MemoryStore},
    table::Table,
};
use crate::{
    secret::digest,
    store::{
        StoreFuture,
        deny_list::{Denial, Denied, DenyList, SHARE, TokenRef},
        in_time,
    },
};

/// One entry of a deny list, in which no name or id can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Entry {
    /// The digest of an issuer and its subject.
    pub(in crate::store) subject: [u8; 16],
    pub(in crate::store) denied: DeniedDigest,
}

/// [`Denied`], with digests of one size, however long an id is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum DeniedDigest {
    TokenOrSession([u8; 16]),
    SubjectBefore(SystemTime),
}

impl Entry {
    pub(in crate::store) fn of(denial: &Denial<'_>) -> Self {
        let denied = match denial.denied {
            Denied::Token(id) => DeniedDigest::TokenOrSession(token(id)),
            Denied::Session(id) => DeniedDigest::TokenOrSession(session(id)),
            Denied::SubjectBefore(end) => DeniedDigest::SubjectBefore(end),
        };
        Self { subject: subject(denial.issuer, denial.subject), denied }
    }
}

fn token(id: &str) -> [u8; 16] {
    digest("token", &[id])
}

fn session(id: &str) -> [u8; 16] {
    digest("session", &[id])
}

fn subject(issuer: Option<&str>, subject: &str) -> [u8; 16] {
    digest("subject", &[issuer.unwrap_or_default(), subject])
}

/// The revoked tokens of one process.
#[expect(missing_debug_implementations, reason = "`MemoryStore` prints no contents")]
#[derive(Default)]
pub struct DeniedTokens {
    /// By what is denied: a token, a session or a subject.
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
    /// True if there is something to remember, or it is remembered already. False if the share is used up. `None` if there
    /// is no room.
    fn insert(&mut self, entry: Entry, expires: u64, capacity: usize, share: usize, now: u64) -> Option<bool> {
        self.entries.sweep(now, |_, old| release(&mut self.shares, old));
        let key = match entry.denied {
            DeniedDigest::TokenOrSession(key) => key,
            DeniedDigest::SubjectBefore(_) => entry.subject,
        };
        if let Some((known, old)) = self.entries.get(key) {
            let mut latest = *old;
            if let (DeniedDigest::SubjectBefore(old), DeniedDigest::SubjectBefore(new)) = (old.denied, entry.denied) {
                latest.denied = DeniedDigest::SubjectBefore(old.max(new));
            }
            self.entries.insert(key, expires.max(known), latest);
            return Some(true);
        }
        if matches!(entry.denied, DeniedDigest::TokenOrSession(_)) {
            let used = self.shares.get(&entry.subject).copied().unwrap_or_default();
            if used >= share {
                return Some(false);
            }
            if self.entries.len() < capacity {
                self.shares.insert(entry.subject, used + 1);
            }
        }
        (self.entries.len() < capacity).then(|| {
            self.entries.insert(key, expires, entry);
            true
        })
    }

    fn is_denied(&self, denied: TokenRef<'_>, now: u64) -> bool {
        let alive = |key| self.entries.alive(key, now);
        let ended = |entry: &Entry| match entry.denied {
            DeniedDigest::SubjectBefore(end) => denied.is_from_before(end),
            DeniedDigest::TokenOrSession(_) => true,
        };
        denied.id.is_some_and(|id| alive(token(id)).is_some())
            || denied.session_id.is_some_and(|id| alive(session(id)).is_some())
            || alive(subject(denied.issuer, denied.subject)).is_some_and(ended)
    }
}

fn release(shares: &mut HashMap<[u8; 16], usize>, old: Entry) {
    if let (DeniedDigest::TokenOrSession(_), Some(used)) = (old.denied, shares.get_mut(&old.subject)) {
        *used = used.saturating_sub(1);
        if *used == 0 {
            shares.remove(&old.subject);
        }
    }
}

impl MemoryStore<DeniedTokens> {
    /// Remembers an entry, of which a subject may have this many.
    pub(in crate::store) fn insert(&self, entry: Entry, ttl: Duration, share: usize) -> Option<bool> {
        self.write(|denied, now| denied.insert(entry, now.saturating_add(nanos(ttl)), self.capacity, share, now))
    }

    /// Whether the subject has used up its share.
    #[cfg(feature = "redis")]
    pub(in crate::store) fn is_full_for(&self, entry: Entry) -> bool {
        let used = self.read(|denied, _| denied.shares.get(&entry.subject).copied());
        matches!(entry.denied, DeniedDigest::TokenOrSession(_)) && used.is_some_and(|used| used >= SHARE)
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
