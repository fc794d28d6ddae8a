//! The stores' own time: it only runs forward, whatever happens to the wall clock.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

/// Tells the time that has passed since some fixed moment.
#[derive(Clone)]
pub(super) struct Clock(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Clock {
    pub(super) fn new(clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(clock))
    }

    pub(super) fn now(&self) -> Duration {
        (self.0)()
    }

    /// Nanoseconds fit 64 bits for 584 years, and half the memory of a `Duration`.
    pub(super) fn now_nanos(&self) -> u64 {
        nanos(self.now())
    }
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Default for Clock {
    fn default() -> Self {
        let start = Instant::now();
        Self::new(move || start.elapsed())
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
