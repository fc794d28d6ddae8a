//! Stores with one fault each, around those in memory.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use tower_oauth2_password::{
    StoreError,
    store::{
        AttemptKey, AttemptLimit, AttemptOutcome, AttemptStore, DenyList, Family, FamilyId, MemoryAttemptStore,
        MemoryDenyList, MemoryRefreshStore, Previous, RefreshStore, Reservation, ReservationId, Rotation, SecretHash,
        Successor,
    },
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    LosesTheStamp,
    LosesWhatWasSealed,
    AcceptsAnySecret,
    EndsTheFamilyOnMismatch,
    NeverRevokes,
    RevokesSubjectsInPart,
    CountsTooMany,
    ReadsThenWrites,
    RotationUndoesRevocation,
    TellsNoAge,
    NeverEndsUnused,
    EndsTooEarly,
    IgnoresOpenChecks,
    SuccessClearsNothing,
    SharesKeys,
    HeldTriesCount,
    IgnoresUnknownFailures,
    ForgetsDenials,
    DeniesAll,
    IgnoresDeadlines,
}

pub fn broken(fault: Fault) -> Broken {
    Broken {
        fault,
        families: MemoryRefreshStore::new(),
        attempts: MemoryAttemptStore::new(),
        denied: MemoryDenyList::new(),
        open: Mutex::default(),
    }
}

pub struct Broken {
    fault: Fault,
    families: MemoryRefreshStore,
    attempts: MemoryAttemptStore,
    denied: MemoryDenyList,
    open: Mutex<Vec<ReservationId>>,
}

impl Broken {
    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn deadline(&self, given: Instant) -> Instant {
        if self.has(Fault::IgnoresDeadlines) { Instant::now() + Duration::from_secs(1) } else { given }
    }
}

impl RefreshStore for Broken {
    async fn insert(&self, id: FamilyId, mut family: Family, deadline: Instant) -> Result<(), StoreError> {
        let deadline = self.deadline(deadline);
        match self.fault {
            Fault::LosesTheStamp => family.security_stamp = None,
            Fault::NeverEndsUnused if family.idle_ttl < Duration::from_secs(1) => family.idle_ttl = family.absolute_ttl,
            Fault::EndsTooEarly => family.absolute_ttl = family.absolute_ttl.saturating_sub(Duration::from_millis(200)),
            _ => {}
        }
        self.families.insert(id, family, deadline).await
    }

    async fn find(&self, id: FamilyId, deadline: Instant) -> Result<Option<Family>, StoreError> {
        let deadline = self.deadline(deadline);
        let mut family = self.families.find(id, deadline).await?;
        let previous = family.as_mut().and_then(|family| family.previous.as_mut());
        if let Some(previous) = previous.filter(|_| self.has(Fault::TellsNoAge)) {
            *previous = Previous::new(previous.secret, previous.sealed_successor.clone(), Duration::ZERO);
        }
        if let Some(family) = family.as_mut().filter(|_| self.has(Fault::EndsTooEarly)) {
            family.absolute_ttl += Duration::from_millis(200);
        }
        Ok(family)
    }

    async fn rotate(
        &self,
        id: FamilyId,
        presented: SecretHash,
        next: Successor,
        deadline: Instant,
    ) -> Result<Rotation, StoreError> {
        let deadline = self.deadline(deadline);
        let Some(mut family) = self.families.find(id, deadline).await? else { return Ok(Rotation::Gone) };
        match self.fault {
            Fault::AcceptsAnySecret => self.families.rotate(id, family.current, next, deadline).await,
            Fault::LosesWhatWasSealed => {
                self.families.rotate(id, presented, Successor::new(next.secret), deadline).await
            }
            Fault::EndsTheFamilyOnMismatch if family.current != presented => {
                self.families.revoke(id, deadline).await?;
                Ok(Rotation::Mismatch)
            }
            Fault::ReadsThenWrites if family.current == presented => {
                tokio::task::yield_now().await;
                let Some(family) = self.families.find(id, deadline).await? else { return Ok(Rotation::Gone) };
                self.families.rotate(id, family.current, next, deadline).await
            }
            Fault::RotationUndoesRevocation if family.current == presented => {
                tokio::task::yield_now().await;
                match self.families.rotate(id, presented, next.clone(), deadline).await? {
                    Rotation::Gone => {
                        family.current = next.secret;
                        self.families.insert(id, family, deadline).await?;
                        Ok(Rotation::Rotated)
                    }
                    rotation => Ok(rotation),
                }
            }
            _ => self.families.rotate(id, presented, next, deadline).await,
        }
    }

    async fn revoke(&self, id: FamilyId, deadline: Instant) -> Result<(), StoreError> {
        let deadline = self.deadline(deadline);
        if self.has(Fault::NeverRevokes) { Ok(()) } else { self.families.revoke(id, deadline).await }
    }

