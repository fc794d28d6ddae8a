//! The store for refresh token families.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::StoreFuture;
use crate::scope::Scope;
use crate::secret::{debug_only, digest};

/// Identifies a family: all refresh tokens that descend from one login. 16 random bytes.
///
/// ```
/// use tower_oauth2_password::store::FamilyId;
///
/// assert_eq!(format!("{:?}", FamilyId([7; 16])), "FamilyId { .. }", "an id is enough to revoke a family");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FamilyId(pub [u8; 16]);

debug_only!(FamilyId {});

/// SHA-256 of a refresh token's secret. A store holds nothing that a token could be made from.
///
/// ```
/// use tower_oauth2_password::store::SecretHash;
///
/// assert_eq!(format!("{:?}", SecretHash([7; 32])), "SecretHash { .. }");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretHash(pub [u8; 32]);

debug_only!(SecretHash {});

/// What a login established. It stays as it is until the session ends, and a store may keep it as JSON.
///
/// ```
/// use tower_oauth2_password::store::Session;
///
/// let mut session = Session::default();
/// session.claims.insert("tenant".to_owned(), "acme".into());
/// let kept = serde_json::to_string(&session)?; // in a column of your table
/// assert_eq!(serde_json::from_str::<Session>(&kept)?, session);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Session {
    /// The `sid` of its access tokens. It is no secret: unlike a [`FamilyId`], it revokes nothing.
    pub id: String,
    /// The authorization server that the user logged in at. No other accepts the tokens.
    pub server: String,
    /// The subject that logged in.
    pub subject: String,
    /// The client that the tokens are bound to.
    pub client_id: Option<String>,
    /// The scope that was granted at login.
    pub scope: Scope,
    /// The user's security stamp at login.
    pub security_stamp: Option<String>,
    /// A name for people, if the verifier gave one.
    pub label: Option<String>,
    /// When the user logged in, in seconds since the Unix epoch (`auth_time` of RFC 9068, section 2.2.1).
    pub auth_time: u64,
    /// How the user logged in (`amr` of RFC 8176).
    pub amr: Vec<String>,
    /// Claims of the access tokens.
    pub claims: Map<String, Value>,
}

/// One family: a login takes one record, however often its token rotates.
///
/// ```
/// use std::time::Duration;
/// use tower_oauth2_password::store::{Family, SecretHash};
///
/// let hour = Duration::from_secs(3_600);
/// let family = Family::new(SecretHash([7; 32]), "alice", 24 * hour, hour);
/// assert_eq!((family.session.subject.as_str(), family.idle_ttl), ("alice", hour));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct Family {
    /// The hash of the one secret that is valid now.
    pub current: SecretHash,
    /// What the login established.
    pub session: Session,
    /// The time since the login was verified, to about a millisecond. [`insert`](RefreshStore::insert) is given it, too.
    pub age: Duration,
    /// The time since the last use. The store sets it.
    pub unused_for: Duration,
    /// How long the family lives from now on, used or not. [`find`](RefreshStore::find) returns what is left of it.
    pub absolute_ttl: Duration,
    /// How long the family lives unused. Each rotation restarts it, within the absolute lifetime.
    pub idle_ttl: Duration,
    /// The predecessor of `current`, for the grace period. The store sets it at each rotation.
    pub previous: Option<Previous>,
}

impl Family {
    /// A family that begins now.
    pub fn new(current: SecretHash, subject: impl Into<String>, absolute_ttl: Duration, idle_ttl: Duration) -> Self {
        Self {
            current,
            session: Session { subject: subject.into(), ..Session::default() },
            age: Duration::ZERO,
            unused_for: Duration::ZERO,
            absolute_ttl,
            idle_ttl,
            previous: None,
        }
    }
}

/// The token before the current one.
///
/// ```
/// use tower_oauth2_password::store::{Previous, SecretHash};
///
/// let previous = Previous::new(SecretHash([7; 32]), vec![7]);
/// assert_eq!(format!("{previous:?}"), "Previous { .. }", "its holder could open the seal");
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Previous {
    /// The hash of its secret.
    pub secret: SecretHash,
    /// The current secret, sealed with a key that only the holder of the previous token can derive. Empty if there is no
    /// grace period.
    pub sealed_successor: Vec<u8>,
}

impl Previous {
    /// A token by the hash of its secret, and its successor's secret, sealed.
    pub fn new(secret: SecretHash, sealed_successor: Vec<u8>) -> Self {
        Self { secret, sealed_successor }
    }
}

debug_only!(Previous {});

/// How long a subject's end is remembered. No login takes longer to reach the store.
pub(super) const END_KEPT: Duration = Duration::from_secs(300);

/// A subject of one server, which is another than the same subject of another server.
///
/// ```
/// use tower_oauth2_password::store::SubjectRef;
///
/// let alice = SubjectRef::new("https://api.example api", "alice");
/// assert_eq!((alice.server, alice.subject), ("https://api.example api", "alice"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubjectRef<'a> {
    /// [`Session::server`].
    pub server: &'a str,
    /// [`Session::subject`].
    pub subject: &'a str,
}

impl<'a> SubjectRef<'a> {
    /// This subject of this server.
    pub fn new(server: &'a str, subject: &'a str) -> Self {
        Self { server, subject }
    }

