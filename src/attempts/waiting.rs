//! Who waits for a place under a key, in the order of coming: without it, whoever asks at the right moment gets ahead,
//! and places stay empty between two askings.

use std::{
    collections::{HashMap, VecDeque},
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use crate::{
    store::AttemptKey,
    sync::{Mutex, lock},
    timer,
};

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

impl Waiting {
    pub(super) fn is_empty(&self, key: AttemptKey) -> bool {
        !lock(&self.0).queues.contains_key(&key)
    }

    /// Takes the last place in the queue.
    pub(super) fn join(self: &Arc<Self>, key: AttemptKey) -> Turn {
        let mut state = lock(&self.0);
        state.next_id += 1;
        let id = state.next_id;
        state.queues.entry(key).or_default().push_back(Waiter { id, called: false, waker: None });
        Turn { waiting: Arc::clone(self), key, id }
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
    /// Waits to be called, or for so long: places may also come free in another process.
    pub(super) async fn called_within(&self, limit: Duration) {
        let mut over = pin!(timer::sleep(limit));
        poll_fn(|cx| {
            let mut state = lock(&self.waiting.0);
            let own = state.queues.get_mut(&self.key).and_then(|queue| queue.iter_mut().find(|own| own.id == self.id));
            let Some(own) = own else { return Poll::Ready(()) };
            if std::mem::take(&mut own.called) {
                return Poll::Ready(());
            }
            own.waker = Some(cx.waker().clone());
            drop(state);
            over.as_mut().poll(cx)
        })
        .await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = lock(&self.waiting.0);
        let Some(queue) = state.queues.get_mut(&self.key) else { return };
        let called = queue.iter().any(|waiter| waiter.id == self.id && waiter.called);
        queue.retain(|waiter| waiter.id != self.id);
        if queue.is_empty() {
            state.queues.remove(&self.key);
        }
        drop(state);
        // Called and gone: the place is another's.
        if called {
            self.waiting.call_next(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const KEY: AttemptKey = AttemptKey([1; 16]);
    const HOUR: Duration = Duration::from_secs(3_600);

    fn is_called(turn: &Turn) -> bool {
        turn.called_within(HOUR).now_or_never().is_some()
    }

    #[test]
    fn there_is_a_queue_while_someone_waits() {
        let waiting = Arc::new(Waiting::default());
        assert!(waiting.is_empty(KEY));
        let turn = waiting.join(KEY);
        assert!(!waiting.is_empty(KEY) && waiting.is_empty(AttemptKey([2; 16])));
        drop(turn);
        assert!(waiting.is_empty(KEY));
    }

    #[test]
    fn who_was_called_and_leaves_calls_the_next() {
        let waiting = Arc::new(Waiting::default());
        let (first, second, third) = (waiting.join(KEY), waiting.join(KEY), waiting.join(KEY));
        waiting.call_next(KEY);
        drop(first);
        assert!(!is_called(&third) && is_called(&second));
    }

    #[test]
    fn who_leaves_uncalled_calls_nobody() {
        let waiting = Arc::new(Waiting::default());
        let (first, second, third) = (waiting.join(KEY), waiting.join(KEY), waiting.join(KEY));
        drop(first);
        assert!(!is_called(&second));
        waiting.call_next(KEY);
        drop(third);
        assert!(is_called(&second) && !is_called(&second));
    }
}
