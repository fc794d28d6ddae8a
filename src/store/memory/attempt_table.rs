//! The failed attempts of one process, as plain data: no lock and no clock. Times are nanoseconds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use super::clock::nanos;
use crate::store::{AttemptLimit, Reservation, ReservationId, attempts::RESERVATION_LEASE};

type Key = [u8; 16];

/// How many lapsed entries one new key looks at, at most: more than it adds, so that they cannot pile up.
const SWEEP: usize = 8;

/// How many it looks at where the table is full, so that it goes once through the levels of all usual limits before
/// something that lives is dropped.
const FULL_SWEEP: usize = 256;

/// The level of an entry at its limit, above all others: such an entry is never dropped to make room.
const AT_LIMIT: u32 = u32::MAX;

/// The order in which entries are dropped to make room: those with the fewest places taken first, among them the one
/// that would lapse first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    level: u32,
    /// When the entry is to be looked at again: it lapses then or, at its limit, falls below it.
    changes: u64,
    key: Key,
}

struct Entry {
    /// When each failure stops counting, in order.
    failures: Vec<u64>,
    /// The places under check, and when each is given back by itself. No longer than it must be: few are under check at
    /// once, and the room would be held for the whole window.
    open: Vec<(ReservationId, u64)>,
    limit: u32,
    level: u32,
    changes: u64,
}

impl Entry {
    fn drop_lapsed(&mut self, now: u64) {
        self.failures.retain(|&until| until > now);
        self.open.retain(|&(_, until)| until > now);
    }

    fn taken(&self) -> usize {
        self.failures.len() + self.open.len()
    }

    fn rank(&self, key: Key) -> Rank {
        Rank { level: self.level, changes: self.changes, key }
    }

    fn update_rank(&mut self) {
        let times = self.failures.iter().copied().chain(self.open.iter().map(|&(_, until)| until));
        let taken = u32::try_from(self.taken()).unwrap_or(AT_LIMIT);
        if taken >= self.limit {
            self.level = AT_LIMIT;
            self.changes = times.min().unwrap_or(0);
        } else {
            self.level = taken;
            self.changes = times.max().unwrap_or(0);
        }
    }
}

#[derive(Default)]
pub(super) struct AttemptTable {
    /// A tree, since a hash map doubles at times although as many entries leave as come.
    entries: BTreeMap<Key, Entry>,
    ranks: BTreeSet<Rank>,
    /// The level that the next sweep begins at.
    sweep_at: u32,
}

impl fmt::Debug for AttemptTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names could be tried against the keys.
        f.debug_struct("AttemptTable").field("keys", &self.entries.len()).finish_non_exhaustive()
    }
}

