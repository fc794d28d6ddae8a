//! The memory stores' own time. It only moves forward, whatever happens to the wall clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::secret::debug_only;

/// The time since some fixed moment in nanoseconds: they fit 64 bits for 584 years, in half the memory of a `Duration`.
#[derive(Clone)]
pub(super) struct Clock(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Clock {
    pub(super) fn new(clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(clock))
    }

    pub(super) fn now(&self) -> u64 {
        nanos((self.0)())
    }
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Default for Clock {
    fn default() -> Self {
        let start = Instant::now();
        // Logins that were verified before the store existed have a time, too.
        Self::new(move || Duration::from_secs(3_600) + start.elapsed())
    }
}

debug_only!(Clock {});
