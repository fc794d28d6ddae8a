//! The queues of attempts that wait for a slot.
//!
//! 1. Each key that someone waits for has one queue, first come, first served. It is bounded.
//! 2. Only the first in the queue asks the store: when a slot becomes free here, and every 100 ms, as one may become free
//!    in another process.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::{MutexGuard, Notify};
use tokio::time::Instant;

use crate::store::AttemptKey;
use crate::sync::{Mutex, NoResult, lock, timeout_at};

/// Further attempts would hardly get a slot within the second that they wait.
const LONGEST_QUEUE_PER_SLOT: usize = 100;

/// How long the first waits before it asks again.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(super) struct Queues(Mutex<HashMap<AttemptKey, Arc<Queue>>>);

#[derive(Default)]
struct Queue {
    turn: tokio::sync::Mutex<()>,
    freed: Notify,
}

impl Queues {
    pub(super) fn is_empty(&self, key: AttemptKey) -> bool {
        !lock(&self.0).contains_key(&key)
    }

    /// Joins the queue for this many slots under the key, if there is room.
    pub(super) fn join(&self, key: AttemptKey, slots: u32) -> Option<Place<'_>> {
        let mut queues = lock(&self.0);
        let queue = queues.entry(key).or_default();
        // One of the counted is the table's own.
        let waiting = Arc::strong_count(queue) - 1;
        let room = waiting < LONGEST_QUEUE_PER_SLOT.saturating_mul(slots.max(1) as usize);
        room.then(|| Place { queues: self, key, queue: Arc::clone(queue) })
    }

    /// A slot has become free.
    pub(super) fn freed(&self, key: AttemptKey) {
        if let Some(queue) = lock(&self.0).get(&key) {
            queue.freed.notify_one();
        }
    }
}

/// A place in a queue. Dropping it leaves the queue.
pub(super) struct Place<'a> {
    queues: &'a Queues,
    key: AttemptKey,
    queue: Arc<Queue>,
}

impl Place<'_> {
    /// Waits to be the first.
    pub(super) async fn first(&self, end: Instant) -> Result<MutexGuard<'_, ()>, NoResult> {
        timeout_at(end, self.queue.turn.lock()).await
    }

    /// Waits until the first should ask again.
    pub(super) async fn freed(&self, end: Instant) -> Result<(), NoResult> {
        match timeout_at(end.min(Instant::now() + PAUSE), self.queue.freed.notified()).await {
            Err(NoResult::TimedOut) => Ok(()),
            freed => freed,
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queues = lock(&self.queues.0);
        // The table and this place.
        if Arc::strong_count(&self.queue) == 2 {
            queues.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: AttemptKey = AttemptKey([1; 16]);
    const OTHER: AttemptKey = AttemptKey([2; 16]);

    #[test]
    fn a_queue_exists_while_someone_waits() {
        let queues = Queues::default();
        let (first, second) = (queues.join(KEY, 1).unwrap(), queues.join(KEY, 1).unwrap());
        assert!(!queues.is_empty(KEY) && queues.is_empty(OTHER));
        drop(first);
        assert!(!queues.is_empty(KEY));
        drop(second);
        assert!(queues.is_empty(KEY));
    }

    #[test]
    fn a_queue_is_bounded() {
        let queues = Queues::default();
        let mut places: Vec<_> = (0..LONGEST_QUEUE_PER_SLOT).map(|_| queues.join(KEY, 1).unwrap()).collect();
        assert!(queues.join(KEY, 1).is_none());
        assert!(queues.join(KEY, 2).is_some() && queues.join(OTHER, 1).is_some());
        places.pop();
        assert!(queues.join(KEY, 1).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_first_waits_for_a_slot_and_for_one_pause_at_most() {
        let queues = Queues::default();
        let end = Instant::now() + Duration::from_secs(1);
        let (first, second) = (queues.join(KEY, 1).unwrap(), queues.join(KEY, 1).unwrap());
        let turn = first.first(end).await.unwrap();
        let begun = Instant::now();
        first.freed(end).await.unwrap();
        assert!(begun.elapsed() >= PAUSE);
        queues.freed(KEY);
        let begun = Instant::now();
        first.freed(end).await.unwrap();
        assert!(begun.elapsed() < PAUSE, "a slot that became free before the wait counts");
        assert_eq!(second.first(end).await.unwrap_err(), NoResult::TimedOut);
        drop(turn);
        assert!(second.first(end + PAUSE).await.is_ok());
    }
}
