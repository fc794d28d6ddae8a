//! Failed attempts in memory.

use std::time::{Duration, Instant};

use super::store::{Contents, MemoryStore};
use super::table::{Key, SWEEP, Table, nanos};
use crate::error::BoxError;
use crate::store::StoreFuture;
use crate::store::attempts::{AttemptOutcome, AttemptStore, LEASE, Reservation, ReservationId, Slot};

/// The failed attempts of one process.
///
/// An entry is due when it expires or, at its limit, when it falls below it. In a full table the weakest entry goes: the one
/// with the fewest slots taken, and among those the one that is due first. Entries at their limit are not among them.
#[derive(Default)]
pub struct FailedAttempts(Table<Entry, u32>);

#[derive(Default)]
struct Entry {
    /// When each failure stops counting, in order.
    failures: Vec<u64>,
    /// The reservations, and when each of them ends by itself.
    reserved: Vec<(ReservationId, u64)>,
    limit: u32,
}

impl Entry {
    fn taken(&self) -> u32 {
        u32::try_from(self.failures.len() + self.reserved.len()).unwrap_or(u32::MAX)
    }

    fn is_at_limit(&self) -> bool {
        self.taken() >= self.limit
    }

    fn due(&self) -> u64 {
        let times = self.failures.iter().copied().chain(self.reserved.iter().map(|&(_, until)| until));
        let due = if self.is_at_limit() { times.min() } else { times.max() };
        due.unwrap_or(0)
    }
}

impl Contents for FailedAttempts {
    const CAPACITY: usize = 200_000;

    fn len(&self) -> usize {
        self.0.len()
    }
}

impl FailedAttempts {
    fn reserve(&mut self, slot: Slot, capacity: usize, now: u64) -> Result<Reservation, BoxError> {
        let allowed = usize::try_from(slot.limit.failures).unwrap_or(usize::MAX);
        if allowed == 0 {
            return Ok(Reservation::Blocked { retry_after: slot.limit.window });
        }
        self.make_room(slot.key.0, capacity, now)?;
        Ok(self.change(slot.key.0, now, |entry| {
            entry.limit = slot.limit.failures;
            // Blocked until so many failures have expired that one slot is free.
            if let Some(over) = entry.failures.len().checked_sub(allowed) {
                let until = entry.failures.get(over).copied().unwrap_or(now);
                return Reservation::Blocked { retry_after: Duration::from_nanos(until.saturating_sub(now)) };
            }
            if entry.is_at_limit() {
                return Reservation::Busy;
            }
            // Few attempts are in progress at once, and the memory would stay for the whole window.
            entry.reserved.reserve_exact(1);
            entry.reserved.push((slot.id, now.saturating_add(nanos(LEASE))));
            Reservation::Reserved
        }))
    }

    fn settle(&mut self, slot: Slot, outcome: AttemptOutcome, capacity: usize, now: u64) -> Result<(), BoxError> {
        if outcome == AttemptOutcome::Failed {
            self.make_room(slot.key.0, capacity, now)?;
        }
        self.change(slot.key.0, now, |entry| {
            entry.reserved.retain(|&(id, _)| id != slot.id);
            match outcome {
                AttemptOutcome::Released => {}
                AttemptOutcome::Succeeded => entry.failures = Vec::new(),
                AttemptOutcome::Failed => {
                    entry.limit = slot.limit.failures;
                    entry.failures.push(now.saturating_add(nanos(slot.limit.window)));
                    entry.failures.sort_unstable();
                    // The newest failures alone decide how long the key is blocked.
                    let allowed = usize::try_from(slot.limit.failures.max(1)).unwrap_or(usize::MAX);
                    let over = entry.failures.len().saturating_sub(allowed);
                    entry.failures.drain(..over);
                }
            }
        });
        Ok(())
    }

    /// Changes an entry, new or not, and keeps it unless it is empty then.
    fn change<T>(&mut self, key: Key, now: u64, change: impl FnOnce(&mut Entry) -> T) -> T {
        let mut entry = self.0.remove(key).unwrap_or_default();
        entry.failures.retain(|&until| until > now);
        entry.reserved.retain(|&(_, until)| until > now);
        let answer = change(&mut entry);
        entry.reserved.shrink_to_fit();
        if entry.taken() > 0 {
            let rank = (!entry.is_at_limit()).then(|| entry.taken());
            self.0.insert(key, entry.due(), rank, entry);
        }
        answer
    }

