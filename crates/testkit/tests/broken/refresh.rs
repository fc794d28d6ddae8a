//! Refresh stores with one fault each, built around the memory store.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use tower_oauth2_password::{
    BoxError, Scope,
    store::{
        Family, FamilyId, MemoryRefreshStore, Previous, RefreshStore, Rotation, SecretHash, StoreFuture, SubjectRef,
    },
};

const HOUR: Duration = Duration::from_secs(3_600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    AcceptsAnySecret,
    AnswersMismatchForGone,
    BeginsWithAPredecessor,
    ChangesAByte,
    CountsNobodys,
    CountsAllServers,
    CountsTooMany,
    CutsClientsAtBars,
    CutsServersAtLines,
    EndsTheFamilyOnMismatch,
    EndsLoginsThatWait,
    EndsTooEarly,
    HalfDoneWhenDropped,
    IgnoresDeadlines,
    InventsFamilies,
    KeepsAsciiStamps,
    IgnoresEndedSubjects,
    IgnoresServers,
    KeepsAllSessions,
    KeepsFlatClaims,
    KeepsLifetimesAs32Bits,
    KeepsNumbersAsFloats,
    KeepsOneLifetime,
    ListsTheNewestOnly,
    ListsTheOldestFirst,
    LookingIsUse,
    LosesLongClaims,
    LosesThePredecessor,
    LosesTheScope,
    LosesTheServer,
    LosesTheSession,
    LosesTheStamp,
    LosesTheSuccessor,
    LosesWhatWasSealed,
    MismatchReplacesThePredecessor,
    MismatchReplacesWhatWasSealed,
    NamesAnotherPredecessor,
    NeverEnds,
    NeverEndsUnused,
    NeverRevokes,
    ReadsThenWrites,
    RevokesOthersToo,
    RevokesTheExceptionToo,
    RevokesSubjectsInPart,
    RotationUndoesRevocation,
    SharesFamilies,
    TellsNoAge,
    TellsNoLogin,
    TellsTheWholeLifetime,
    UseExtendsTheLifetime,
    UseLeavesTheIdleLifetime,
    UsesUp,
}

pub struct BrokenRefreshStore {
    fault: Fault,
    families: MemoryRefreshStore,
    /// When families with an idle lifetime expire.
    unused: Mutex<HashMap<FamilyId, Instant>>,
    /// What `find` returns as the predecessor instead of the true one.
    predecessors: Mutex<HashMap<FamilyId, (SecretHash, Vec<u8>)>>,
}

pub fn broken(fault: Fault) -> BrokenRefreshStore {
    BrokenRefreshStore {
        fault,
        families: MemoryRefreshStore::new(),
        unused: Mutex::default(),
        predecessors: Mutex::default(),
    }
}

impl BrokenRefreshStore {
    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn deadline(&self, given: Instant) -> Instant {
        if self.has(Fault::IgnoresDeadlines) { Instant::now() + Duration::from_secs(1) } else { given }
    }

    fn key(&self, mut id: FamilyId) -> FamilyId {
        if self.has(Fault::SharesFamilies) {
            id.0[15] &= !1;
        }
        id
    }

    async fn replace(&self, id: FamilyId, family: Family, deadline: Instant) -> Result<bool, BoxError> {
        self.families.revoke(id, deadline).await?;
        self.families.insert(id, family, 100, deadline).await
    }

    fn is_over(&self, id: FamilyId) -> bool {
        self.has(Fault::UseLeavesTheIdleLifetime)
            && self.unused.lock().unwrap().get(&id).is_some_and(|&end| Instant::now() > end)
    }
}

