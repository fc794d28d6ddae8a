//! Attempt stores with one fault each, built around the memory store.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use tower_oauth2_password::{
    BoxError,
    store::{
        AttemptKey, AttemptLimit, AttemptOutcome, AttemptStore, MemoryAttemptStore, Reservation, ReservationId, Slot,
        StoreFuture,
    },
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    AbandonForgetsFailures,
    AbandonsAnother,
    CountsWhatWasReleased,
    EndsAHoldEarly,
    FailsInTwoSteps,
    FixesTheWindow,
    ForgetsFailuresWithTheLease,
    HeldTriesCount,
    IgnoresDeadlines,
    IgnoresOpenChecks,
    IgnoresUnknownFailures,
    IgnoresUnknownSuccesses,
    LetsOneInUnderALimitOfNone,
    ReadsThenWrites,
    ReleasesAgain,
    SharesKeysAtTheEnd,
    SharesKeysAtTheStart,
    SuccessClearsNothing,
    SuccessEndsOtherChecks,
    TellsTheWholeWindow,
}

pub struct BrokenAttemptStore {
    fault: Fault,
    attempts: MemoryAttemptStore,
    open: Mutex<Vec<(AttemptKey, ReservationId)>>,
    busy: Mutex<HashSet<AttemptKey>>,
    windows: Mutex<HashMap<AttemptKey, Instant>>,
}

pub fn broken(fault: Fault) -> BrokenAttemptStore {
    around(MemoryAttemptStore::new(), fault)
}

pub fn around(attempts: MemoryAttemptStore, fault: Fault) -> BrokenAttemptStore {
    BrokenAttemptStore { fault, attempts, open: Mutex::default(), busy: Mutex::default(), windows: Mutex::default() }
}

const UNKNOWN: ReservationId = ReservationId::MAX;

impl BrokenAttemptStore {
    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn deadline(&self, given: Instant) -> Instant {
        if self.has(Fault::IgnoresDeadlines) { Instant::now() + Duration::from_secs(1) } else { given }
    }

    fn key(&self, mut key: AttemptKey) -> AttemptKey {
        match self.fault {
            Fault::SharesKeysAtTheStart => key.0[0] &= !1,
            Fault::SharesKeysAtTheEnd => key.0[15] &= !1,
            _ => {}
        }
        key
    }

    fn another(&self, key: AttemptKey) -> Option<ReservationId> {
        self.open.lock().unwrap().iter().find(|(open, _)| *open == key).map(|&(_, id)| id)
    }

    fn close(&self, id: ReservationId) -> bool {
        let mut open = self.open.lock().unwrap();
        let place = open.iter().position(|&(_, known)| known == id);
        place.map(|place| open.remove(place)).is_some()
    }

    async fn forget(&self, key: AttemptKey, limit: AttemptLimit, deadline: Instant) -> Result<(), BoxError> {
        self.attempts.settle(Slot { key, id: UNKNOWN, limit }, AttemptOutcome::Succeeded, deadline).await
    }
}

