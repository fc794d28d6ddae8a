//! Locks, threads and timers, as this crate uses them.
//!
//! Locks and threads are std's, or shuttle's while a test explores how threads interleave
//! (`RUSTFLAGS="--cfg shuttle" cargo test --lib shuttle`). Timers are tokio's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{future::poll_fn, sync::PoisonError, task::Poll, time::Duration};

use tokio::{runtime::Handle, time::Instant};

#[cfg(all(test, shuttle))]
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
#[cfg(all(test, shuttle))]
pub(crate) use shuttle::thread;
#[cfg(not(all(test, shuttle)))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
#[cfg(not(all(test, shuttle)))]
pub(crate) use std::thread;

/// Locks whatever happened to the thread that held the lock before: a panic must not spread.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Like [`lock`], shared.
pub(crate) fn read<T: ?Sized>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Like [`lock`], exclusive.
pub(crate) fn write<T: ?Sized>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Why a wait ended without its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoResult {
    #[error("it was not done in time")]
    TimedOut,
    #[error("the tokio runtime has no timer: build it with `enable_time` or `enable_all`, or use `#[tokio::main]`")]
    NoTimer,
}

/// Waits for `future`, but no longer than until `deadline`.
pub(crate) async fn timeout_at<T>(deadline: Instant, future: impl Future<Output = T>) -> Result<T, NoResult> {
    let timeout = with_timer(|| tokio::time::timeout_at(deadline, future))?;
    timeout.await.map_err(|_| NoResult::TimedOut)
}

/// Waits.
pub(crate) async fn sleep(wait: Duration) -> Result<(), NoResult> {
    with_timer(|| tokio::time::sleep(wait))?.await;
    Ok(())
}

/// tokio panics where there is no timer, and has no way to ask for one.
fn with_timer<T>(make: impl FnOnce() -> T) -> Result<T, NoResult> {
    Handle::try_current().map_err(|_| NoResult::NoTimer)?;
    unwind_guarded(make).ok_or(NoResult::NoTimer)
}

/// Calls the user's code. `None` if it panicked, which the panic hook has reported.
pub(crate) fn unwind_guarded<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

/// Awaits the user's code. `None` if it panicked.
pub(crate) async fn unwind_guarded_future<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = Box::pin(future);
    poll_fn(move |cx| unwind_guarded(|| future.as_mut().poll(cx)).map_or(Poll::Ready(None), |poll| poll.map(Some)))
        .await
}

/// Calls a function when it is dropped, also if the future that holds it is dropped.
pub(crate) struct OnDrop<F: Fn()>(pub(crate) F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Runs a test in thousands of the ways in which its threads may interleave.
#[cfg(all(test, shuttle))]
pub(crate) fn explore(test: impl Fn() + Send + Sync + 'static) {
    let test = std::sync::Arc::new(test);
    let random = std::sync::Arc::clone(&test);
    shuttle::check_random(move || random(), 3_000);
    shuttle::check_pct(move || test(), 3_000, 3);
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::FutureExt;
    use tokio::runtime::Builder;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_at_its_deadline() {
        let begun = Instant::now();
        assert_eq!(timeout_at(begun + HOUR, pending::<()>()).await, Err(NoResult::TimedOut));
        assert_eq!(begun.elapsed(), HOUR);
        assert_eq!(timeout_at(begun, ready(7)).await, Ok(7), "what is there is taken");
        sleep(HOUR).await.unwrap();
        assert_eq!(begun.elapsed(), 2 * HOUR);
    }

    #[test]
    fn without_a_timer_a_wait_is_an_error() {
        let wait = || timeout_at(Instant::now() + HOUR, pending::<()>());
        assert_eq!(wait().now_or_never(), Some(Err(NoResult::NoTimer)), "no runtime");
        let bare = Builder::new_current_thread().build().unwrap();
        assert_eq!(bare.block_on(wait()), Err(NoResult::NoTimer));
        assert_eq!(bare.block_on(sleep(HOUR)), Err(NoResult::NoTimer));
        assert!(NoResult::NoTimer.to_string().contains("enable_time"));
    }
}