    /// Its key in an index.
    pub(super) fn key(&self) -> [u8; 16] {
        digest("subject", &[self.server, self.subject])
    }
}

/// The result of a rotation.
///
/// ```
/// use tower_oauth2_password::store::Rotation;
///
/// assert_ne!(Rotation::Mismatch, Rotation::Gone);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rotation {
    /// The presented secret was current, and the successor is now.
    Rotated,
    /// The family exists, but the presented secret is not current. The family is unchanged.
    Mismatch,
    /// The family is unknown, expired or revoked.
    Gone,
}

/// Stores refresh token families.
///
/// # Contract
/// 1. Each call is one atomic step, also across processes: of all `rotate` calls with one secret, at most one returns
///    [`Rotation::Rotated`].
/// 2. A family ends with its absolute or its idle lifetime, or when it is revoked. Nothing brings it back. Once `revoke`
///    returned `Ok`, every later call sees it.
/// 3. Time is the store's own, and does not follow steps of this machine's wall clock.
/// 4. A call has no effect after its `deadline`, and one that comes later is an error.
/// 5. After an error it is unknown whether the call took effect.
/// 6. When a future is dropped, the call is done or not done, never half done.
/// 7. A subject of one server is another than the same subject of another server.
/// 8. `revoke_subject` ends logins in progress, too: for five minutes, `insert` refuses a family whose
///    [`age`](Family::age) says that it was verified before.
/// 9. `insert` revokes the oldest families of the subject if there are more than `limit`. Logins at the same moment may
///    exceed it.
///
/// ```
/// use std::{sync::Arc, time::{Duration, Instant}};
/// use tower_oauth2_password::store::{Family, FamilyId, MemoryRefreshStore, Previous, RefreshStore, Rotation, SecretHash};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let store: Arc<dyn RefreshStore> = Arc::new(MemoryRefreshStore::new()); // or your own
/// let (id, first, second) = (FamilyId([7; 16]), SecretHash([1; 32]), SecretHash([2; 32]));
/// let (day, soon) = (Duration::from_secs(86_400), Instant::now() + Duration::from_millis(500));
///
/// assert!(store.insert(id, Family::new(first, "alice", day, day), 100, soon).await?);
/// assert_eq!(store.rotate(id, Previous::new(first, Vec::new()), second, soon).await?, Rotation::Rotated);
/// assert_eq!(store.rotate(id, Previous::new(first, Vec::new()), second, soon).await?, Rotation::Mismatch, "used before");
/// store.revoke(id, soon).await?;
/// assert!(store.find(id, soon).await?.is_none());
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `RefreshStore`",
    label = "expected `MemoryRefreshStore`, `RedisRefreshStore`, one of another package or your own"
)]
pub trait RefreshStore: Send + Sync + 'static {
    /// Begins a family, the newest of at most `limit` that the subject may have. False if the subject's sessions were
    /// ended since the login was verified.
    fn insert(&self, id: FamilyId, family: Family, limit: usize, deadline: Instant) -> StoreFuture<'_, bool>;

    /// Returns a family, and does not count as a use.
    fn find(&self, id: FamilyId, deadline: Instant) -> StoreFuture<'_, Option<Family>>;

    /// Makes the secret `new` current, and `old` the [previous](Family::previous) one, if `old` is current.
    fn rotate(&self, id: FamilyId, old: Previous, new: SecretHash, deadline: Instant) -> StoreFuture<'_, Rotation>;

    /// Ends a family. An unknown one is no error.
    fn revoke(&self, id: FamilyId, deadline: Instant) -> StoreFuture<'_, ()>;

    /// Ends all families of a subject of this server but one, and returns how many there were. Applications call it outside
    /// requests, so it has no deadline.
    fn revoke_subject<'a>(&'a self, subject: SubjectRef<'a>, except: Option<FamilyId>) -> StoreFuture<'a, u64>;

    /// Returns the families of a subject of this server, the newest first, and does not count as a use.
    fn list<'a>(&'a self, subject: SubjectRef<'a>, deadline: Instant) -> StoreFuture<'a, Vec<(FamilyId, Family)>>;
}

impl<S: RefreshStore + ?Sized> RefreshStore for Arc<S> {
    fn insert(&self, id: FamilyId, family: Family, limit: usize, deadline: Instant) -> StoreFuture<'_, bool> {
        S::insert(self, id, family, limit, deadline)
    }

    fn find(&self, id: FamilyId, deadline: Instant) -> StoreFuture<'_, Option<Family>> {
        S::find(self, id, deadline)
    }

    fn rotate(&self, id: FamilyId, old: Previous, new: SecretHash, deadline: Instant) -> StoreFuture<'_, Rotation> {
        S::rotate(self, id, old, new, deadline)
    }

    fn revoke(&self, id: FamilyId, deadline: Instant) -> StoreFuture<'_, ()> {
        S::revoke(self, id, deadline)
    }

    fn revoke_subject<'a>(&'a self, subject: SubjectRef<'a>, except: Option<FamilyId>) -> StoreFuture<'a, u64> {
        S::revoke_subject(self, subject, except)
    }

    fn list<'a>(&'a self, subject: SubjectRef<'a>, deadline: Instant) -> StoreFuture<'a, Vec<(FamilyId, Family)>> {
        S::list(self, subject, deadline)
    }
}