impl AttemptStore for BrokenAttemptStore {
    fn reserve(&self, slot: Slot, deadline: Instant) -> StoreFuture<'_, Reservation> {
        Box::pin(async move {
            let Slot { key, id, mut limit } = slot;
            let (key, deadline) = (self.key(key), self.deadline(deadline));
            match self.fault {
                Fault::LetsOneInUnderALimitOfNone => limit.failures = limit.failures.max(1),
                Fault::FixesTheWindow => {
                    let lapsed = |end: &Instant| Instant::now() > *end;
                    let over = self.windows.lock().unwrap().get(&key).is_some_and(lapsed);
                    if over {
                        self.windows.lock().unwrap().remove(&key);
                        self.forget(key, limit, deadline).await?;
                    }
                }
                Fault::ReadsThenWrites => {
                    // Finds a free slot, releases it, and later writes without looking again.
                    let answer = self.attempts.reserve(Slot { key, id, limit }, deadline).await?;
                    self.attempts.settle(Slot { key, id, limit }, AttemptOutcome::Released, deadline).await?;
                    tokio::task::yield_now().await;
                    if answer == Reservation::Reserved {
                        let wide = AttemptLimit { failures: limit.failures + 100, ..limit };
                        return self.attempts.reserve(Slot { key, id, limit: wide }, deadline).await;
                    }
                    return Ok(answer);
                }
                _ => {}
            }
            let answer = self.attempts.reserve(Slot { key, id, limit }, deadline).await?;
            match answer {
                Reservation::Busy if self.has(Fault::IgnoresOpenChecks) => return Ok(Reservation::Reserved),
                Reservation::Busy => {
                    self.busy.lock().unwrap().insert(key);
                }
                Reservation::Blocked { .. } if self.has(Fault::HeldTriesCount) => {
                    self.attempts.settle(Slot { key, id, limit }, AttemptOutcome::Failed, deadline).await?;
                }
                Reservation::Blocked { retry_after } if self.has(Fault::EndsAHoldEarly) => {
                    return Ok(Reservation::Blocked { retry_after: retry_after + limit.window / 2 });
                }
                Reservation::Blocked { .. } if self.has(Fault::TellsTheWholeWindow) => {
                    return Ok(Reservation::Blocked { retry_after: limit.window });
                }
                Reservation::Reserved => {
                    self.open.lock().unwrap().push((key, id));
                    let given_back = self.busy.lock().unwrap().remove(&key);
                    if given_back && self.has(Fault::ForgetsFailuresWithTheLease) {
                        self.forget(key, limit, deadline).await?;
                    }
                }
                _ => {}
            }
            Ok(answer)
        })
    }

    fn settle(&self, slot: Slot, mut outcome: AttemptOutcome, deadline: Instant) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let Slot { key, mut id, mut limit } = slot;
            let (key, deadline) = (self.key(key), self.deadline(deadline));
            let known = self.close(id);
            self.busy.lock().unwrap().remove(&key);
            match outcome {
                AttemptOutcome::Failed if self.has(Fault::IgnoresUnknownFailures) && !known => return Ok(()),
                AttemptOutcome::Failed if self.has(Fault::EndsAHoldEarly) => limit.window /= 2,
                AttemptOutcome::Failed if self.has(Fault::FixesTheWindow) => {
                    self.windows.lock().unwrap().entry(key).or_insert(Instant::now() + limit.window);
                }
                AttemptOutcome::Failed if self.has(Fault::FailsInTwoSteps) => {
                    self.attempts.settle(Slot { key, id, limit }, AttemptOutcome::Released, deadline).await?;
                    tokio::task::yield_now().await;
                }
                AttemptOutcome::Succeeded if self.has(Fault::IgnoresUnknownSuccesses) && !known => return Ok(()),
                AttemptOutcome::Succeeded if self.has(Fault::SuccessClearsNothing) => {
                    outcome = AttemptOutcome::Released
                }
                AttemptOutcome::Succeeded if self.has(Fault::SuccessEndsOtherChecks) => {
                    while let Some(other) = self.another(key) {
                        self.close(other);
                        self.attempts
                            .settle(Slot { key, id: other, limit }, AttemptOutcome::Released, deadline)
                            .await?;
                    }
                }
                AttemptOutcome::Released if self.has(Fault::CountsWhatWasReleased) && known => {
                    outcome = AttemptOutcome::Failed;
                }
                AttemptOutcome::Released if self.has(Fault::ReleasesAgain) && !known => {
                    id = self.another(key).unwrap_or(id);
                }
                _ => {}
            }
            self.attempts.settle(Slot { key, id, limit }, outcome, deadline).await
        })
    }

    fn abandon(&self, slot: Slot) {
        let Slot { key, id, limit } = slot;
        let known = self.close(id);
        let id = if self.has(Fault::AbandonsAnother) && !known { self.another(key).unwrap_or(id) } else { id };
        if self.has(Fault::AbandonForgetsFailures) && known {
            let limit = AttemptLimit { failures: 2, window: Duration::from_secs(60) };
            let soon = Instant::now() + Duration::from_secs(1);
            self.forget(key, limit, soon).now_or_never().expect("memory answers at once").unwrap();
        }
        self.attempts.abandon(Slot { key, id, limit });
    }
}

/// Reads under one lock and writes under another, without an await in between: only threads can expose it.
#[derive(Default)]
pub struct RacingAttemptStore(MemoryAttemptStore);

impl AttemptStore for RacingAttemptStore {
    fn reserve(&self, slot: Slot, deadline: Instant) -> StoreFuture<'_, Reservation> {
        Box::pin(async move {
            let Slot { key, id, limit } = slot;
            let answer = self.0.reserve(Slot { key, id, limit }, deadline).await?;
            if answer != Reservation::Reserved {
                return Ok(answer);
            }
            self.0.settle(Slot { key, id, limit }, AttemptOutcome::Released, deadline).await?;
            // A gap wide enough for another thread.
            std::thread::sleep(Duration::from_millis(2));
            let wide = AttemptLimit { failures: limit.failures + 100, ..limit };
            self.0.reserve(Slot { key, id, limit: wide }, deadline).await
        })
    }

    fn settle(&self, slot: Slot, outcome: AttemptOutcome, deadline: Instant) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let Slot { key, id, limit } = slot;
            self.0.settle(Slot { key, id, limit }, outcome, deadline).await
        })
    }
}
