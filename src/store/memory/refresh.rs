//! Refresh token families in memory.

use std::time::{Duration, Instant};

use super::store::{Contents, MemoryStore};
use super::table::{Key, Table, nanos};
use crate::store::refresh::{END_KEPT, Family, FamilyId, Previous, RefreshStore, Rotation, SecretHash, SubjectRef};
use crate::{error::BoxError, store::StoreFuture};

/// The families of one process.
#[derive(Default)]
pub struct Families {
    /// Ranked by the digest of the server and the subject, and by age: the oldest first.
    table: Table<Record, (Key, u64)>,
    /// When all sessions of a subject were ended, for as long as a login may take.
    ended: Table<u64>,
}

struct Record {
    family: Family,
    subject: Key,
    created: u64,
    ends: u64,
    rotated_at: u64,
}

impl Record {
    fn expiry(&self) -> u64 {
        self.ends.min(self.rotated_at.saturating_add(nanos(self.family.idle_ttl)))
    }
}

impl Contents for Families {
    const CAPACITY: usize = 100_000;

    fn len(&self) -> usize {
        self.table.len()
    }
}

impl Families {
    /// Begins a family. False if the subject was ended since `created`.
    fn insert(
        &mut self,
        id: FamilyId,
        mut family: Family,
        limit: usize,
        capacity: usize,
        now: u64,
    ) -> Result<bool, BoxError> {
        self.ended.sweep(now);
        self.table.sweep(now);
        if self.table.alive(id.0, now).is_some() {
            return Err("a family with this id exists".into());
        }
        let created = now.saturating_sub(nanos(family.age));
        let subject = SubjectRef::new(&family.session.server, &family.session.subject).key();
        if self.ended.alive(subject, now).is_some_and(|ended| created < *ended) {
            return Ok(false);
        }
        let own: Vec<_> = self.of(subject, now).collect();
        let over = (own.len() + 1).saturating_sub(limit);
        own.into_iter().take(over).for_each(|oldest| drop(self.table.remove(oldest)));
        while self.table.len() >= capacity
            && let Some(soonest) = self.table.first_expired(u64::MAX)
        {
            self.table.remove(soonest);
        }
        family.previous = None;
        let ends = now.saturating_add(nanos(family.absolute_ttl));
        self.keep(id, Record { subject, created, ends, rotated_at: now, family });
        Ok(true)
    }

    fn keep(&mut self, id: FamilyId, record: Record) {
        self.table.insert(id.0, record.expiry(), Some((record.subject, record.created)), record);
    }

    /// The families of a subject, the oldest first.
    fn of(&self, subject: Key, now: u64) -> impl DoubleEndedIterator<Item = Key> {
        self.table.ranked((subject, 0)..=(subject, u64::MAX), now)
    }

    fn find(&self, id: FamilyId, now: u64) -> Option<Family> {
        let record = self.table.alive(id.0, now)?;
        let mut family = record.family.clone();
        let since = |time: u64| Duration::from_nanos(now.saturating_sub(time));
        family.absolute_ttl = Duration::from_nanos(record.ends.saturating_sub(now));
        (family.age, family.unused_for) = (since(record.created), since(record.rotated_at));
        Some(family)
    }

    fn rotate(&mut self, id: FamilyId, old: Previous, new: SecretHash, now: u64) -> Rotation {
        if self.table.alive(id.0, now).is_some_and(|record| record.family.current != old.secret) {
            return Rotation::Mismatch;
        }
        let Some(mut record) = self.table.remove(id.0).filter(|record| record.expiry() > now) else {
            return Rotation::Gone;
        };
        (record.family.current, record.family.previous) = (new, Some(old));
        record.rotated_at = now;
        self.keep(id, record);
        Rotation::Rotated
    }

    /// Ends all families of a subject but one, and returns how many were alive.
    fn remove_subject(&mut self, subject: Key, except: Option<FamilyId>, now: u64) -> u64 {
        self.ended.insert(subject, now.saturating_add(nanos(END_KEPT)), None, now);
        let own: Vec<_> = self.of(subject, now).filter(|id| except != Some(FamilyId(*id))).collect();
        own.into_iter().filter_map(|id| self.table.remove(id)).count() as u64
    }

    fn list(&self, subject: Key, now: u64) -> Vec<(FamilyId, Family)> {
        self.of(subject, now).rev().map(FamilyId).filter_map(|id| Some((id, self.find(id, now)?))).collect()
    }
}

