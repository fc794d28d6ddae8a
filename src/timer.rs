//! Waiting without a runtime: one thread, started at the first use, wakes whoever waits.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// A future that is ready after `wait`.
pub(crate) fn sleep(wait: Duration) -> Sleep {
    Sleep { deadline: Instant::now() + wait, entry: None }
}

#[derive(Debug)]
pub(crate) struct Sleep {
    deadline: Instant,
    entry: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.deadline {
            return Poll::Ready(());
        }
        let timer = Timer::shared();
        let mut state = timer.lock();
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
        state.sleepers.insert((self.deadline, id), cx.waker().clone());
        drop(state);
        if first {
            timer.changed.notify_one();
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.entry {
            Timer::shared().lock().sleepers.remove(&(self.deadline, id));
        }
    }
}

#[derive(Default)]
struct State {
    sleepers: BTreeMap<(Instant, u64), Waker>,
    next_id: u64,
}

struct Timer {
    state: Mutex<State>,
    changed: Condvar,
}

impl Timer {
    fn shared() -> &'static Arc<Timer> {
        static TIMER: OnceLock<Arc<Timer>> = OnceLock::new();
        TIMER.get_or_init(|| {
            let timer = Arc::new(Timer { state: Mutex::default(), changed: Condvar::new() });
            let worker = Arc::clone(&timer);
            let spawned = std::thread::Builder::new().name("oauth2-timer".to_owned()).spawn(move || worker.run());
            drop(spawned);
            timer
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let later = state.sleepers.split_off(&(now, u64::MAX));
            let due = std::mem::replace(&mut state.sleepers, later);
            if !due.is_empty() {
                drop(state);
                due.into_values().for_each(Waker::wake);
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
    use super::*;

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
        let long = Duration::from_secs(3_600);
        let polled = tokio::time::timeout(Duration::from_millis(5), sleep(long)).await;
        assert!(polled.is_err());
        let horizon = Instant::now() + long / 2;
        assert!(Timer::shared().lock().sleepers.keys().all(|&(at, _)| at < horizon));
    }
}
