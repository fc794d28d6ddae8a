//! The families of one process, as plain data: no lock and no clock.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    time::Duration,
};

use crate::store::{Family, Previous, Rotation, SecretHash, Successor};

type Id = [u8; 16];

/// How many lapsed families one insertion drops at most: more than it adds, so that they cannot pile up.
const SWEEP: usize = 4;

struct Record {
    family: Family,
    ends: Duration,
    lapses: Duration,
    rotated_at: Duration,
}

#[derive(Default)]
pub(super) struct FamilyTable {
    records: HashMap<Id, Record>,
    by_lapse: BTreeSet<(Duration, Id)>,
    by_subject: HashMap<String, HashSet<Id>>,
}

impl fmt::Debug for FamilyTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Who knows a family's name can end it.
        f.debug_struct("FamilyTable").field("families", &self.records.len()).finish_non_exhaustive()
    }
}

impl FamilyTable {
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Begins a family, unless there is one of that name; says whether it did.
    pub(super) fn insert(&mut self, id: Id, mut family: Family, capacity: usize, now: Duration) -> bool {
        self.sweep(now);
        if self.alive(id, now).is_some() {
            return false;
        }
        self.remove(id);
        while self.records.len() >= capacity {
            let Some(&(_, soonest)) = self.by_lapse.first() else { break };
            self.remove(soonest);
        }
        family.previous = None;
        let ends = now.saturating_add(family.absolute_ttl);
        let lapses = ends.min(now.saturating_add(family.idle_ttl));
        self.by_lapse.insert((lapses, id));
        self.by_subject.entry(family.subject.clone()).or_default().insert(id);
        self.records.insert(id, Record { family, ends, lapses, rotated_at: now });
        true
    }

    pub(super) fn find(&self, id: Id, now: Duration) -> Option<Family> {
        let record = self.alive(id, now)?;
        let mut family = record.family.clone();
        family.absolute_ttl = record.ends.saturating_sub(now);
        if let Some(previous) = &mut family.previous {
            previous.age = now.saturating_sub(record.rotated_at);
        }
        Some(family)
    }

    pub(super) fn rotate(&mut self, id: Id, presented: SecretHash, successor: Successor, now: Duration) -> Rotation {
        let Some(record) = self.records.get_mut(&id) else { return Rotation::Gone };
        if record.lapses <= now {
            self.remove(id);
            return Rotation::Gone;
        }
        if record.family.current != presented {
            return Rotation::Mismatch;
        }
        record.family.current = successor.secret;
        record.family.previous = Some(Previous::new(presented, successor.sealed, Duration::ZERO));
        record.rotated_at = now;
        let lapses = record.ends.min(now.saturating_add(record.family.idle_ttl));
        self.by_lapse.remove(&(record.lapses, id));
        self.by_lapse.insert((lapses, id));
        record.lapses = lapses;
        Rotation::Rotated
    }

    pub(super) fn remove(&mut self, id: Id) {
        let Some(record) = self.records.remove(&id) else { return };
        self.by_lapse.remove(&(record.lapses, id));
        if let Some(ids) = self.by_subject.get_mut(&record.family.subject) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_subject.remove(&record.family.subject);
            }
        }
    }

    /// Ends all families of a subject; says how many of them were alive.
    pub(super) fn remove_subject(&mut self, subject: &str, now: Duration) -> u64 {
        let mut alive = 0;
        for id in self.by_subject.remove(subject).unwrap_or_default() {
            alive += u64::from(self.alive(id, now).is_some());
            self.remove(id);
        }
        alive
    }

    fn alive(&self, id: Id, now: Duration) -> Option<&Record> {
        self.records.get(&id).filter(|record| record.lapses > now)
    }

    fn sweep(&mut self, now: Duration) {
        for _ in 0..SWEEP {
            match self.by_lapse.first() {
                Some(&(lapses, id)) if lapses <= now => self.remove(id),
                _ => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn family(subject: &str, ttl: Duration) -> Family {
        Family::new(SecretHash([1; 32]), subject, ttl, ttl)
    }

    fn check(table: &FamilyTable) {
        assert_eq!(table.by_lapse.len(), table.records.len());
        assert_eq!(table.by_subject.values().map(HashSet::len).sum::<usize>(), table.records.len());
    }

    #[test]
    fn a_full_table_drops_the_family_that_would_lapse_first() {
        let mut table = FamilyTable::default();
        table.insert([1; 16], family("a", 2 * HOUR), 2, Duration::ZERO);
        table.insert([2; 16], family("a", HOUR), 2, Duration::ZERO);
        table.insert([3; 16], family("b", 3 * HOUR), 2, Duration::ZERO);
        check(&table);
        assert!(table.find([1; 16], Duration::ZERO).is_some());
        assert!(table.find([2; 16], Duration::ZERO).is_none());
        assert!(table.find([3; 16], Duration::ZERO).is_some());
    }

    #[test]
    fn lapsed_families_leave_nothing_behind() {
        let mut table = FamilyTable::default();
        for n in 0..100_u8 {
            table.insert([n; 16], family(&n.to_string(), HOUR), 1_000, Duration::ZERO);
        }
        for n in 100..130_u8 {
            table.insert([n; 16], family("later", HOUR), 1_000, HOUR);
        }
        check(&table);
        assert_eq!(table.len(), 30);
        assert_eq!(table.by_subject.len(), 1);
    }
}