    /// Brings the entry that is due first up to date. False if none is due.
    fn sweep(&mut self, now: u64) -> bool {
        self.0.first_expired(now).map(|due| self.change(due, now, |_| ())).is_some()
    }

    /// Makes room for one entry, if `key` has none.
    fn make_room(&mut self, key: Key, capacity: usize, now: u64) -> Result<(), BoxError> {
        if self.0.get(key).is_some() {
            return Ok(());
        }
        for _ in 0..SWEEP {
            self.sweep(now);
        }
        while self.0.len() >= capacity {
            if self.sweep(now) {
                continue;
            }
            let full = "the attempt store is full of keys at their limit: raise it with `with_capacity`";
            self.0.remove(self.0.first_ranked().ok_or(full)?);
        }
        Ok(())
    }
}

impl AttemptStore for MemoryStore<FailedAttempts> {
    fn reserve(&self, slot: Slot, deadline: Instant) -> StoreFuture<'_, Reservation> {
        self.answer(deadline, move |attempts, now| attempts.reserve(slot, self.capacity, now))
    }

    fn settle(&self, slot: Slot, outcome: AttemptOutcome, deadline: Instant) -> StoreFuture<'_, ()> {
        self.answer(deadline, move |attempts, now| attempts.settle(slot, outcome, self.capacity, now))
    }

    fn abandon(&self, slot: Slot) {
        // Only a failure can find the store full.
        let _ = self.write(|attempts, now| attempts.settle(slot, AttemptOutcome::Released, self.capacity, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{
        MemoryAttemptStore,
        attempts::{AttemptKey, AttemptLimit},
    };

    const MINUTE: u64 = 60_000_000_000;
    const LIMIT: AttemptLimit = AttemptLimit { failures: 3, window: Duration::from_secs(60) };

    fn slot(n: u32, id: ReservationId, limit: AttemptLimit) -> Slot {
        let mut key = [0; 16];
        key[..4].copy_from_slice(&n.to_be_bytes());
        Slot { key: AttemptKey(key), id, limit }
    }

    fn contains(attempts: &FailedAttempts, n: u32) -> bool {
        attempts.0.get(slot(n, 0, LIMIT).key.0).is_some()
    }

    fn fail(attempts: &mut FailedAttempts, n: u32, times: usize, capacity: usize, now: u64) -> Result<(), BoxError> {
        fail_within(attempts, slot(n, 0, LIMIT), times, capacity, now)
    }

    fn fail_within(
        attempts: &mut FailedAttempts,
        slot: Slot,
        times: usize,
        capacity: usize,
        now: u64,
    ) -> Result<(), BoxError> {
        (0..times).try_for_each(|_| attempts.settle(slot, AttemptOutcome::Failed, capacity, now))
    }

    fn settle(attempts: &mut FailedAttempts, slot: Slot, outcome: AttemptOutcome, now: u64) {
        attempts.settle(slot, outcome, 1_000, now).unwrap();
    }

    fn blocked(attempts: &mut FailedAttempts, n: u32, now: u64) -> bool {
        let answer = attempts.reserve(slot(n, 9, LIMIT), 1_000, now).unwrap();
        settle(attempts, slot(n, 9, LIMIT), AttemptOutcome::Released, now);
        matches!(answer, Reservation::Blocked { .. })
    }

    fn check(attempts: &FailedAttempts) {
        assert!(attempts.0.is_consistent());
        for key in attempts.0.ranked(0..=u32::MAX, 0) {
            assert!(!attempts.0.get(key).unwrap().1.is_at_limit());
        }
    }

    #[test]
    fn a_slot_becomes_free_when_its_lease_ends() {
        let mut attempts = FailedAttempts::default();
        let one = AttemptLimit { failures: 1, ..LIMIT };
        let mut reserve = |id, now| attempts.reserve(slot(1, id, one), 1_000, now).unwrap();
        assert_eq!(reserve(1, 0), Reservation::Reserved);
        assert_eq!(reserve(2, nanos(LEASE) - 1), Reservation::Busy);
        assert_eq!(reserve(3, nanos(LEASE)), Reservation::Reserved);
    }

    #[test]
    fn a_full_store_drops_expired_entries_before_any_that_lives() {
        let mut attempts = FailedAttempts::default();
        let limit = AttemptLimit { failures: 20, ..LIMIT };
        let mut fail = |n: u32, times: usize, now| {
            fail_within(&mut attempts, slot(n, 0, limit), times, 24, now).unwrap();
        };
        (1_000..1_012).for_each(|n| fail(n, 15, 0));
        (1..=12).for_each(|n| fail(n, n as usize, MINUTE - 1));
        fail(2_000, 1, MINUTE);
        assert!((1..=12).all(|n| contains(&attempts, n)));
    }

    #[test]
    fn room_is_made_by_the_fewest_failures_and_never_by_a_blocked_entry() {
        let mut attempts = FailedAttempts::default();
        fail(&mut attempts, 1, 3, 3, 0).unwrap();
        fail(&mut attempts, 2, 2, 3, 0).unwrap();
        for n in 10..1_000 {
            fail(&mut attempts, n, 1, 3, u64::from(n)).unwrap();
            check(&attempts);
        }
        assert_eq!(attempts.len(), 3);
        assert!(contains(&attempts, 2));
        assert!(blocked(&mut attempts, 1, 1_000));
    }

    #[test]
    fn a_store_of_blocked_entries_refuses_new_keys_until_the_first_is_free() {
        let mut attempts = FailedAttempts::default();
        for at in 0..3 {
            fail(&mut attempts, 1, 1, 2, at).unwrap();
        }
        fail(&mut attempts, 2, 3, 2, 5).unwrap();
        assert!(attempts.reserve(slot(3, 1, LIMIT), 2, 10).is_err());
        assert!(fail(&mut attempts, 3, 1, 2, 10).is_err());
        assert!(blocked(&mut attempts, 1, 10), "known keys are still decided");
        assert_eq!(attempts.reserve(slot(3, 1, LIMIT), 2, MINUTE).unwrap(), Reservation::Reserved);
        check(&attempts);
    }

    #[test]
    fn an_entry_filled_by_reservations_is_at_its_limit_too() {
        let mut attempts = FailedAttempts::default();
        for id in 0..3 {
            attempts.reserve(slot(1, id, LIMIT), 1, 0).unwrap();
        }
        assert!(attempts.reserve(slot(2, 9, LIMIT), 1, 0).is_err());
        settle(&mut attempts, slot(1, 0, LIMIT), AttemptOutcome::Released, 0);
        assert_eq!(attempts.reserve(slot(2, 9, LIMIT), 1, 0).unwrap(), Reservation::Reserved);
        check(&attempts);
    }

    #[test]
    fn expired_entries_are_swept_by_new_ones() {
        let mut attempts = FailedAttempts::default();
        for n in 0..1_000 {
            fail(&mut attempts, n, 1 + n as usize % 3, 10_000, 0).unwrap();
        }
        for n in 1_000..1_600 {
            fail(&mut attempts, n, 1, 10_000, MINUTE).unwrap();
        }
        assert_eq!(attempts.len(), 600);
        check(&attempts);
    }

    #[test]
    fn each_failure_expires_by_itself() {
        let mut attempts = FailedAttempts::default();
        for at in [0, 10, 20] {
            fail(&mut attempts, 1, 1, 10, at).unwrap();
        }
        let retry_after = Duration::from_nanos(MINUTE - 30);
        let mut reserve = |id, now| attempts.reserve(slot(1, id, LIMIT), 10, now).unwrap();
        assert_eq!(reserve(1, 30), Reservation::Blocked { retry_after });
        assert_eq!(reserve(1, MINUTE), Reservation::Reserved);
        assert_eq!(reserve(2, MINUTE), Reservation::Busy);
        settle(&mut attempts, slot(1, 1, LIMIT), AttemptOutcome::Succeeded, MINUTE);
        assert_eq!(attempts.len(), 0);
        check(&attempts);
    }

    #[tokio::test]
    async fn a_store_counts_its_keys() {
        let store = MemoryAttemptStore::new();
        assert_eq!((store.len(), store.is_empty()), (0, true));
        store.reserve(slot(1, 1, LIMIT), Instant::now() + LIMIT.window).await.unwrap();
        assert_eq!((store.len(), store.is_empty()), (1, false));
    }
}
