//! Who is this? The question that the token endpoint asks, and the answers it understands.

use std::{fmt, future::Future, net::IpAddr, sync::Arc, time::Duration};

use serde_json::{Map, Value};

use crate::{
    error::{BoxError, BoxFuture, TokenError},
    scope::Scope,
    secret::Secret,
};

/// One attempt to log in, as the token endpoint read it from the request.
///
/// `username` and `password` hold only the characters of RFC 6749, appendix A (no control characters but TAB), not
/// trimmed, folded or normalised.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Login {
    /// The username as it was sent.
    pub username: String,
    /// The password as it was sent.
    pub password: Secret,
    /// The client, if one identified itself; it is authenticated already.
    pub client_id: Option<String>,
    /// Where the login comes from, if [`AttemptLimits`](crate::AttemptLimits) knows.
    pub client_address: Option<IpAddr>,
    /// The scope asked for, if any. A verifier need not look at it: what exceeds the scope of the [`Identity`] it
    /// answers with is refused. One that grants by what was asked for finds it here.
    pub scope: Option<Scope>,
}

impl Login {
    /// A login with a username and a password, and nothing else known.
    #[must_use]
    pub fn new(username: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self {
            username: username.into(),
            password: password.into(),
            client_id: None,
            client_address: None,
            scope: None,
        }
    }
}

/// A verifier's answer: this is who it is, or no.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// The credentials are right.
    Granted(Identity),
    /// The credentials are wrong, whatever the reason; the client is told `invalid_grant` and no more.
    Denied,
}

impl From<Identity> for Verdict {
    fn from(identity: Identity) -> Self {
        Self::Granted(identity)
    }
}

/// Who logged in, and what they may have.
///
/// ```
/// use tower_oauth2_password::Identity;
///
/// let alice = Identity::new("alice").with_scope("items:read items:write".parse()?).with_claim("tenant", "acme");
/// assert_eq!(alice.subject(), "alice");
/// # Ok::<(), tower_oauth2_password::InvalidScope>(())
/// ```
#[derive(Clone, Debug)]
pub struct Identity {
    subject: String,
    scope: Scope,
    claims: Map<String, Value>,
    security_stamp: Option<String>,
}

impl Identity {
    /// An identity with the `sub` that the access token will carry, and no scopes.
    #[must_use]
    pub fn new(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), scope: Scope::empty(), claims: Map::new(), security_stamp: None }
    }

    /// All the scopes that this user may have; a login may ask for fewer.
    #[must_use]
    pub fn with_scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Adds a claim to the access token. The payload is readable by whoever holds the token. Names that the issuer
    /// sets itself (`iss`, `sub`, `exp`, ...) are not replaced.
    #[must_use]
    pub fn with_claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.claims.insert(name.into(), value.into());
        self
    }

    /// A value that changes when the user's sessions must end, for instance on a password change. A refresh token
    /// issued under another stamp is refused.
    #[must_use]
    pub fn with_security_stamp(mut self, stamp: impl Into<String>) -> Self {
        self.security_stamp = Some(stamp.into());
        self
    }

    /// The `sub` of the access token.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// All the scopes that this user may have.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The additional claims.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// See [`with_security_stamp`](Self::with_security_stamp).
    #[must_use]
    pub fn security_stamp(&self) -> Option<&str> {
        self.security_stamp.as_deref()
    }
}

/// Why a verifier could give no verdict.
#[derive(Debug)]
#[non_exhaustive]
pub enum VerifyError {
    /// What the verifier needs is away: 503 `temporarily_unavailable`. The cause is logged, never shown.
    Unavailable(BoxError),
    /// No room to check another password now: 503 `temporarily_unavailable` with `retry-after`.
    Overloaded {
        /// How long the client should wait.
        retry_after: Duration,
    },
    /// A protocol error of the verifier's own, for instance `mfa_required`; sent as it is. It counts neither as a
    /// failed attempt nor as a success.
    Refused(TokenError),
}

impl VerifyError {
    /// What the verifier needs is away, with the cause for the log.
    pub fn unavailable(cause: impl Into<BoxError>) -> Self {
        Self::Unavailable(cause.into())
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(_) => f.write_str("the verifier's backend is unavailable"),
            Self::Overloaded { .. } => f.write_str("no room to check another password now"),
            Self::Refused(error) => write!(f, "refused: {error}"),
        }
    }
}

impl std::error::Error for VerifyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unavailable(cause) => Some(cause.as_ref()),
            Self::Overloaded { .. } => None,
            Self::Refused(error) => Some(error),
        }
    }
}

impl From<TokenError> for VerifyError {
    fn from(error: TokenError) -> Self {
        Self::Refused(error)
    }
}