impl RefreshStore for MemoryStore<Families> {
    fn insert(&self, id: FamilyId, family: Family, limit: usize, deadline: Instant) -> StoreFuture<'_, bool> {
        self.answer(deadline, move |families, now| families.insert(id, family, limit, self.capacity, now))
    }

    fn find(&self, id: FamilyId, deadline: Instant) -> StoreFuture<'_, Option<Family>> {
        self.answer(deadline, move |families, now| Ok(families.find(id, now)))
    }

    fn rotate(&self, id: FamilyId, old: Previous, new: SecretHash, deadline: Instant) -> StoreFuture<'_, Rotation> {
        self.answer(deadline, move |families, now| Ok(families.rotate(id, old, new, now)))
    }

    fn revoke(&self, id: FamilyId, deadline: Instant) -> StoreFuture<'_, ()> {
        self.answer(deadline, move |families, _| {
            families.table.remove(id.0);
            Ok(())
        })
    }

    fn revoke_subject<'a>(&'a self, subject: SubjectRef<'a>, except: Option<FamilyId>) -> StoreFuture<'a, u64> {
        Box::pin(async move { Ok(self.write(|families, now| families.remove_subject(subject.key(), except, now))) })
    }

    fn list<'a>(&'a self, subject: SubjectRef<'a>, deadline: Instant) -> StoreFuture<'a, Vec<(FamilyId, Family)>> {
        self.answer(deadline, move |families, now| Ok(families.list(subject.key(), now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryRefreshStore;

    const HOUR: Duration = Duration::from_secs(3_600);
    const SECOND: Duration = Duration::from_secs(1);

    fn family(subject: &str, ttl: Duration) -> Family {
        Family::new(SecretHash([1; 32]), subject, ttl, ttl)
    }

    fn insert(families: &mut Families, id: u8, family: Family, capacity: usize, now: Duration) {
        assert!(families.insert(FamilyId([id; 16]), family, 100, capacity, nanos(now)).unwrap());
        assert!(families.table.is_consistent());
    }

    #[test]
    fn a_full_store_drops_the_family_that_would_expire_first() {
        let mut families = Families::default();
        insert(&mut families, 1, family("a", 2 * HOUR), 2, Duration::ZERO);
        insert(&mut families, 2, family("a", HOUR), 2, Duration::ZERO);
        insert(&mut families, 3, family("b", 3 * HOUR), 2, Duration::ZERO);
        let found = [1, 2, 3].map(|id| families.find(FamilyId([id; 16]), 0).is_some());
        assert_eq!(found, [true, false, true]);
    }

    #[test]
    fn expired_families_leave_nothing_behind() {
        let mut families = Families::default();
        for n in 0..100_u8 {
            insert(&mut families, n, family(&n.to_string(), HOUR), 1_000, Duration::ZERO);
        }
        let old = Previous::new(SecretHash([1; 32]), Vec::new());
        assert_eq!(families.rotate(FamilyId([7; 16]), old, SecretHash([2; 32]), nanos(HOUR)), Rotation::Gone);
        for n in 100..140_u8 {
            insert(&mut families, n, family("later", HOUR), 1_000, HOUR);
        }
        assert_eq!(families.len(), 40);
    }

    #[test]
    fn the_end_of_a_subject_is_forgotten_once_no_login_can_be_in_progress() {
        let mut families = Families::default();
        let key = SubjectRef::new("", "alice").key();
        let login = |families: &mut Families, age: Duration, now: Duration| {
            let mut family = family("alice", HOUR);
            family.age = age;
            families.insert(FamilyId([nanos(now) as u8; 16]), family, 100, 1_000, nanos(now)).unwrap()
        };
        families.remove_subject(key, None, nanos(HOUR));
        assert!(!login(&mut families, END_KEPT, HOUR + END_KEPT - SECOND), "it was verified before");
        assert!(login(&mut families, Duration::ZERO, HOUR + SECOND));
        insert(&mut families, 7, family("bob", HOUR), 1_000, HOUR + END_KEPT);
        assert_eq!(families.ended.len(), 0);
    }

    #[tokio::test]
    async fn a_store_counts_its_families_and_keeps_its_capacity() {
        let store = MemoryRefreshStore::new().with_capacity(2);
        assert_eq!((store.len(), store.is_empty()), (0, true));
        for (n, kept) in [(1, 1), (2, 2), (3, 2)] {
            assert!(store.insert(FamilyId([n; 16]), family("alice", HOUR), 9, Instant::now() + HOUR).await.unwrap());
            assert_eq!((store.len(), store.is_empty()), (kept, false));
        }
        let printed = format!("{store:?}");
        assert!(printed.contains("len: 2") && printed.contains("capacity: 2"), "{printed}");
    }
}
