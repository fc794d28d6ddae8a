//! Refresh token families in memory.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use super::{
    clock::nanos,
    store::{Contents, MemoryStore},
    table::Table,
};
use crate::store::{
    StoreFuture, in_time,
    refresh::{Family, FamilyId, Previous, RefreshStore, Rotation, SecretHash, Successor},
};

/// The families of one process.
#[expect(missing_debug_implementations, reason = "`MemoryStore` prints no contents")]
#[derive(Default)]
pub struct Families {
    table: Table<FamilyId, Record>,
    by_subject: HashMap<String, HashSet<FamilyId>>,
}

struct Record {
    family: Family,
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
    /// Begins a family. False if the id is in use.
    fn insert(&mut self, id: FamilyId, mut family: Family, capacity: usize, now: u64) -> bool {
        self.table.sweep(now, |id, record| forget(&mut self.by_subject, id, &record.family.subject));
        if self.table.alive(id, now).is_some() {
            return false;
        }
        self.remove(id);
        while self.table.len() >= capacity
            && let Some(soonest) = self.table.first()
        {
            self.remove(soonest);
        }
        family.previous = None;
        self.by_subject.entry(family.subject.clone()).or_default().insert(id);
        let record = Record { ends: now.saturating_add(nanos(family.absolute_ttl)), rotated_at: now, family };
        self.table.insert(id, record.expiry(), record);
        true
    }

    fn find(&self, id: FamilyId, now: u64) -> Option<Family> {
        let record = self.table.alive(id, now)?;
        let mut family = record.family.clone();
        family.absolute_ttl = Duration::from_nanos(record.ends.saturating_sub(now));
        if let Some(previous) = &mut family.previous {
            previous.age = Duration::from_nanos(now.saturating_sub(record.rotated_at));
        }
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
        record.family.previous = Some(Previous::new(presented, successor.sealed, Duration::ZERO));
        record.rotated_at = now;
        let expiry = record.expiry();
        self.table.set_expiry(id, expiry);
        Rotation::Rotated
    }

    fn remove(&mut self, id: FamilyId) {
        if let Some(record) = self.table.remove(id) {
            forget(&mut self.by_subject, id, &record.family.subject);
        }
    }

    /// Ends all families of a subject, and returns how many were alive.
    fn remove_subject(&mut self, subject: &str, now: u64) -> u64 {
        let ids = self.by_subject.remove(subject).unwrap_or_default();
        let alive = ids.iter().filter(|id| self.table.alive(**id, now).is_some()).count();
        for id in ids {
            self.table.remove(id);
        }
        alive as u64
    }
}

fn forget(by_subject: &mut HashMap<String, HashSet<FamilyId>>, id: FamilyId, subject: &str) {
    if let Some(ids) = by_subject.get_mut(subject) {
        ids.remove(&id);
        if ids.is_empty() {
            by_subject.remove(subject);
        }
    }
}

impl RefreshStore for MemoryStore<Families> {
    fn insert(&self, id: FamilyId, family: Family, deadline: Instant) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            in_time(deadline)?;
            let inserted = self.write(|families, now| families.insert(id, family, self.capacity, now));
            if inserted { Ok(()) } else { Err("a family with this id exists".into()) }
        })
    }

    fn find(&self, id: FamilyId, deadline: Instant) -> StoreFuture<'_, Option<Family>> {
        Box::pin(async move {
            in_time(deadline)?;
            Ok(self.read(|families, now| families.find(id, now)))
        })
    }

    fn rotate(
        &self,
        id: FamilyId,
        presented: SecretHash,
        successor: Successor,
        deadline: Instant,
    ) -> StoreFuture<'_, Rotation> {
        Box::pin(async move {
            in_time(deadline)?;
            Ok(self.write(|families, now| families.rotate(id, presented, successor, now)))
        })
    }

    fn revoke(&self, id: FamilyId, deadline: Instant) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            in_time(deadline)?;
            self.write(|families, _| families.remove(id));
            Ok(())
        })
    }

    fn revoke_subject<'a>(&'a self, subject: &'a str) -> StoreFuture<'a, u64> {
        Box::pin(async move { Ok(self.write(|families, now| families.remove_subject(subject, now))) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryRefreshStore;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn family(subject: &str, ttl: Duration) -> Family {
        Family::new(SecretHash([1; 32]), subject, ttl, ttl)
    }

    fn insert(families: &mut Families, id: u8, family: Family, capacity: usize, now: Duration) {
        assert!(families.insert(FamilyId([id; 16]), family, capacity, nanos(now)));
        assert!(families.table.is_consistent());
        assert_eq!(families.by_subject.values().map(HashSet::len).sum::<usize>(), families.table.len());
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

    #[tokio::test]
    async fn a_store_counts_its_families_and_keeps_its_capacity() {
        let store = MemoryRefreshStore::new().with_capacity(2);
        assert_eq!((store.len(), store.is_empty()), (0, true));
        for (n, kept) in [(1, 1), (2, 2), (3, 2)] {
            store.insert(FamilyId([n; 16]), family("alice", HOUR), Instant::now() + HOUR).await.unwrap();
            assert_eq!((store.len(), store.is_empty()), (kept, false));
        }
        let printed = format!("{store:?}");
        assert!(printed.contains("len: 2") && printed.contains("capacity: 2"), "{printed}");
    }
}
