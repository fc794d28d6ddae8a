//! Where refresh token families live.

use std::{
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    error::{BoxFuture, StoreError},
    scope::Scope,
};

/// Names a family: all refresh tokens that came from one login. 16 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FamilyId(pub [u8; 16]);

impl fmt::Debug for FamilyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FamilyId")
    }
}

/// SHA-256 of a refresh token's secret. Stores hold nothing from which a token could be made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretHash(pub [u8; 32]);

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash")
    }
}

/// One family, as a store keeps it: a login costs one record, however often its token rotates.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Family {
    /// The hash of the one secret that is good now.
    pub current: SecretHash,
    /// The subject that logged in.
    pub subject: String,
    /// The client that the tokens are bound to.
    pub client_id: Option<String>,
    /// The scope that was granted at login.
    pub scope: Scope,
    /// The user's security stamp at login.
    pub security_stamp: Option<String>,
    /// How long the family lives from now on, used or not. On [`find`](RefreshStore::find): what is left of it.
    pub absolute_ttl: Duration,
    /// How long it lives unused. Each rotation starts it anew, within the absolute lifetime.
    pub idle_ttl: Duration,
    /// Set by the store once the token was rotated: the predecessor of `current`, for the grace period.
    pub previous: Option<Previous>,
}

impl Family {
    /// A family that begins now.
    #[must_use]
    pub fn new(current: SecretHash, subject: impl Into<String>, absolute_ttl: Duration, idle_ttl: Duration) -> Self {
        Self {
            current,
            subject: subject.into(),
            client_id: None,
            scope: Scope::empty(),
            security_stamp: None,
            absolute_ttl,
            idle_ttl,
            previous: None,
        }
    }
}

/// The token before the current one.
#[derive(Clone)]
#[non_exhaustive]
pub struct Previous {
    /// The hash of its secret.
    pub secret: SecretHash,
    /// The current secret, sealed under a key that only the holder of the previous token can derive. Empty where no
    /// grace period is configured.
    pub sealed_successor: Vec<u8>,
    /// How long ago it was rotated.
    pub age: Duration,
}

impl Previous {
    /// What a store says of the token before the current one.
    #[must_use]
    pub fn new(secret: SecretHash, sealed_successor: Vec<u8>, age: Duration) -> Self {
        Self { secret, sealed_successor, age }
    }
}

impl fmt::Debug for Previous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Who has the spent token could unseal what is sealed.
        f.debug_struct("Previous").field("age", &self.age).finish_non_exhaustive()
    }
}

/// What follows a token that was just used.
#[derive(Clone)]
#[non_exhaustive]
pub struct Successor {
    /// The hash of the new secret.
    pub secret: SecretHash,
    /// See [`Previous::sealed_successor`]; to be kept until the next rotation.
    pub sealed: Vec<u8>,
}

impl Successor {
    /// A new secret, with nothing kept for a grace period.
    #[must_use]
    pub fn new(secret: SecretHash) -> Self {
        Self { secret, sealed: Vec::new() }
    }

    /// Keeps the new secret sealed for a grace period.
    #[must_use]
    pub fn with_sealed(mut self, sealed: Vec<u8>) -> Self {
        self.sealed = sealed;
        self
    }
}

impl fmt::Debug for Successor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Successor").finish_non_exhaustive()
    }
}

/// How a rotation went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rotation {
    /// The presented secret was current; the successor is now.
    Rotated,
    /// The family is known, the presented secret is not current: the family was left as it is.
    Mismatch,
    /// The family is unknown, expired or revoked.
    Gone,
}