impl RefreshStore for BrokenRefreshStore {
    fn insert(&self, id: FamilyId, mut family: Family, mut limit: usize, deadline: Instant) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            let (id, deadline) = (self.key(id), self.deadline(deadline));
            match self.fault {
                Fault::ChangesAByte => {
                    for byte in family.current.0.iter_mut().filter(|byte| **byte == 0xC3) {
                        *byte = b'?';
                    }
                }
                Fault::CutsClientsAtBars => {
                    family.session.client_id =
                        family.session.client_id.map(|id| id.chars().take_while(|&char| char != '|').collect());
                }
                Fault::EndsTooEarly => {
                    family.absolute_ttl = family.absolute_ttl.saturating_sub(Duration::from_millis(200))
                }
                Fault::KeepsAsciiStamps => {
                    family.session.security_stamp =
                        family.session.security_stamp.map(|stamp| stamp.chars().filter(char::is_ascii).collect());
                }
                Fault::KeepsOneLifetime => family.idle_ttl = family.absolute_ttl,
                Fault::KeepsFlatClaims => {
                    family.session.claims.values_mut().filter(|claim| claim.is_object()).for_each(|claim| {
                        *claim = claim.to_string().into();
                    });
                }
                Fault::KeepsNumbersAsFloats => {
                    let claims = family.session.claims.values_mut().filter_map(|claim| claim.as_object_mut());
                    let numbers = claims.flat_map(|claims| claims.values_mut()).filter(|claim| claim.is_number());
                    numbers.for_each(|number| *number = number.as_f64().into());
                }
                Fault::LosesLongClaims => {
                    family.session.claims.retain(|_, claim| claim.as_str().is_none_or(|text| text.len() < 1_024));
                }
                Fault::KeepsLifetimesAs32Bits => {
                    let most = Duration::from_millis(i32::MAX as u64);
                    family.absolute_ttl = family.absolute_ttl.min(most);
                }
                Fault::CountsAllServers if limit == 10 => {
                    let session = SubjectRef::new("https://login.example api", &family.session.subject);
                    let waiting = SubjectRef::new(&family.session.server, &family.session.subject);
                    if self.families.list(waiting, deadline).await?.len() + 1 == limit {
                        self.families.revoke_subject(session, None).await?;
                    }
                }
                Fault::EndsLoginsThatWait if limit == 2 => {
                    let server = format!("{}\nsecond factor", family.session.server);
                    self.families.revoke_subject(SubjectRef::new(&server, &family.session.subject), None).await?;
                }
                Fault::LosesTheScope => family.session.scope = Scope::empty(),
                Fault::LosesTheStamp => family.session.security_stamp = None,
                Fault::LosesTheServer | Fault::IgnoresServers => family.session.server.clear(),
                Fault::LosesTheSession => family.session.claims.clear(),
                Fault::IgnoresEndedSubjects if family.age > Duration::from_secs(10) => family.age = Duration::ZERO,
                Fault::KeepsAllSessions => limit = 1_000,
                Fault::NeverEnds if family.absolute_ttl < Duration::from_secs(1) => family.absolute_ttl = HOUR,
                Fault::NeverEndsUnused if family.idle_ttl < Duration::from_secs(1) => {
                    family.idle_ttl = family.absolute_ttl
                }
                Fault::UseLeavesTheIdleLifetime => {
                    self.unused.lock().unwrap().insert(id, Instant::now() + family.idle_ttl);
                }
                _ => {}
            }
            if self.has(Fault::SharesFamilies) {
                return self.replace(id, family, deadline).await;
            }
            self.families.insert(id, family, limit, deadline).await
        })
    }

    fn find(&self, id: FamilyId, deadline: Instant) -> StoreFuture<'_, Option<Family>> {
        Box::pin(async move {
            let (id, deadline) = (self.key(id), self.deadline(deadline));
            let Some(mut family) = self.families.find(id, deadline).await? else {
                let invented = Family::new(SecretHash([0; 32]), "somebody", HOUR, HOUR);
                return Ok(self.has(Fault::InventsFamilies).then_some(invented));
            };
            if self.is_over(id) {
                return Ok(None);
            }
            if self.has(Fault::IgnoresServers) {
                family.session.server = "https://login.example api".to_owned();
            }
            if let Some((secret, sealed)) = self.predecessors.lock().unwrap().get(&id).cloned() {
                family.previous = family.previous.map(|_| Previous::new(secret, sealed));
            }
            match self.fault {
                Fault::BeginsWithAPredecessor if family.previous.is_none() => {
                    family.previous = Some(Previous::new(SecretHash([0; 32]), Vec::new()));
                }
                Fault::EndsTooEarly => family.absolute_ttl += Duration::from_millis(200),
                Fault::LookingIsUse if family.previous.is_none() => {
                    self.replace(id, family.clone(), deadline).await?;
                }
                Fault::TellsNoLogin => family.age = Duration::ZERO,
                Fault::LosesThePredecessor => family.previous = None,
                Fault::NamesAnotherPredecessor => {
                    family.previous =
                        family.previous.map(|previous| Previous::new(SecretHash([0; 32]), previous.sealed_successor));
                }
                Fault::TellsNoAge => family.unused_for = Duration::ZERO,
                Fault::TellsTheWholeLifetime => family.absolute_ttl = HOUR,
                Fault::UsesUp => self.families.revoke(id, deadline).await?,
                _ => {}
            }
            Ok(Some(family))
        })
    }

    fn rotate(&self, id: FamilyId, old: Previous, next: SecretHash, deadline: Instant) -> StoreFuture<'_, Rotation> {
        Box::pin(async move {
            let (id, deadline) = (self.key(id), self.deadline(deadline));
            let Some(mut family) = self.families.find(id, deadline).await? else {
                return Ok(if self.has(Fault::AnswersMismatchForGone) { Rotation::Mismatch } else { Rotation::Gone });
            };
            if self.is_over(id) {
                return Ok(Rotation::Gone);
            }
            let current = family.current == old.secret;
            match self.fault {
                Fault::None => {
                    // A call that is dropped here has no effect.
                    tokio::task::yield_now().await;
                    self.families.rotate(id, old, next, deadline).await
                }
                Fault::AcceptsAnySecret => {
                    self.families.rotate(id, Previous::new(family.current, old.sealed_successor), next, deadline).await
                }
                Fault::LosesWhatWasSealed => {
                    self.families.rotate(id, Previous::new(old.secret, Vec::new()), next, deadline).await
                }
                Fault::LosesTheSuccessor if current => Ok(Rotation::Rotated),
                Fault::EndsTheFamilyOnMismatch if !current => {
                    self.families.revoke(id, deadline).await?;
                    Ok(Rotation::Mismatch)
                }
                Fault::MismatchReplacesThePredecessor | Fault::MismatchReplacesWhatWasSealed if !current => {
                    if let Some(previous) = family.previous {
                        let told = match self.fault {
                            Fault::MismatchReplacesThePredecessor => (old.secret, previous.sealed_successor),
                            _ => (previous.secret, old.sealed_successor),
                        };
                        self.predecessors.lock().unwrap().insert(id, told);
                    }
                    Ok(Rotation::Mismatch)
                }
                Fault::HalfDoneWhenDropped if current => {
                    self.predecessors.lock().unwrap().insert(id, (old.secret, Vec::new()));
                    let rotation = self.families.rotate(id, old, next, deadline).await;
                    tokio::task::yield_now().await;
                    self.predecessors.lock().unwrap().remove(&id);
                    rotation
                }
                Fault::ReadsThenWrites if current => {
                    tokio::task::yield_now().await;
                    let Some(family) = self.families.find(id, deadline).await? else { return Ok(Rotation::Gone) };
                    self.families.rotate(id, Previous::new(family.current, old.sealed_successor), next, deadline).await
                }
                Fault::RotationUndoesRevocation if current => {
                    tokio::task::yield_now().await;
                    match self.families.rotate(id, old, next, deadline).await? {
                        Rotation::Gone => {
                            family.current = next;
                            self.replace(id, family, deadline).await?;
                            Ok(Rotation::Rotated)
                        }
                        rotation => Ok(rotation),
                    }
                }
                Fault::UseExtendsTheLifetime if current && family.absolute_ttl < Duration::from_secs(1) => {
                    family.current = next;
                    family.absolute_ttl = Duration::from_secs(1);
                    self.replace(id, family, deadline).await?;
                    Ok(Rotation::Rotated)
                }
                _ => self.families.rotate(id, old, next, deadline).await,
            }
        })
    }

    fn revoke(&self, id: FamilyId, deadline: Instant) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let (id, deadline) = (self.key(id), self.deadline(deadline));
            if self.has(Fault::NeverRevokes) { Ok(()) } else { self.families.revoke(id, deadline).await }
        })
    }

    fn revoke_subject<'a>(&'a self, subject: SubjectRef<'a>, except: Option<FamilyId>) -> StoreFuture<'a, u64> {
        Box::pin(async move {
            match self.fault {
                Fault::IgnoresServers => {
                    self.families.revoke_subject(SubjectRef::new("", subject.subject), except).await
                }
                Fault::CutsServersAtLines => {
                    let mut ended = 0;
                    let base = subject.server.split('\n').next().unwrap_or_default();
                    for kind in ["", "\nsecond factor", "\ntrusted devices"] {
                        let server = format!("{base}{kind}");
                        let subject = SubjectRef::new(&server, subject.subject);
                        ended += self.families.revoke_subject(subject, except).await?;
                    }
                    Ok(ended)
                }
                Fault::RevokesSubjectsInPart => Ok(if subject.subject.contains("nobody") { 0 } else { 4 }),
                Fault::CountsTooMany => Ok(self.families.revoke_subject(subject, except).await?.saturating_mul(2)),
                Fault::CountsNobodys => Ok(self.families.revoke_subject(subject, except).await?.max(1)),
                Fault::RevokesTheExceptionToo => self.families.revoke_subject(subject, None).await,
                Fault::RevokesOthersToo => {
                    self.families
                        .revoke_subject(SubjectRef::new(subject.server, &format!("{} ", subject.subject)), except)
                        .await?;
                    self.families.revoke_subject(subject, except).await
                }
                _ => self.families.revoke_subject(subject, except).await,
            }
        })
    }

    fn list<'a>(&'a self, subject: SubjectRef<'a>, deadline: Instant) -> StoreFuture<'a, Vec<(FamilyId, Family)>> {
        Box::pin(async move {
            let (mut subject, deadline) = (subject, self.deadline(deadline));
            if self.has(Fault::IgnoresServers) {
                subject.server = "";
            }
            let mut families = self.families.list(subject, deadline).await?;
            match self.fault {
                Fault::ListsTheOldestFirst => families.reverse(),
                Fault::ListsTheNewestOnly => families.truncate(1),
                _ => {}
            }
            Ok(families)
        })
    }
}