/// Checks a username and a password.
///
/// Implemented by [`PasswordVerifier`](crate::PasswordVerifier), by closures `Fn(Login) -> impl Future`, and by `Arc`s
/// of verifiers. An implementation of one's own should take the same time for an unknown user as for a known one, and
/// must not block: hash on a pool as `PasswordVerifier` does.
pub trait Verifier: Send + Sync + 'static {
    /// Decides one login.
    fn verify(&self, login: Login) -> impl Future<Output = Result<Verdict, VerifyError>> + Send;

    /// Asked at each use of a refresh token: is `subject` still welcome, and what may they have now?
    ///
    /// The default denies, since a verifier that cannot say whether an account was closed must not extend its
    /// sessions: implement it to use refresh tokens.
    fn verify_subject(&self, subject: &str) -> impl Future<Output = Result<Verdict, VerifyError>> + Send {
        let _ = subject;
        std::future::ready(Ok(Verdict::Denied))
    }
}

impl<F, Fut> Verifier for F
where
    F: Fn(Login) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Verdict, VerifyError>> + Send,
{
    fn verify(&self, login: Login) -> impl Future<Output = Result<Verdict, VerifyError>> + Send {
        self(login)
    }
}

impl<V: Verifier> Verifier for Arc<V> {
    fn verify(&self, login: Login) -> impl Future<Output = Result<Verdict, VerifyError>> + Send {
        V::verify(self, login)
    }

    fn verify_subject(&self, subject: &str) -> impl Future<Output = Result<Verdict, VerifyError>> + Send {
        V::verify_subject(self, subject)
    }
}

/// `Verifier` with its futures boxed, so that the endpoint can hold any of them.
pub(crate) trait DynVerifier: Send + Sync {
    fn verify(&self, login: Login) -> BoxFuture<'_, Result<Verdict, VerifyError>>;
    fn verify_subject<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Result<Verdict, VerifyError>>;
}

impl<V: Verifier> DynVerifier for V {
    fn verify(&self, login: Login) -> BoxFuture<'_, Result<Verdict, VerifyError>> {
        Box::pin(Verifier::verify(self, login))
    }

    fn verify_subject<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Result<Verdict, VerifyError>> {
        Box::pin(Verifier::verify_subject(self, subject))
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    struct Echo;

    impl Verifier for Echo {
        async fn verify(&self, login: Login) -> Result<Verdict, VerifyError> {
            Ok(Identity::new(login.username).into())
        }

        async fn verify_subject(&self, subject: &str) -> Result<Verdict, VerifyError> {
            Ok(Identity::new(subject).into())
        }
    }

    fn subject(verdict: Result<Verdict, VerifyError>) -> Option<String> {
        match verdict.unwrap() {
            Verdict::Granted(identity) => Some(identity.subject().to_owned()),
            Verdict::Denied => None,
        }
    }

    #[tokio::test]
    async fn what_is_in_an_arc_is_asked() {
        let shared = Arc::new(Echo);
        assert_eq!(subject(Verifier::verify(&shared, Login::new("alice", "p")).await).as_deref(), Some("alice"));
        assert_eq!(subject(Verifier::verify_subject(&shared, "id").await).as_deref(), Some("id"));
    }

    #[tokio::test]
    async fn who_knows_logins_only_extends_no_session() {
        let closure = |login: Login| async move { Ok(Identity::new(login.username).into()) };
        assert_eq!(subject(Verifier::verify(&closure, Login::new("alice", "p")).await).as_deref(), Some("alice"));
        assert_eq!(subject(Verifier::verify_subject(&closure, "alice").await), None);
    }

    #[test]
    fn an_identity_says_what_it_was_given() {
        let plain = Identity::new("alice");
        assert_eq!((plain.scope().as_str(), plain.claims().len(), plain.security_stamp()), ("", 0, None));
        let full = plain.with_scope("a b".parse().unwrap()).with_claim("tenant", "acme").with_security_stamp("2");
        assert_eq!((full.scope().as_str(), full.security_stamp()), ("a b", Some("2")));
        assert_eq!(full.claims().get("tenant"), Some(&"acme".into()));
    }

    #[test]
    fn an_error_keeps_its_cause_for_the_log() {
        let away = VerifyError::unavailable("db.internal refused");
        assert_eq!(away.to_string(), "the verifier's backend is unavailable");
        assert_eq!(away.source().map(ToString::to_string).as_deref(), Some("db.internal refused"));
        let full = VerifyError::Overloaded { retry_after: Duration::from_secs(1) };
        assert_eq!(full.to_string(), "no room to check another password now");
        assert!(full.source().is_none());
        let refused = VerifyError::from(TokenError::custom("mfa_required", "A second factor is needed"));
        assert_eq!(refused.to_string(), "refused: mfa_required: A second factor is needed");
        assert!(refused.source().is_some_and(|cause| cause.is::<TokenError>()));
    }
}