/// Keeps refresh token families.
///
/// # Contract
/// - Each call is one atomic step: of any number of `rotate` calls with one secret, at most one is answered
///   [`Rotation::Rotated`], also across processes.
/// - A family is gone once its absolute or its idle lifetime is over, or it was revoked; nothing brings it back. A
///   revocation that was answered `Ok` holds for every later call.
/// - Time is the store's own and does not follow steps of the wall clock of this machine.
/// - `deadline` is when the caller gives up: a call takes no effect after it, and one that comes late is an `Err`.
/// - An `Err` means that it is not known whether the call took effect.
/// - A future that is dropped may leave the call done or not done, never half done.
pub trait RefreshStore: Send + Sync + 'static {
    /// Begins a family.
    fn insert(
        &self,
        id: FamilyId,
        family: Family,
        deadline: Instant,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Looks a family up, without using it.
    fn find(&self, id: FamilyId, deadline: Instant) -> impl Future<Output = Result<Option<Family>, StoreError>> + Send;

    /// Replaces the current secret `presented` by `successor`, if it is current.
    fn rotate(
        &self,
        id: FamilyId,
        presented: SecretHash,
        successor: Successor,
        deadline: Instant,
    ) -> impl Future<Output = Result<Rotation, StoreError>> + Send;

    /// Ends a family. `Ok` also where there is none.
    fn revoke(&self, id: FamilyId, deadline: Instant) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Ends all families of a subject, and says how many there were. An application calls it, not a request: it takes
    /// the time that it needs.
    fn revoke_subject(&self, subject: &str) -> impl Future<Output = Result<u64, StoreError>> + Send;
}

impl<S: RefreshStore> RefreshStore for Arc<S> {
    fn insert(
        &self,
        id: FamilyId,
        family: Family,
        deadline: Instant,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        S::insert(self, id, family, deadline)
    }

    fn find(&self, id: FamilyId, deadline: Instant) -> impl Future<Output = Result<Option<Family>, StoreError>> + Send {
        S::find(self, id, deadline)
    }

    fn rotate(
        &self,
        id: FamilyId,
        presented: SecretHash,
        successor: Successor,
        deadline: Instant,
    ) -> impl Future<Output = Result<Rotation, StoreError>> + Send {
        S::rotate(self, id, presented, successor, deadline)
    }

    fn revoke(&self, id: FamilyId, deadline: Instant) -> impl Future<Output = Result<(), StoreError>> + Send {
        S::revoke(self, id, deadline)
    }

    fn revoke_subject(&self, subject: &str) -> impl Future<Output = Result<u64, StoreError>> + Send {
        S::revoke_subject(self, subject)
    }
}

/// `RefreshStore` with its futures boxed, so that the endpoint can hold any of them.
pub(crate) trait DynRefreshStore: Send + Sync {
    fn insert(&self, id: FamilyId, family: Family, deadline: Instant) -> BoxFuture<'_, Result<(), StoreError>>;
    fn find(&self, id: FamilyId, deadline: Instant) -> BoxFuture<'_, Result<Option<Family>, StoreError>>;
    fn rotate(
        &self,
        id: FamilyId,
        presented: SecretHash,
        successor: Successor,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Rotation, StoreError>>;
    fn revoke(&self, id: FamilyId, deadline: Instant) -> BoxFuture<'_, Result<(), StoreError>>;
    fn revoke_subject<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Result<u64, StoreError>>;
}

impl<S: RefreshStore> DynRefreshStore for S {
    fn insert(&self, id: FamilyId, family: Family, deadline: Instant) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(RefreshStore::insert(self, id, family, deadline))
    }

    fn find(&self, id: FamilyId, deadline: Instant) -> BoxFuture<'_, Result<Option<Family>, StoreError>> {
        Box::pin(RefreshStore::find(self, id, deadline))
    }

    fn rotate(
        &self,
        id: FamilyId,
        presented: SecretHash,
        successor: Successor,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Rotation, StoreError>> {
        Box::pin(RefreshStore::rotate(self, id, presented, successor, deadline))
    }

    fn revoke(&self, id: FamilyId, deadline: Instant) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(RefreshStore::revoke(self, id, deadline))
    }

    fn revoke_subject<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(RefreshStore::revoke_subject(self, subject))
    }
}
