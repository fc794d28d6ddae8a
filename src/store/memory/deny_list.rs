//! Revoked access tokens in memory.

use std::time::{Duration, Instant, SystemTime};

use super::store::{Contents, MemoryStore};
use super::table::{Key, Table, nanos};
use crate::secret::digest;
use crate::store::deny_list::{Denial, Denied, DenyList, SHARE, TokenRef};
use crate::store::{StoreFuture, in_time};

/// One entry of a deny list, in which no name or id can be read, and all have one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Entry {
    /// The digest of what is denied: a token, a session or a subject.
    pub(in crate::store) key: Key,
    /// The digest of an issuer and its subject.
    pub(in crate::store) subject: Key,
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

fn subject_digest(issuer: Option<&str>, subject: &str) -> Key {
    digest("subject", &[issuer.unwrap_or_default(), subject])
}

/// The revoked tokens of one process: `before` of each entry by its `key`. Tokens and sessions rank by their subject.
#[derive(Default)]
pub struct DeniedTokens(Table<Option<SystemTime>, Key>);

impl Contents for DeniedTokens {
    const CAPACITY: usize = 200_000;

    fn len(&self) -> usize {
        self.0.len()
    }
}

impl DeniedTokens {
    /// False if the share is used up, and `None` if there is no room.
    fn insert(&mut self, entry: Entry, ttl: Duration, limits: (usize, Option<usize>), now: u64) -> Option<bool> {
        let ((capacity, share), mut before) = (limits, entry.before);
        let mut expires = now.saturating_add(nanos(ttl));
        self.0.sweep(now);
        if let Some((known, old)) = self.0.get(entry.key) {
            (before, expires) = (before.max(*old), expires.max(known));
        } else if self.0.len() >= capacity {
            return None;
        } else if share.is_some_and(|share| self.exceeds(entry, share, now)) {
            return Some(false);
        }
        self.0.insert(entry.key, expires, before.is_none().then_some(entry.subject), before);
        Some(true)
    }

    /// Whether this entry would be one more than the share of its subject.
    fn exceeds(&self, entry: Entry, share: usize, now: u64) -> bool {
        let is_new = entry.before.is_none() && self.0.get(entry.key).is_none();
        is_new && self.0.ranked(entry.subject..=entry.subject, now).take(share).count() == share
    }

    fn is_denied(&self, token: TokenRef<'_>, now: u64) -> bool {
        let named = |kind, id: Option<&str>| id.is_some_and(|id| self.0.alive(digest(kind, &[id]), now).is_some());
        let before = || *self.0.alive(subject_digest(token.issuer, token.subject), now)?;
        named("token", token.id)
            || named("session", token.session_id)
            || before().is_some_and(|end| token.is_from_before(end))
    }
}

impl MemoryStore<DeniedTokens> {
    /// Remembers an entry. `share` is how many tokens and sessions a subject may have.
    pub(in crate::store) fn insert(&self, entry: Entry, ttl: Duration, share: Option<usize>) -> Option<bool> {
        self.write(|denied, now| denied.insert(entry, ttl, (self.capacity, share), now))
    }

    /// Whether this entry would be one more than the share of its subject.
    #[cfg(feature = "redis")]
    pub(in crate::store) fn is_full_for(&self, entry: Entry) -> bool {
        self.read(|denied, now| denied.exceeds(entry, SHARE, now))
    }
}

impl DenyList for MemoryStore<DeniedTokens> {
    fn deny<'a>(&'a self, denial: Denial<'a>, deadline: Instant) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            in_time(deadline)?;
            let inserted = self.insert(Entry::of(&denial), denial.ttl, Some(SHARE));
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
        list.insert(Entry::of(&Denial::new(Denied::Token(id), None, id, ttl)), ttl, Some(SHARE))
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
        let insert = |id| list.insert(entry(id), MINUTE, Some(2));
        assert_eq!(["a", "b", "c", "a"].map(insert), [Some(true), Some(true), Some(false), Some(true)]);
        now.store(60, Ordering::Relaxed);
        assert_eq!(["c", "d", "e"].map(insert), [Some(true), Some(true), Some(false)]);
        assert!(list.len() == 2 && list.read(|denied, _| denied.0.is_consistent()));
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
