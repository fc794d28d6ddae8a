//! A table whose entries expire, and can be ranked: plain data, no lock and no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::{ops::RangeInclusive, time::Duration};

/// One insertion looks at no more expired entries than this. It is more than it adds, so they cannot pile up.
pub(super) const SWEEP: usize = 4;

pub(super) type Key = [u8; 16];

/// Entries, the time at which each expires, and the ranks of those that have one.
pub(super) struct Table<V, R = ()> {
    /// A tree: a hash map doubles now and then even if as many entries leave as come.
    entries: BTreeMap<Key, (u64, Option<R>, V)>,
    by_expiry: BTreeSet<(u64, Key)>,
    by_rank: BTreeSet<(R, u64, Key)>,
}

impl<V, R> Default for Table<V, R> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), by_expiry: BTreeSet::new(), by_rank: BTreeSet::new() }
    }
}

impl<V, R: Copy + Ord> Table<V, R> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// When the entry expires, and the entry, expired or not.
    pub(super) fn get(&self, key: Key) -> Option<(u64, &V)> {
        self.entries.get(&key).map(|(expires, _, value)| (*expires, value))
    }

    /// The entry, if it has not expired.
    pub(super) fn alive(&self, key: Key, now: u64) -> Option<&V> {
        self.get(key).filter(|(expires, _)| *expires > now).map(|(_, value)| value)
    }

    pub(super) fn insert(&mut self, key: Key, expires: u64, rank: Option<R>, value: V) {
        self.remove(key);
        self.by_expiry.insert((expires, key));
        self.by_rank.extend(rank.map(|rank| (rank, expires, key)));
        self.entries.insert(key, (expires, rank, value));
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<V> {
        let (expires, rank, value) = self.entries.remove(&key)?;
        self.by_expiry.remove(&(expires, key));
        rank.map(|rank| self.by_rank.remove(&(rank, expires, key)));
        Some(value)
    }

    /// The entry that expires first, if it has by then.
    pub(super) fn first_expired(&self, by: u64) -> Option<Key> {
        self.by_expiry.first().filter(|(expires, _)| *expires <= by).map(|(_, key)| *key)
    }

    /// The entry of the lowest rank, and of that rank the one that expires first.
    pub(super) fn first_ranked(&self) -> Option<Key> {
        self.by_rank.first().map(|(.., key)| *key)
    }

    /// The entries of these ranks that have not expired, the lowest first.
    pub(super) fn ranked(&self, ranks: RangeInclusive<R>, now: u64) -> impl DoubleEndedIterator<Item = Key> {
        let all = (*ranks.start(), 0, [0; 16])..=(*ranks.end(), u64::MAX, [255; 16]);
        self.by_rank.range(all).filter(move |(_, expires, _)| *expires > now).map(|(.., key)| *key)
    }

    /// Removes some expired entries.
    pub(super) fn sweep(&mut self, now: u64) {
        for _ in 0..SWEEP {
            self.first_expired(now).and_then(|key| self.remove(key));
        }
    }
}

/// As tables have times: nanoseconds fit 64 bits for 584 years, in half the memory of a `Duration`.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
impl<V, R: Copy + Ord> Table<V, R> {
    pub(super) fn is_consistent(&self) -> bool {
        let by_expiry = self.entries.iter().map(|(key, (expires, ..))| (*expires, *key)).collect();
        let by_rank = self.entries.iter().filter_map(|(key, (expires, rank, _))| Some(((*rank)?, *expires, *key)));
        (&self.by_expiry, &self.by_rank) == (&by_expiry, &by_rank.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Key = [1; 16];
    const B: Key = [2; 16];

    #[test]
    fn an_entry_lives_until_it_expires_and_is_then_swept() {
        let mut table = Table::<_>::default();
        table.insert(A, 10, None, 1);
        table.insert(B, 20, None, 2);
        table.insert(A, 15, None, 3);
        assert!(table.is_consistent());
        assert_eq!((table.alive(A, 14), table.alive(A, 15)), (Some(&3), None));
        assert_eq!((table.first_expired(14), table.first_expired(15)), (None, Some(A)));
        table.insert(A, 30, None, 3);
        assert_eq!((table.first_expired(u64::MAX), table.get(A)), (Some(B), Some((30, &3))));
        table.sweep(20);
        assert_eq!((table.len(), table.get(A)), (1, Some((30, &3))));
        table.sweep(30);
        assert_eq!(table.len(), 0);
        assert!(table.is_consistent());
    }

    #[test]
    fn ranked_entries_are_found_by_rank_until_they_expire() {
        let mut table = Table::default();
        for (n, rank) in [(1, Some(7)), (2, Some(8)), (3, Some(7)), (4, None), (5, Some(9))] {
            table.insert([n; 16], u64::from(n), rank, ());
        }
        let ranked = |table: &Table<_, _>, ranks, now| table.ranked(ranks, now).map(|key| key[0]).collect::<Vec<_>>();
        assert_eq!(ranked(&table, 7..=8, 0), [1, 3, 2]);
        assert_eq!(ranked(&table, 7..=8, 1), [3, 2]);
        assert_eq!(table.first_ranked(), Some([1; 16]));
        table.insert([1; 16], 9, Some(10), ());
        table.remove([3; 16]);
        assert_eq!((ranked(&table, 0..=99, 0), table.first_ranked()), (vec![2, 5, 1], Some([2; 16])));
        assert!(table.is_consistent());
    }

    #[test]
    fn one_sweep_removes_a_few_entries_only() {
        let mut table = Table::<_>::default();
        (0..10).for_each(|n| table.insert([n; 16], 1, None, n));
        table.sweep(1);
        assert_eq!(table.len(), 10 - SWEEP);
    }
}
