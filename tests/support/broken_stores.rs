//! Stores with one fault each, around those in memory.

use std::{sync::Mutex, time::Duration};

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
}

impl RefreshStore for Broken {
    async fn insert(&self, id: FamilyId, mut family: Family) -> Result<(), StoreError> {
        match self.fault {
            Fault::LosesTheStamp => family.security_stamp = None,
            Fault::NeverEndsUnused if family.idle_ttl < Duration::from_secs(1) => family.idle_ttl = family.absolute_ttl,
            Fault::EndsTooEarly => family.absolute_ttl = family.absolute_ttl.saturating_sub(Duration::from_millis(200)),
            _ => {}
        }
        self.families.insert(id, family).await
    }

    async fn find(&self, id: FamilyId) -> Result<Option<Family>, StoreError> {
        let mut family = self.families.find(id).await?;
        let previous = family.as_mut().and_then(|family| family.previous.as_mut());
        if let Some(previous) = previous.filter(|_| self.has(Fault::TellsNoAge)) {
            *previous = Previous::new(previous.secret, previous.sealed_successor.clone(), Duration::ZERO);
        }
        if let Some(family) = family.as_mut().filter(|_| self.has(Fault::EndsTooEarly)) {
            family.absolute_ttl += Duration::from_millis(200);
        }
        Ok(family)
    }

    async fn rotate(&self, id: FamilyId, presented: SecretHash, next: Successor) -> Result<Rotation, StoreError> {
        let Some(mut family) = self.families.find(id).await? else { return Ok(Rotation::Gone) };
        match self.fault {
            Fault::AcceptsAnySecret => self.families.rotate(id, family.current, next).await,
            Fault::LosesWhatWasSealed => self.families.rotate(id, presented, Successor::new(next.secret)).await,
            Fault::EndsTheFamilyOnMismatch if family.current != presented => {
                self.families.revoke(id).await?;
                Ok(Rotation::Mismatch)
            }
            Fault::ReadsThenWrites if family.current == presented => {
                tokio::task::yield_now().await;
                let Some(family) = self.families.find(id).await? else { return Ok(Rotation::Gone) };
                self.families.rotate(id, family.current, next).await
            }
            Fault::RotationUndoesRevocation if family.current == presented => {
                tokio::task::yield_now().await;
                match self.families.rotate(id, presented, next.clone()).await? {
                    Rotation::Gone => {
                        family.current = next.secret;
                        self.families.insert(id, family).await?;
                        Ok(Rotation::Rotated)
                    }
                    rotation => Ok(rotation),
                }
            }
            _ => self.families.rotate(id, presented, next).await,
        }
    }

    async fn revoke(&self, id: FamilyId) -> Result<(), StoreError> {
        if self.has(Fault::NeverRevokes) { Ok(()) } else { self.families.revoke(id).await }
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
    ) -> Result<Reservation, StoreError> {
        match self.fault {
            Fault::SharesKeys => key.0[15] = 0,
            Fault::ReadsThenWrites => {
                // Whether there is room is asked, forgotten, and asked no more.
                let answer = self.attempts.reserve(key, id, limit).await?;
                self.attempts.settle(key, id, limit, AttemptOutcome::Released).await?;
                tokio::task::yield_now().await;
                if answer == Reservation::Reserved {
                    let wide = AttemptLimit { failures: limit.failures + 100, ..limit };
                    return self.attempts.reserve(key, id, wide).await;
                }
                return Ok(answer);
            }
            _ => {}
        }
        let answer = self.attempts.reserve(key, id, limit).await?;
        match answer {
            Reservation::Busy if self.has(Fault::IgnoresOpenChecks) => Ok(Reservation::Reserved),
            Reservation::Held { .. } if self.has(Fault::HeldTriesCount) => {
                self.attempts.settle(key, id, limit, AttemptOutcome::Failed).await?;
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
    ) -> Result<(), StoreError> {
        let known = self.open.lock().unwrap().contains(&id);
        let outcome = match outcome {
            AttemptOutcome::Failed if self.has(Fault::IgnoresUnknownFailures) && !known => return Ok(()),
            AttemptOutcome::Succeeded if self.has(Fault::SuccessClearsNothing) => AttemptOutcome::Released,
            outcome => outcome,
        };
        if self.has(Fault::SharesKeys) {
            key.0[15] = 0;
        }
        self.attempts.settle(key, id, limit, outcome).await
    }

    fn abandon(&self, key: AttemptKey, id: ReservationId) {
        self.attempts.abandon(key, id);
    }
}

impl DenyList for Broken {
    async fn deny(&self, token_id: &str, ttl: Duration) -> Result<(), StoreError> {
        match self.fault {
            Fault::ForgetsDenials => Ok(()),
            Fault::EndsTooEarly => self.denied.deny(token_id, ttl / 2).await,
            _ => self.denied.deny(token_id, ttl).await,
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
    async fn insert(&self, id: FamilyId, family: Family) -> Result<(), StoreError> {
        self.0.insert(id, family).await
    }

    async fn find(&self, id: FamilyId) -> Result<Option<Family>, StoreError> {
        self.0.find(id).await
    }

    async fn rotate(&self, id: FamilyId, presented: SecretHash, next: Successor) -> Result<Rotation, StoreError> {
        match self.0.find(id).await? {
            None => Ok(Rotation::Gone),
            Some(family) if family.current != presented => Ok(Rotation::Mismatch),
            Some(_) => {
                // Wide enough for another thread to come in between.
                std::thread::sleep(Duration::from_millis(2));
                let Some(family) = self.0.find(id).await? else { return Ok(Rotation::Gone) };
                self.0.rotate(id, family.current, next).await
            }
        }
    }

    async fn revoke(&self, id: FamilyId) -> Result<(), StoreError> {
        self.0.revoke(id).await
    }

    async fn revoke_subject(&self, subject: &str) -> Result<u64, StoreError> {
        self.0.revoke_subject(subject).await
    }
}
