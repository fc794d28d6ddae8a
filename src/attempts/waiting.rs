//! Who waits for a place under a key, in the order of coming: without it, whoever asks at the right moment gets ahead,
//! and places stay empty between two askings.

use std::{
    collections::{HashMap, VecDeque},
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use crate::{
    store::AttemptKey,
    sync::{Mutex, lock},
    timer,
};

/// More would hardly get a place within the second that they wait.
const MOST_WAITING_FOR_A_PLACE: usize = 100;

/// After so long the first asks again though it was not called: a place may have come free in another process.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(super) struct Waiting(Mutex<State>);

#[derive(Default)]
struct State {
    queues: HashMap<AttemptKey, VecDeque<Waiter>>,
    next_id: u64,
}

struct Waiter {
    id: u64,
    called: bool,
    waker: Option<Waker>,
}

/// Where one stands who has not left: ids rise from the first to the last.
fn place(queue: &VecDeque<Waiter>, id: u64) -> Option<usize> {
    queue.binary_search_by_key(&id, |waiter| waiter.id).ok()
}

impl Waiting {
    pub(super) fn is_empty(&self, key: AttemptKey) -> bool {
        !lock(&self.0).queues.contains_key(&key)
    }

    /// Takes the last place in the queue for this many places under the key, if there is room.
    pub(super) fn join(self: &Arc<Self>, key: AttemptKey, places: u32) -> Option<Turn> {
        let mut state = lock(&self.0);
        state.next_id += 1;
        let id = state.next_id;
        let queue = state.queues.entry(key).or_default();
        if queue.len() >= MOST_WAITING_FOR_A_PLACE.saturating_mul(places.max(1) as usize) {
            return None;
        }
        queue.push_back(Waiter { id, called: false, waker: None });
        Some(Turn { waiting: Arc::clone(self), key, id })
    }

    /// A place has come free: calls the first who was not called yet.
    pub(super) fn call_next(&self, key: AttemptKey) {
        let mut state = lock(&self.0);
        let first = state.queues.get_mut(&key).and_then(|queue| queue.iter_mut().find(|waiter| !waiter.called));
        let waker = first.and_then(|waiter| {
            waiter.called = true;
            waiter.waker.take()
        });
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A place in the queue; it is left when this is dropped.
pub(super) struct Turn {
    waiting: Arc<Waiting>,
    key: AttemptKey,
    id: u64,
}

impl Turn {
    /// Waits to be called, until `end` at most; the first of the queue not longer than for a pause.
    pub(super) async fn called_by(&self, end: Instant) {
        loop {
            let pause = LONGEST_PAUSE.min(end.saturating_duration_since(Instant::now()));
            if self.called_within(pause).await || self.is_first() || Instant::now() >= end {
                return;
            }
        }
    }

    fn is_first(&self) -> bool {
        let state = lock(&self.waiting.0);
        state.queues.get(&self.key).and_then(VecDeque::front).is_none_or(|first| first.id == self.id)
    }

    pub(super) async fn called_within(&self, limit: Duration) -> bool {
        let mut over = pin!(timer::sleep(limit));
        poll_fn(|cx| {
            let mut state = lock(&self.waiting.0);
            let queue = state.queues.get_mut(&self.key);
            let own = queue.and_then(|queue| place(queue, self.id).and_then(|at| queue.get_mut(at)));
            let Some(own) = own else { return Poll::Ready(true) };
            if std::mem::take(&mut own.called) {
                return Poll::Ready(true);
            }
            let before = own.waker.replace(cx.waker().clone());
            // A waker runs code of the caller's when it is dropped: never under the lock.
            drop(state);
            drop(before);
            over.as_mut().poll(cx).map(|()| false)
        })
        .await
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = lock(&self.waiting.0);
        let Some(queue) = state.queues.get_mut(&self.key) else { return };
        let own = place(queue, self.id).and_then(|at| queue.remove(at));
        if queue.is_empty() {
            state.queues.remove(&self.key);
        }
        drop(state);
        // Called and gone: the place is another's.
        if own.is_some_and(|own| own.called) {
            self.waiting.call_next(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::{Context, Wake},
    };

    use futures_util::FutureExt;

    use super::*;

    const KEY: AttemptKey = AttemptKey([1; 16]);
    const HOUR: Duration = Duration::from_secs(3_600);

    fn join(waiting: &Arc<Waiting>) -> Turn {
        waiting.join(KEY, 1).unwrap()
    }

    fn is_called(turn: &Turn) -> bool {
        turn.called_within(HOUR).now_or_never() == Some(true)
    }

    #[test]
    fn there_is_a_queue_while_someone_waits() {
        let waiting = Arc::new(Waiting::default());
        assert!(waiting.is_empty(KEY));
        let turn = join(&waiting);
        assert!(!waiting.is_empty(KEY) && waiting.is_empty(AttemptKey([2; 16])));
        drop(turn);
        assert!(waiting.is_empty(KEY));
    }

    #[test]
    fn who_was_called_and_leaves_calls_the_next() {
        let waiting = Arc::new(Waiting::default());
        let (first, second, third) = (join(&waiting), join(&waiting), join(&waiting));
        waiting.call_next(KEY);
        drop(first);
        assert!(!is_called(&third) && is_called(&second));
    }

    #[test]
    fn who_leaves_uncalled_calls_nobody() {
        let waiting = Arc::new(Waiting::default());
        let (first, second, third) = (join(&waiting), join(&waiting), join(&waiting));
        drop(first);
        assert!(!is_called(&second));
        waiting.call_next(KEY);
        drop(third);
        assert!(is_called(&second) && !is_called(&second));
    }

    /// Counts when it is dropped while nothing is locked.
    struct DroppedFree(Arc<Waiting>, Arc<AtomicUsize>);

    impl Wake for DroppedFree {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for DroppedFree {
        fn drop(&mut self) {
            self.1.fetch_add(usize::from(self.0.0.try_lock().is_ok()), Ordering::Relaxed);
        }
    }

    #[test]
    fn wakers_are_dropped_when_nothing_is_locked() {
        let (waiting, free) = (Arc::new(Waiting::default()), Arc::new(AtomicUsize::new(0)));
        let turn = join(&waiting);
        for replaced in 0..3 {
            assert_eq!(free.load(Ordering::Relaxed), replaced.max(1) - 1);
            let waker = Arc::new(DroppedFree(Arc::clone(&waiting), Arc::clone(&free))).into();
            assert!(pin!(turn.called_within(HOUR)).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        drop(turn);
        assert_eq!(free.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn the_queue_of_a_key_is_bounded() {
        let waiting = Arc::new(Waiting::default());
        let mut turns: Vec<_> = (0..MOST_WAITING_FOR_A_PLACE).map(|_| join(&waiting)).collect();
        assert!(waiting.join(KEY, 1).is_none());
        assert!(waiting.join(KEY, 2).is_some() && waiting.join(AttemptKey([2; 16]), 1).is_some());
        turns.pop();
        assert!(waiting.join(KEY, 1).is_some());
    }

    #[tokio::test]
    async fn the_first_alone_asks_without_being_called() {
        let waiting = Arc::new(Waiting::default());
        let (first, second) = (join(&waiting), join(&waiting));
        let end = Instant::now() + HOUR;
        first.called_by(end).await;
        let asked = tokio::time::timeout(LONGEST_PAUSE * 3, second.called_by(end));
        assert!(asked.await.is_err());
        drop(first);
        second.called_by(end).await;
        let soon = Instant::now() + LONGEST_PAUSE / 2;
        let _third = join(&waiting);
        join(&waiting).called_by(soon).await;
    }
}