    async fn revoke_subject(&self, subject: &str) -> Result<u64, StoreError> {
        match self.fault {
            Fault::RevokesSubjectsInPart => Ok(if subject.contains("nobody") { 0 } else { 4 }),
            Fault::CountsTooMany => Ok(self.families.revoke_subject(subject).await?.saturating_mul(2)),
            _ => self.families.revoke_subject(subject).await,
        }
    }
}

impl AttemptStore for Broken {
    async fn reserve(
        &self,
        mut key: AttemptKey,
        id: ReservationId,
        limit: AttemptLimit,
        deadline: Instant,
    ) -> Result<Reservation, StoreError> {
        let deadline = self.deadline(deadline);
        match self.fault {
            Fault::SharesKeys => key.0[15] = 0,
            Fault::ReadsThenWrites => {
                // Whether there is room is asked, forgotten, and asked no more.
                let answer = self.attempts.reserve(key, id, limit, deadline).await?;
                self.attempts.settle(key, id, limit, AttemptOutcome::Released, deadline).await?;
                tokio::task::yield_now().await;
                if answer == Reservation::Reserved {
                    let wide = AttemptLimit { failures: limit.failures + 100, ..limit };
                    return self.attempts.reserve(key, id, wide, deadline).await;
                }
                return Ok(answer);
            }
            _ => {}
        }
        let answer = self.attempts.reserve(key, id, limit, deadline).await?;
        match answer {
            Reservation::Busy if self.has(Fault::IgnoresOpenChecks) => Ok(Reservation::Reserved),
            Reservation::Held { .. } if self.has(Fault::HeldTriesCount) => {
                self.attempts.settle(key, id, limit, AttemptOutcome::Failed, deadline).await?;
                Ok(answer)
            }
            Reservation::Reserved => {
                self.open.lock().unwrap().push(id);
                Ok(answer)
            }
            _ => Ok(answer),
        }
    }

    async fn settle(
        &self,
        mut key: AttemptKey,
        id: ReservationId,
        limit: AttemptLimit,
        outcome: AttemptOutcome,
        deadline: Instant,
    ) -> Result<(), StoreError> {
        let deadline = self.deadline(deadline);
        let known = self.open.lock().unwrap().contains(&id);
        let outcome = match outcome {
            AttemptOutcome::Failed if self.has(Fault::IgnoresUnknownFailures) && !known => return Ok(()),
            AttemptOutcome::Succeeded if self.has(Fault::SuccessClearsNothing) => AttemptOutcome::Released,
            outcome => outcome,
        };
        if self.has(Fault::SharesKeys) {
            key.0[15] = 0;
        }
        self.attempts.settle(key, id, limit, outcome, deadline).await
    }

    fn abandon(&self, key: AttemptKey, id: ReservationId) {
        self.attempts.abandon(key, id);
    }
}

impl DenyList for Broken {
    async fn deny(&self, token_id: &str, ttl: Duration, deadline: Instant) -> Result<(), StoreError> {
        let deadline = self.deadline(deadline);
        match self.fault {
            Fault::ForgetsDenials => Ok(()),
            Fault::EndsTooEarly => self.denied.deny(token_id, ttl / 2, deadline).await,
            _ => self.denied.deny(token_id, ttl, deadline).await,
        }
    }

    fn is_denied(&self, token_id: &str) -> bool {
        self.has(Fault::DeniesAll) || self.denied.is_denied(token_id)
    }
}

/// Looks under one lock and writes under another, without an await between: only threads can see it.
#[derive(Default)]
pub struct RacingRefreshStore(MemoryRefreshStore);

impl RefreshStore for RacingRefreshStore {
    async fn insert(&self, id: FamilyId, family: Family, deadline: Instant) -> Result<(), StoreError> {
        self.0.insert(id, family, deadline).await
    }

    async fn find(&self, id: FamilyId, deadline: Instant) -> Result<Option<Family>, StoreError> {
        self.0.find(id, deadline).await
    }

    async fn rotate(
        &self,
        id: FamilyId,
        presented: SecretHash,
        next: Successor,
        deadline: Instant,
    ) -> Result<Rotation, StoreError> {
        match self.0.find(id, deadline).await? {
            None => Ok(Rotation::Gone),
            Some(family) if family.current != presented => Ok(Rotation::Mismatch),
            Some(_) => {
                // Wide enough for another thread to come in between.
                std::thread::sleep(Duration::from_millis(2));
                let Some(family) = self.0.find(id, deadline).await? else { return Ok(Rotation::Gone) };
                self.0.rotate(id, family.current, next, deadline).await
            }
        }
    }

    async fn revoke(&self, id: FamilyId, deadline: Instant) -> Result<(), StoreError> {
        self.0.revoke(id, deadline).await
    }

    async fn revoke_subject(&self, subject: &str) -> Result<u64, StoreError> {
        self.0.revoke_subject(subject).await
    }
}
