//! A table whose entries expire: plain data, no lock and no clock.

use std::collections::{BTreeMap, BTreeSet};

/// One insertion looks at no more expired entries than this. It is more than it adds, so they cannot pile up.
const SWEEP: usize = 4;

/// Entries and the time at which each expires, in nanoseconds.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    /// A tree: a hash map doubles now and then even if as many entries leave as come.
    entries: BTreeMap<K, (u64, V)>,
    by_expiry: BTreeSet<(u64, K)>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), by_expiry: BTreeSet::new() }
    }
}

impl<K: Copy + Ord, V> Table<K, V> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// When the entry expires, and the entry, expired or not.
    pub(super) fn get(&self, key: K) -> Option<(u64, &V)> {
        self.entries.get(&key).map(|(expires, value)| (*expires, value))
    }

    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        self.entries.get_mut(&key).map(|(_, value)| value)
    }

    /// The entry, if it has not expired.
    pub(super) fn alive(&self, key: K, now: u64) -> Option<&V> {
        self.get(key).filter(|(expires, _)| *expires > now).map(|(_, value)| value)
    }

    pub(super) fn insert(&mut self, key: K, expires: u64, value: V) {
        self.remove(key);
        self.by_expiry.insert((expires, key));
        self.entries.insert(key, (expires, value));
    }

    pub(super) fn remove(&mut self, key: K) -> Option<V> {
        let (expires, value) = self.entries.remove(&key)?;
        self.by_expiry.remove(&(expires, key));
        Some(value)
    }

    /// Sets when the entry expires.
    pub(super) fn set_expiry(&mut self, key: K, expires: u64) {
        let Some((before, _)) = self.entries.get_mut(&key) else { return };
        if *before != expires {
            self.by_expiry.remove(&(*before, key));
            self.by_expiry.insert((expires, key));
            *before = expires;
        }
    }

    /// The entry that expires first.
    pub(super) fn first(&self) -> Option<K> {
        self.by_expiry.first().map(|(_, key)| *key)
    }

    /// The entry that expired first, if one has.
    pub(super) fn first_expired(&self, now: u64) -> Option<K> {
        self.by_expiry.first().filter(|(expires, _)| *expires <= now).map(|(_, key)| *key)
    }

    /// Removes some expired entries and passes them to `removed`.
    pub(super) fn sweep(&mut self, now: u64, mut removed: impl FnMut(K, V)) {
        for _ in 0..SWEEP {
            let Some(key) = self.first_expired(now) else { return };
            if let Some(value) = self.remove(key) {
                removed(key, value);
            }
        }
    }
}

#[cfg(test)]
impl<K: Copy + Ord, V> Table<K, V> {
    pub(super) fn is_consistent(&self) -> bool {
        let known = |(expires, key): &(u64, K)| self.entries.get(key).is_some_and(|(own, _)| own == expires);
        self.by_expiry.len() == self.entries.len() && self.by_expiry.iter().all(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_lives_until_it_expires_and_is_then_swept() {
        let mut table = Table::default();
        table.insert("a", 10, 1);
        table.insert("b", 20, 2);
        table.insert("a", 15, 3);
        assert!(table.is_consistent());
        assert_eq!((table.alive("a", 14), table.alive("a", 15)), (Some(&3), None));
        assert_eq!((table.first(), table.first_expired(14), table.first_expired(15)), (Some("a"), None, Some("a")));
        table.set_expiry("a", 30);
        assert_eq!((table.first(), table.get("a")), (Some("b"), Some((30, &3))));
        let mut swept = Vec::new();
        table.sweep(30, |key, value| swept.push((key, value)));
        assert_eq!((swept, table.len()), (vec![("b", 2), ("a", 3)], 0));
        assert!(table.is_consistent());
    }

    #[test]
    fn one_sweep_removes_a_few_entries_only() {
        let mut table = Table::default();
        (0..10).for_each(|n| table.insert(n, 1, n));
        table.sweep(1, |_, _| ());
        assert_eq!(table.len(), 10 - SWEEP);
    }
}