/// Reads under one lock and writes under another, without an await in between: only threads can expose it.
#[derive(Default)]
pub struct RacingRefreshStore(MemoryRefreshStore);

impl RefreshStore for RacingRefreshStore {
    fn insert(&self, id: FamilyId, family: Family, limit: usize, deadline: Instant) -> StoreFuture<'_, bool> {
        Box::pin(async move { self.0.insert(id, family, limit, deadline).await })
    }

    fn find(&self, id: FamilyId, deadline: Instant) -> StoreFuture<'_, Option<Family>> {
        Box::pin(async move { self.0.find(id, deadline).await })
    }

    fn rotate(&self, id: FamilyId, old: Previous, next: SecretHash, deadline: Instant) -> StoreFuture<'_, Rotation> {
        Box::pin(async move {
            match self.0.find(id, deadline).await? {
                None => Ok(Rotation::Gone),
                Some(family) if family.current != old.secret => Ok(Rotation::Mismatch),
                Some(_) => {
                    // A gap wide enough for another thread.
                    std::thread::sleep(Duration::from_millis(2));
                    let Some(family) = self.0.find(id, deadline).await? else { return Ok(Rotation::Gone) };
                    self.0.rotate(id, Previous::new(family.current, old.sealed_successor), next, deadline).await
                }
            }
        })
    }

    fn revoke(&self, id: FamilyId, deadline: Instant) -> StoreFuture<'_, ()> {
        Box::pin(async move { self.0.revoke(id, deadline).await })
    }

    fn revoke_subject<'a>(&'a self, subject: SubjectRef<'a>, except: Option<FamilyId>) -> StoreFuture<'a, u64> {
        Box::pin(async move { self.0.revoke_subject(subject, except).await })
    }

    fn list<'a>(&'a self, subject: SubjectRef<'a>, deadline: Instant) -> StoreFuture<'a, Vec<(FamilyId, Family)>> {
        Box::pin(async move { self.0.list(subject, deadline).await })
    }
}
