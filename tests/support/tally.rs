//! Counts the replies that all clients of this test got.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

pub static TALLY: Tally = Tally(Mutex::new(BTreeMap::new()));

/// For each status, the number of replies and the time of the slowest.
pub struct Tally(Mutex<BTreeMap<u16, (u64, Duration)>>);

impl Tally {
    pub fn count(&self, status: u16, took: Duration) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, slowest) = seen.entry(status).or_default();
        *count += 1;
        *slowest = took.max(*slowest);
    }

    pub fn requests(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().map(|(count, _)| count).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (status, (count, slowest)) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            writeln!(f, "{status:>8} {count:>10} answers, the slowest after {:>6} ms", slowest.as_millis())?;
        }
        Ok(())
    }
}