/// The table has room neither for the key nor anything that may be dropped for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl AttemptTable {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn reserve(
        &mut self,
        key: Key,
        id: ReservationId,
        limit: AttemptLimit,
        capacity: usize,
        now: u64,
    ) -> Result<Reservation, Full> {
        let allowed = usize::try_from(limit.failures).unwrap_or(usize::MAX);
        if allowed == 0 {
            return Ok(Reservation::Held { retry_after: limit.window });
        }
        self.update(key, limit, capacity, now, |entry| {
            // Held until so many failures have lapsed that one place is free.
            if let Some(over) = entry.failures.len().checked_sub(allowed) {
                let until = entry.failures.get(over).copied().unwrap_or(now);
                return Reservation::Held { retry_after: Duration::from_nanos(until.saturating_sub(now)) };
            }
            if entry.taken() >= allowed {
                return Reservation::Busy;
            }
            entry.open.reserve_exact(1);
            entry.open.push((id, now.saturating_add(nanos(RESERVATION_LEASE))));
            Reservation::Reserved
        })
    }

    pub(super) fn fail(
        &mut self,
        key: Key,
        id: ReservationId,
        limit: AttemptLimit,
        capacity: usize,
        now: u64,
    ) -> Result<(), Full> {
        let allowed = usize::try_from(limit.failures).unwrap_or(usize::MAX);
        self.update(key, limit, capacity, now, |entry| {
            entry.open.retain(|&(open, _)| open != id);
            entry.failures.push(now.saturating_add(nanos(limit.window)));
            entry.failures.sort_unstable();
            // The newest failures alone decide until when the key is held.
            if let Some(over) = entry.failures.len().checked_sub(allowed.max(1)) {
                entry.failures.drain(..over);
            }
        })
    }

    pub(super) fn succeed(&mut self, key: Key, id: ReservationId, now: u64) {
        self.change(key, now, |entry| {
            entry.failures = Vec::new();
            entry.open.retain(|&(open, _)| open != id);
        });
    }

    pub(super) fn release(&mut self, key: Key, id: ReservationId, now: u64) {
        self.change(key, now, |entry| entry.open.retain(|&(open, _)| open != id));
    }

    /// Changes the entry of `key`, which is made if there is none.
    fn update<T>(
        &mut self,
        key: Key,
        limit: AttemptLimit,
        capacity: usize,
        now: u64,
        change: impl FnOnce(&mut Entry) -> T,
    ) -> Result<T, Full> {
        if !self.entries.contains_key(&key) {
            self.make_room(capacity, now)?;
            let entry = Entry { failures: Vec::new(), open: Vec::new(), limit: limit.failures, level: 0, changes: now };
            self.ranks.insert(entry.rank(key));
            self.entries.insert(key, entry);
        }
        let change = |entry: &mut Entry| {
            entry.limit = limit.failures;
            change(entry)
        };
        self.change(key, now, change).ok_or(Full)
    }

    /// Changes the entry of `key`, if there is one, and drops it if nothing is left in it.
    fn change<T>(&mut self, key: Key, now: u64, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let entry = self.entries.get_mut(&key)?;
        let before = entry.rank(key);
        entry.drop_lapsed(now);
        let answer = change(entry);
        if entry.taken() == 0 {
            self.ranks.remove(&before);
            self.entries.remove(&key);
        } else {
            entry.open.shrink_to_fit();
            entry.update_rank();
            let after = entry.rank(key);
            if after != before {
                self.ranks.remove(&before);
                self.ranks.insert(after);
            }
        }
        Some(answer)
    }

    fn make_room(&mut self, capacity: usize, now: u64) -> Result<(), Full> {
        self.sweep(SWEEP, now);
        if self.entries.len() >= capacity {
            self.sweep(FULL_SWEEP, now);
        }
        while self.entries.len() >= capacity {
            let Some(&weakest) = self.ranks.first().filter(|rank| rank.level != AT_LIMIT) else { return Err(Full) };
            self.ranks.remove(&weakest);
            self.entries.remove(&weakest.key);
        }
        Ok(())
    }

    /// Looks at entries whose time has come; within a level they stand in front. It goes on where the last one ended, and
    /// around: levels below whose entries all live must not keep it from those above.
    fn sweep(&mut self, looks: usize, now: u64) {
        let mut rounds = 0;
        for _ in 0..looks {
            if rounds > 1 {
                return;
            }
            let from = Rank { level: self.sweep_at, changes: 0, key: [0; 16] };
            self.sweep_at = match self.ranks.range(from..).next().copied() {
                Some(front) if front.changes <= now => {
                    self.change(front.key, now, |_| ());
                    front.level
                }
                Some(front) => front.level.wrapping_add(1),
                None => 0,
            };
            rounds += usize::from(self.sweep_at == 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000_000_000;
    const LIMIT: AttemptLimit = AttemptLimit { failures: 3, window: Duration::from_secs(60) };

    fn key(n: u32) -> Key {
        let mut key = [0; 16];
        key[..4].copy_from_slice(&n.to_be_bytes());
        key
    }

    fn fail(table: &mut AttemptTable, n: u32, times: usize, capacity: usize, now: u64) -> Result<(), Full> {
        (0..times).try_for_each(|_| table.fail(key(n), 0, LIMIT, capacity, now))
    }

    fn held(table: &mut AttemptTable, n: u32, now: u64) -> bool {
        let held = table.reserve(key(n), 9, LIMIT, 1_000, now).unwrap();
        table.release(key(n), 9, now);
        matches!(held, Reservation::Held { .. })
    }

    fn check(table: &AttemptTable) {
        assert_eq!(table.ranks.len(), table.entries.len());
        assert!(table.ranks.iter().all(|rank| table.entries[&rank.key].rank(rank.key) == *rank));
    }

    #[test]
    fn a_place_is_given_back_when_its_lease_ends() {
        let mut table = AttemptTable::default();
        let one = AttemptLimit { failures: 1, ..LIMIT };
        let lease = nanos(RESERVATION_LEASE);
        let mut reserve = |id, now| table.reserve(key(1), id, one, 1_000, now).unwrap();
        assert_eq!(reserve(1, 0), Reservation::Reserved);
        assert_eq!(reserve(2, lease - 1), Reservation::Busy);
        assert_eq!(reserve(3, lease), Reservation::Reserved);
    }

    #[test]
    fn entries_that_live_keep_no_lapsed_ones_above_them() {
        let mut table = AttemptTable::default();
        let limit = AttemptLimit { failures: 20, ..LIMIT };
        let mut fail = |n: u32, times: u32, now| {
            (0..times).for_each(|_| table.fail(key(n), 0, limit, 10_000, now).unwrap());
            table.len()
        };
        assert_eq!((1_000..1_400).map(|n| fail(n, 15, 0)).last(), Some(400));
        assert!((1..=12).all(|level| fail(level, level, MINUTE) >= 12));
        assert_eq!((2_000..2_400).map(|n| fail(n, 1, MINUTE)).last(), Some(412), "those that lapsed pile up");
    }

    #[test]
    fn in_a_full_table_nothing_that_lives_goes_before_what_lapsed() {
        let mut table = AttemptTable::default();
        let limit = AttemptLimit { failures: 20, ..LIMIT };
        let fail = |table: &mut AttemptTable, n: u32, times: u32, now| {
            (0..times).for_each(|_| table.fail(key(n), 0, limit, 24, now).unwrap());
        };
        (1_000..1_012).for_each(|n| fail(&mut table, n, 15, 0));
        (1..=12).for_each(|level| fail(&mut table, level, level, MINUTE - 1));
        // As far from those that lapsed as may be.
        table.sweep_at = 0;
        fail(&mut table, 2_000, 1, MINUTE);
        assert!((1..=12).all(|level| table.entries.contains_key(&key(level))));
    }

    #[test]
    fn room_is_made_by_the_fewest_failures_and_never_by_a_held_entry() {
        let mut table = AttemptTable::default();
        fail(&mut table, 1, 3, 3, 0).unwrap();
        fail(&mut table, 2, 2, 3, 0).unwrap();
        for n in 10..1_000 {
            fail(&mut table, n, 1, 3, u64::from(n)).unwrap();
            check(&table);
        }
        assert_eq!(table.len(), 3);
        assert!(table.entries.contains_key(&key(2)));
        assert!(held(&mut table, 1, 1_000));
    }

    #[test]
    fn a_table_of_held_entries_refuses_new_keys_until_the_first_lapses() {
        let mut table = AttemptTable::default();
        fail(&mut table, 1, 3, 2, 0).unwrap();
        fail(&mut table, 2, 3, 2, 5).unwrap();
        assert_eq!(table.reserve(key(3), 1, LIMIT, 2, 10), Err(Full));
        assert_eq!(fail(&mut table, 3, 1, 2, 10), Err(Full));
        assert!(held(&mut table, 1, 10), "known keys are still decided");
        assert_eq!(table.reserve(key(3), 1, LIMIT, 2, MINUTE), Ok(Reservation::Reserved));
        check(&table);
    }

    #[test]
    fn an_entry_filled_by_open_checks_is_at_its_limit_too() {
        let mut table = AttemptTable::default();
        for id in 0..3 {
            table.reserve(key(1), id, LIMIT, 1, 0).unwrap();
        }
        assert_eq!(table.reserve(key(2), 9, LIMIT, 1, 0), Err(Full));
        table.release(key(1), 0, 0);
        assert_eq!(table.reserve(key(2), 9, LIMIT, 1, 0), Ok(Reservation::Reserved));
        check(&table);
    }

    #[test]
    fn lapsed_entries_go_before_any_that_still_counts() {
        let mut table = AttemptTable::default();
        fail(&mut table, 1, 2, 10, 0).unwrap();
        fail(&mut table, 2, 1, 10, MINUTE / 2).unwrap();
        fail(&mut table, 3, 1, 2, MINUTE).unwrap();
        assert!(!table.entries.contains_key(&key(1)));
        assert!(table.entries.contains_key(&key(2)));
        check(&table);
    }

    #[test]
    fn lapsed_entries_are_swept_by_those_that_come() {
        let mut table = AttemptTable::default();
        for n in 0..1_000 {
            fail(&mut table, n, 1 + n as usize % 3, 10_000, 0).unwrap();
        }
        for n in 1_000..1_600 {
            fail(&mut table, n, 1, 10_000, MINUTE).unwrap();
        }
        assert_eq!(table.len(), 600);
        check(&table);
    }

    #[test]
    fn each_failure_lapses_by_itself() {
        let mut table = AttemptTable::default();
        for at in [0, 10, 20] {
            fail(&mut table, 1, 1, 10, at).unwrap();
        }
        let retry_after = Duration::from_nanos(MINUTE - 30);
        assert_eq!(table.reserve(key(1), 1, LIMIT, 10, 30), Ok(Reservation::Held { retry_after }));
        assert_eq!(table.reserve(key(1), 1, LIMIT, 10, MINUTE), Ok(Reservation::Reserved));
        assert_eq!(table.reserve(key(1), 2, LIMIT, 10, MINUTE), Ok(Reservation::Busy));
        table.succeed(key(1), 1, MINUTE);
        assert_eq!(table.len(), 0);
        check(&table);
    }
}
