//! The store for access tokens that were revoked before they expired.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::StoreFuture;

/// How many tokens and sessions of one subject a list holds, so that nobody can fill it.
pub(super) const SHARE: usize = 100;

/// What the deny list needs to know of an access token.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tower_oauth2_password::store::TokenRef;
///
/// let now = SystemTime::now();
/// let mut token = TokenRef::new("alice");
/// assert!(token.is_from_before(now), "nobody knows when it was issued");
/// token.issued_at = Some(now + Duration::from_secs(1));
/// assert!(!token.is_from_before(now));
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TokenRef<'a> {
    /// The `jti`.
    pub id: Option<&'a str>,
    /// The `sid`: the session that it belongs to.
    pub session_id: Option<&'a str>,
    /// When the session began, which is exact, unlike `issued_at`.
    pub session_began: Option<SystemTime>,
    /// The `iss`.
    pub issuer: Option<&'a str>,
    /// The `sub`.
    pub subject: &'a str,
    /// The `iat`, in whole seconds.
    pub issued_at: Option<SystemTime>,
}

impl<'a> TokenRef<'a> {
    /// A token of this subject, and nothing else.
    pub fn new(subject: &'a str) -> Self {
        Self { id: None, session_id: None, session_began: None, issuer: None, subject, issued_at: None }
    }

    /// Whether it was issued before `end`. A token of the same second was, unless its session began later.
    pub fn is_from_before(&self, end: SystemTime) -> bool {
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let later_second = self.issued_at.is_some_and(|issued| seconds(issued) > seconds(end));
        !later_second && self.session_began.is_none_or(|began| began <= end)
    }
}

/// What is denied.
///
/// ```
/// use tower_oauth2_password::store::Denied;
///
/// assert_ne!(Denied::Token("jti-1"), Denied::Session("jti-1"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denied<'a> {
    /// The token with this `jti`.
    Token(&'a str),
    /// All tokens with this `sid`.
    Session(&'a str),
    /// All tokens of the subject that are [from before](TokenRef::is_from_before) this moment.
    SubjectBefore(SystemTime),
}

/// One entry of a deny list.
///
/// ```
/// use std::time::Duration;
/// use tower_oauth2_password::store::{Denial, Denied};
///
/// let denial = Denial::new(Denied::Token("jti-1"), None, "alice", Duration::from_secs(900));
/// assert_eq!((denial.subject, denial.ttl.as_secs()), ("alice", 900));
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Denial<'a> {
    /// What is denied.
    pub denied: Denied<'a>,
    /// The `iss` of the tokens.
    pub issuer: Option<&'a str>,
    /// The `sub` of the tokens.
    pub subject: &'a str,
    /// How long the list must remember it.
    pub ttl: Duration,
}

impl<'a> Denial<'a> {
    /// An entry of a list.
    pub fn new(denied: Denied<'a>, issuer: Option<&'a str>, subject: &'a str, ttl: Duration) -> Self {
        Self { denied, issuer, subject, ttl }
    }
}

/// Remembers which access tokens were revoked, until they would have expired.
///
/// # Contract
/// 1. Once `deny` returned true, `is_denied` is true for the tokens that it names: at once in this process, and within a
///    second in every process that shares the store.
/// 2. `is_denied` does not wait. The guard calls it on every request.
/// 3. Memory is bounded, and no subject can fill it: a list holds 100 tokens and sessions of each subject. `deny` returns
///    false for more, and the caller denies the subject instead, of which there is one entry, the latest.
/// 4. `deny` fails rather than forget a token that is still valid.
/// 5. `deny` has no effect after its `deadline`, and a call that comes later is an error.
///
/// ```
/// use std::{collections::HashSet, sync::RwLock, time::{Duration, Instant}};
/// use tower_oauth2_password::store::{Denial, Denied, DenyList, StoreFuture, TokenRef};
///
/// /// Knows tokens only, and never forgets: good for a test, and for nothing else.
/// #[derive(Default)]
/// struct Unbounded(RwLock<HashSet<String>>);
///
/// impl DenyList for Unbounded {
///     fn deny<'a>(&'a self, denial: Denial<'a>, _deadline: Instant) -> StoreFuture<'a, bool> {
///         Box::pin(async move {
///             let Denied::Token(id) = denial.denied else { return Err("tokens only".into()) };
///             self.0.write().map_err(|_| "a thread panicked")?.insert(id.to_owned());
///             Ok(true)
///         })
///     }
///
///     fn is_denied(&self, token: TokenRef<'_>) -> bool {
///         self.0.read().is_ok_and(|denied| token.id.is_some_and(|id| denied.contains(id)))
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let list = Unbounded::default();
/// let denial = Denial::new(Denied::Token("jti-1"), None, "alice", Duration::from_secs(900));
/// assert!(list.deny(denial, Instant::now()).await?);
/// let mut token = TokenRef::new("alice");
/// token.id = Some("jti-1");
/// assert!(list.is_denied(token) && !list.is_denied(TokenRef::new("alice")));
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `DenyList`",
    label = "expected `MemoryDenyList`, `RedisDenyList`, one of another package or your own"
)]
pub trait DenyList: Send + Sync + 'static {
    /// Remembers what is denied. False if the subject has used up its share.
    fn deny<'a>(&'a self, denial: Denial<'a>, deadline: Instant) -> StoreFuture<'a, bool>;

    /// Whether the token was revoked.
    fn is_denied(&self, token: TokenRef<'_>) -> bool;
}

impl<D: DenyList + ?Sized> DenyList for Arc<D> {
    fn deny<'a>(&'a self, denial: Denial<'a>, deadline: Instant) -> StoreFuture<'a, bool> {
        D::deny(self, denial, deadline)
    }

    fn is_denied(&self, token: TokenRef<'_>) -> bool {
        D::is_denied(self, token)
    }
}
