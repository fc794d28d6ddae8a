//! Revoked access tokens in memory.

use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::{
    clock::nanos,
    store::{Contents, MemoryStore},
    table::Table,
};
use crate::store::{DenyList, StoreFuture, in_time};

/// The digest of a `jti`. It has one size, however long the `jti` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) struct TokenDigest(pub(in crate::store) [u8; 16]);

impl TokenDigest {
    pub(in crate::store) fn of(token_id: &str) -> Self {
        let mut digest = [0; 16];
        digest.iter_mut().zip(Sha256::digest(token_id)).for_each(|(to, from)| *to = from);
        Self(digest)
    }
}

/// The revoked tokens of one process.
#[expect(missing_debug_implementations, reason = "`MemoryStore` prints no contents")]
#[derive(Default)]
pub struct DeniedTokens(Table<TokenDigest, ()>);

impl Contents for DeniedTokens {
    const CAPACITY: usize = 200_000;

    fn len(&self) -> usize {
        self.0.len()
    }
}

impl MemoryStore<DeniedTokens> {
    /// Remembers a token. False if there is no room.
    pub(in crate::store) fn insert(&self, token: TokenDigest, ttl: Duration) -> bool {
        self.write(|denied, now| {
            denied.0.sweep(now, |_, ()| ());
            let expires = now.saturating_add(nanos(ttl));
            match denied.0.get(token) {
                Some((known, ())) => denied.0.set_expiry(token, expires.max(known)),
                None if denied.0.len() >= self.capacity => return false,
                None => denied.0.insert(token, expires, ()),
            }
            true
        })
    }
}

impl DenyList for MemoryStore<DeniedTokens> {
    fn deny<'a>(&'a self, token_id: &'a str, ttl: Duration, deadline: Instant) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            in_time(deadline)?;
            let inserted = self.insert(TokenDigest::of(token_id), ttl);
            if inserted { Ok(()) } else { Err("the deny list is full: raise it with `with_capacity`".into()) }
        })
    }

    fn is_denied(&self, token_id: &str) -> bool {
        !self.is_empty() && {
            let token = TokenDigest::of(token_id);
            self.read(|denied, now| denied.0.alive(token, now).is_some())
        }
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

    #[test]
    fn a_list_counts_its_tokens_and_has_room_for_at_least_one() {
        let list = MemoryDenyList::default().with_capacity(0);
        assert!(list.is_empty());
        assert!(list.insert(TokenDigest::of("a"), MINUTE));
        assert!(!list.insert(TokenDigest::of("b"), MINUTE));
        assert_eq!((list.len(), list.is_empty()), (1, false));
    }

    #[test]
    fn a_full_list_refuses_and_keeps_its_tokens() {
        let (list, now) = with_clock();
        let list = list.with_capacity(2);
        let [a, b, c] = ["a", "b", "c"].map(TokenDigest::of);
        assert!(list.insert(a, MINUTE) && list.insert(b, MINUTE * 2));
        assert!(!list.insert(c, MINUTE));
        assert!(list.insert(a, MINUTE), "a known token needs no room");
        assert!(list.is_denied("a") && list.is_denied("b") && !list.is_denied("c"));
        assert!(list.insert(b, MINUTE) && list.insert(a, MINUTE), "an earlier end changes nothing");
        now.store(59, Ordering::Relaxed);
        assert!(list.is_denied("a"));
        now.store(60, Ordering::Relaxed);
        assert!(!list.is_denied("a") && list.is_denied("b"));
        assert!(list.insert(c, MINUTE));
        assert_eq!(list.len(), 2);
    }

    #[test]
    fn a_later_end_replaces_an_earlier_one() {
        let (list, now) = with_clock();
        for seconds in [60, 120] {
            assert!(list.insert(TokenDigest::of("a"), Duration::from_secs(seconds)));
        }
        now.store(119, Ordering::Relaxed);
        assert!(list.is_denied("a"));
        now.store(120, Ordering::Relaxed);
        assert!(!list.is_denied("a"));
    }

    #[tokio::test]
    async fn an_arc_of_a_list_is_the_list() {
        let list = Arc::new(MemoryDenyList::new());
        DenyList::deny(&list, "a", MINUTE, Instant::now() + MINUTE).await.unwrap();
        assert!(DenyList::is_denied(&list, "a") && !DenyList::is_denied(&list, "b"));
    }
}
