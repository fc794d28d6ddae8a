//! Refresh token families in memory.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::store::{Contents, MemoryStore};
use super::{clock::nanos, table::Table};
use crate::error::BoxError;
use crate::store::refresh::{
    END_KEPT, Family, FamilyId, Previous, RefreshStore, Rotation, SecretHash, SubjectRef, Successor,
};
use crate::store::{StoreFuture, in_time};

/// A digest of a server and one of its subjects.
type Subject = [u8; 16];

/// The families of one process.
#[expect(missing_debug_implementations, reason = "`MemoryStore` prints no contents")]
#[derive(Default)]
pub struct Families {
    table: Table<FamilyId, Record>,
    /// The oldest first.
    by_subject: HashMap<Subject, BTreeSet<(u64, FamilyId)>>,
    /// When all sessions of a subject were ended, for as long as a login may take.
    ended: Table<Subject, u64>,
}

struct Record {
    family: Family,
    subject: Subject,
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
        self.ended.sweep(now, |_, _| ());
        self.table.sweep(now, |id, record| forget(&mut self.by_subject, id, &record));
        if self.table.alive(id, now).is_some() {
            return Err("a family with this id exists".into());
        }
        let created = now.saturating_sub(nanos(family.age));
        let subject = SubjectRef::new(&family.server, &family.subject).key();
        if self.ended.alive(subject, now).is_some_and(|ended| created < *ended) {
            return Ok(false);
        }
        self.remove(id);
        let own = self.by_subject.get(&subject).cloned().unwrap_or_default();
        if own.len() >= limit {
            let (alive, over): (Vec<_>, Vec<_>) =
                own.into_iter().partition(|(_, id)| self.table.alive(*id, now).is_some());
            let oldest = alive.len().saturating_sub(limit.saturating_sub(1));
            over.iter().chain(alive.iter().take(oldest)).for_each(|(_, id)| self.remove(*id));
        }
        while self.table.len() >= capacity
            && let Some(soonest) = self.table.first()
        {
            self.remove(soonest);
        }
        family.previous = None;
        self.by_subject.entry(subject).or_default().insert((created, id));
        let ends = now.saturating_add(nanos(family.absolute_ttl));
        let record = Record { subject, created, ends, rotated_at: now, family };
        self.table.insert(id, record.expiry(), record);
        Ok(true)
    }

    fn find(&self, id: FamilyId, now: u64) -> Option<Family> {
        let record = self.table.alive(id, now)?;
        let mut family = record.family.clone();
        let since = |time: u64| Duration::from_nanos(now.saturating_sub(time));
        family.absolute_ttl = Duration::from_nanos(record.ends.saturating_sub(now));
        (family.age, family.unused_for) = (since(record.created), since(record.rotated_at));
        Some(family)
    }

    fn rotate(&mut self, id: FamilyId, presented: SecretHash, successor: Successor, now: u64) -> Rotation {
        if self.table.alive(id, now).is_none() {
            self.remove(id);
            return Rotation::Gone;
        }
        let Some(record) = self.table.get_mut(id) else { return Rotation::Gone };
        if record.family.current != presented {
            return Rotation::Mismatch;
        }
        record.family.current = successor.secret;
        record.family.previous = Some(Previous::new(presented, successor.sealed));
        record.rotated_at = now;
        let expiry = record.expiry();
        self.table.set_expiry(id, expiry);
        Rotation::Rotated
    }

    fn remove(&mut self, id: FamilyId) {
        if let Some(record) = self.table.remove(id) {
            forget(&mut self.by_subject, id, &record);
        }
    }

    /// Ends all families of a subject but one, and returns how many were alive.
    fn remove_subject(&mut self, subject: Subject, except: Option<FamilyId>, now: u64) -> u64 {
        self.ended.insert(subject, now.saturating_add(nanos(END_KEPT)), now);
        let mut families = self.by_subject.get(&subject).cloned().unwrap_or_default();
        families.retain(|(_, id)| Some(*id) != except);
        let alive = families.iter().filter(|(_, id)| self.table.alive(*id, now).is_some()).count();
        families.into_iter().for_each(|(_, id)| self.remove(id));
        alive as u64
    }

    fn list(&self, subject: Subject, now: u64) -> Vec<(FamilyId, Family)> {
        let families = self.by_subject.get(&subject).into_iter().flatten().rev();
        families.filter_map(|(_, id)| Some((*id, self.find(*id, now)?))).collect()
    }
}

fn forget(by_subject: &mut HashMap<Subject, BTreeSet<(u64, FamilyId)>>, id: FamilyId, record: &Record) {
    if let Some(families) = by_subject.get_mut(&record.subject) {
        families.remove(&(record.created, id));
        if families.is_empty() {
            by_subject.remove(&record.subject);
        }
    }
}

impl RefreshStore for MemoryStore<Families> {
    fn insert(&self, id: FamilyId, family: Family, limit: usize, deadline: Instant) -> StoreFuture<'_, bool> {
        self.answer(deadline, move |families, now| families.insert(id, family, limit, self.capacity, now))
    }

    fn find(&self, id: FamilyId, deadline: Instant) -> StoreFuture<'_, Option<Family>> {
        Box::pin(async move { in_time(deadline).map(|()| self.read(|families, now| families.find(id, now))) })
    }

    fn rotate(&self, id: FamilyId, old: SecretHash, new: Successor, deadline: Instant) -> StoreFuture<'_, Rotation> {
        self.answer(deadline, move |families, now| Ok(families.rotate(id, old, new, now)))
    }

    fn revoke(&self, id: FamilyId, deadline: Instant) -> StoreFuture<'_, ()> {
        self.answer(deadline, move |families, _| {
            families.remove(id);
            Ok(())
        })
    }

    fn revoke_subject<'a>(&'a self, subject: SubjectRef<'a>, except: Option<FamilyId>) -> StoreFuture<'a, u64> {
        Box::pin(async move { Ok(self.write(|families, now| families.remove_subject(subject.key(), except, now))) })
    }

    fn list<'a>(&'a self, subject: SubjectRef<'a>, deadline: Instant) -> StoreFuture<'a, Vec<(FamilyId, Family)>> {
        Box::pin(
            async move { in_time(deadline).map(|()| self.read(|families, now| families.list(subject.key(), now))) },
        )
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
        assert_eq!(families.by_subject.values().map(BTreeSet::len).sum::<usize>(), families.table.len());
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
        for n in 100..140_u8 {
            insert(&mut families, n, family("later", HOUR), 1_000, HOUR);
        }
        assert_eq!((families.len(), families.by_subject.len()), (40, 1));
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
