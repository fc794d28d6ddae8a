//! Waiting without a runtime: one thread, started at the first use, wakes whoever waits.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

/// A future that is ready after `wait`.
pub(crate) fn sleep(wait: Duration) -> Sleep {
    Timer::shared().sleep(wait)
}

#[derive(Debug)]
pub(crate) struct Sleep {
    timer: &'static Timer,
    deadline: Instant,
    entry: Option<u64>,
    yielded: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.deadline {
            return Poll::Ready(());
        }
        let timer = self.timer;
        let mut state = timer.lock();
        state.has_thread = state.has_thread || (timer.spawn)(timer);
        if !state.has_thread {
            drop(state);
            // Nobody would wake this: too early is better than never. Others run first, as who sleeps expects.
            if mem::replace(&mut self.yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let id = match self.entry {
            Some(id) => id,
            None => {
                state.next_id += 1;
                let id = state.next_id;
                self.entry = Some(id);
                id
            }
        };
        let first = state.sleepers.first_key_value().is_none_or(|(&(at, _), _)| self.deadline < at);
        let before = state.sleepers.insert((self.deadline, id), cx.waker().clone());
        // A waker runs code of the caller's when it is dropped: never under the lock.
        drop(state);
        drop(before);
        if first {
            timer.changed.notify_one();
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.entry {
            let waker = self.timer.lock().sleepers.remove(&(self.deadline, id));
            drop(waker);
        }
    }
}

#[derive(Default)]
struct State {
    sleepers: BTreeMap<(Instant, u64), Waker>,
    next_id: u64,
    has_thread: bool,
}

struct Timer {
    state: Mutex<State>,
    changed: Condvar,
    spawn: fn(&'static Timer) -> bool,
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Timer")
    }
}

impl Timer {
    const fn new(spawn: fn(&'static Timer) -> bool) -> Self {
        let state = State { sleepers: BTreeMap::new(), next_id: 0, has_thread: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), spawn }
    }

    fn shared() -> &'static Timer {
        static TIMER: Timer =
            Timer::new(|timer| thread::Builder::new().name("oauth2-timer".to_owned()).spawn(|| timer.run()).is_ok());
        &TIMER
    }

    fn sleep(&'static self, wait: Duration) -> Sleep {
        Sleep { timer: self, deadline: Instant::now() + wait, entry: None, yielded: false }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let later = state.sleepers.split_off(&(now, u64::MAX));
            let due = mem::replace(&mut state.sleepers, later);
            if !due.is_empty() {
                drop(state);
                for waker in due.into_values() {
                    // A waker that panics must not stop the others.
                    let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
                }
                state = self.lock();
                continue;
            }
            let wait = state.sleepers.first_key_value().map(|(&(at, _), _)| at.saturating_duration_since(now));
            state = match wait {
                Some(wait) => self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn sleepers_wake_in_order_of_their_deadlines() {
        let woken = Arc::new(Mutex::new(Vec::new()));
        let waits = [30, 10, 20].map(|milliseconds| {
            let woken = Arc::clone(&woken);
            tokio::spawn(async move {
                sleep(Duration::from_millis(milliseconds)).await;
                woken.lock().map(|mut woken| woken.push(milliseconds)).ok();
            })
        });
        for wait in waits {
            wait.await.ok();
        }
        assert_eq!(woken.lock().map(|woken| woken.clone()).ok(), Some(vec![10, 20, 30]));
    }

    #[tokio::test]
    async fn a_dropped_sleep_leaves_nothing_behind() {
        static TIMER: Timer = Timer::new(|_| true);
        let polled = tokio::time::timeout(Duration::from_millis(5), TIMER.sleep(HOUR)).await;
        assert!(polled.is_err());
        assert!(TIMER.lock().sleepers.is_empty());
    }

    #[test]
    fn sleepers_of_one_moment_do_not_replace_each_other() {
        static TIMER: Timer = Timer::new(|_| true);
        let mut one = TIMER.sleep(HOUR);
        let mut other = Sleep { timer: &TIMER, deadline: one.deadline, entry: None, yielded: false };
        for sleep in [&mut one, &mut other] {
            assert!(Pin::new(sleep).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        assert_eq!(TIMER.lock().sleepers.len(), 2);
    }

    #[tokio::test]
    async fn without_a_thread_a_sleep_yields_and_ends() {
        static TIMER: Timer = Timer::new(|_| false);
        let other = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&other);
        tokio::spawn(async move { counted.fetch_add(1, Ordering::Relaxed) });
        assert!(tokio::time::timeout(PATIENCE, TIMER.sleep(HOUR)).await.is_ok(), "the sleep hangs");
        assert_eq!(other.load(Ordering::Relaxed), 1);
        assert!(TIMER.lock().sleepers.is_empty());
    }

    #[tokio::test]
    async fn a_thread_is_tried_again_at_the_next_poll() {
        static TRIES: AtomicUsize = AtomicUsize::new(0);
        static TIMER: Timer = Timer::new(|timer| {
            TRIES.fetch_add(1, Ordering::Relaxed) == 1 && thread::Builder::new().spawn(|| timer.run()).is_ok()
        });
        let started = Instant::now();
        for milliseconds in [20, 10] {
            TIMER.sleep(Duration::from_millis(milliseconds)).await;
        }
        assert!(started.elapsed() >= Duration::from_millis(30));
        assert_eq!(TRIES.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_waker_that_panics_stops_no_other() {
        struct Panics;
        impl Wake for Panics {
            fn wake(self: Arc<Self>) {
                panic!("a waker's own fault");
            }
        }
        let mut broken = sleep(Duration::from_millis(5));
        let waker = Waker::from(Arc::new(Panics));
        assert!(Pin::new(&mut broken).poll(&mut Context::from_waker(&waker)).is_pending());
        for _ in 0..2 {
            let other = sleep(Duration::from_millis(10));
            assert!(tokio::time::timeout(PATIENCE, other).await.is_ok(), "the timer's thread has ended");
        }
    }

    #[test]
    fn a_waker_may_own_a_sleep() {
        static TIMER: Timer = Timer::new(|_| true);
        struct Owner {
            _sleep: Sleep,
        }
        impl Wake for Owner {
            fn wake(self: Arc<Self>) {}
        }
        let mut inner = TIMER.sleep(HOUR);
        assert!(Pin::new(&mut inner).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let mut outer = TIMER.sleep(HOUR);
        let waker = Waker::from(Arc::new(Owner { _sleep: inner }));
        assert!(Pin::new(&mut outer).poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        let (done, polled) = std::sync::mpsc::channel();
        thread::spawn(move || {
            done.send(Pin::new(&mut outer).poll(&mut Context::from_waker(Waker::noop())).is_pending()).ok();
        });
        assert_eq!(polled.recv_timeout(PATIENCE), Ok(true), "the poll hangs");
    }
}
