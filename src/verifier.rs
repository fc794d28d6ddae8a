//! What the token endpoint asks of the app: is this login good, and for which user?
//!
//! 1. [`Verifier::verify`] decides one login. [`Verdict::Denied`] is a wrong username or password, whatever the reason.
//! 2. An error is an outage: the client gets a 503, and the attempt counts neither as a failure nor as a success. A
//!    [`TokenError`](crate::TokenError) is the exception. It is sent as it is, for instance as `mfa_required`.
//! 3. [`Verifier::verify_subject`] is asked at each refresh, so an account that was closed ends its sessions.

use std::{future::ready, net::IpAddr, sync::Arc, time::Duration};

use http::HeaderName;
use serde_json::{Map, Value};

use crate::error::{BoxError, BoxFuture};
use crate::observe;
use crate::scope::Scope;
use crate::secret::{Secret, debug_only};

/// One attempt to log in.
///
/// `username` and `password` are as they were sent: not trimmed, folded or normalised, unless
/// [`with_usernames`](crate::AuthorizationServer::with_usernames) says how usernames are spelled. They hold only the characters of
/// RFC 6749, appendix A, so no control characters but TAB.
///
/// ```
/// use tower_oauth2_password::Login;
///
/// let login = Login::new("alice", "wonderland123");
/// assert_eq!((login.username.as_str(), login.password.expose()), ("alice", "wonderland123"));
/// assert!(login.client_id.is_none());
/// ```
#[derive(Clone)]
#[non_exhaustive]
#[must_use]
pub struct Login {
    /// The username.
    pub username: String,
    /// The password.
    pub password: Secret,
    /// The client, if there is one. It has been authenticated already.
    pub client_id: Option<String>,
    /// The address that the login comes from, as it is, if [`AttemptLimits`](crate::AttemptLimits) know it.
    pub client_address: Option<IpAddr>,
    /// The scope that was asked for, if any. Most verifiers ignore it: a scope beyond that of the [`Identity`] is refused
    /// anyway. It is here for those that grant by what was asked for.
    pub scope: Option<Scope>,
    pub(crate) parameters: Vec<(&'static str, Secret)>,
    pub(crate) headers: Vec<(HeaderName, String)>,
}

// Without the parameters and headers: nobody knows what they hold.
debug_only!(Login { username, password, client_id, client_address, scope });

impl Login {
    /// A login with a username and a password, and nothing else.
    pub fn new(username: impl Into<String>, password: impl Into<Secret>) -> Self {
        let (username, password) = (username.into(), password.into());
        let (parameters, headers) = (Vec::new(), Vec::new());
        Self { username, password, client_id: None, client_address: None, scope: None, parameters, headers }
    }

    /// Adds a form parameter, as [`with_login_parameter`](crate::AuthorizationServer::with_login_parameter) does.
    pub fn with_parameter(mut self, name: &'static str, value: impl Into<Secret>) -> Self {
        self.parameters.push((name, value.into()));
        self
    }

    /// Adds a header, as [`with_login_header`](crate::AuthorizationServer::with_login_header) does.
    pub fn with_header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// A form parameter of your own, if it was sent and is not empty.
    pub fn parameter(&self, name: &str) -> Option<&Secret> {
        self.parameters.iter().find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    /// A header of your own, if it was sent.
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// The answer of a [`Verifier`].
///
/// ```
/// use tower_oauth2_password::{Identity, Verdict};
///
/// let verdict: Verdict = Identity::new("alice").into();
/// assert!(matches!(verdict, Verdict::Granted(identity) if identity.subject() == "alice"));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// The credentials are right, and belong to this user.
    Granted(Identity),
    /// The credentials are wrong. The client gets `invalid_grant`, whatever the reason.
    Denied,
}

impl From<Identity> for Verdict {
    fn from(identity: Identity) -> Self {
        Self::Granted(identity)
    }
}

/// A logged-in user, and what they may do.
///
/// ```
/// use std::time::Duration;
/// use tower_oauth2_password::Identity;
///
/// let alice = Identity::new("alice").with_scope("items:read items:write".parse()?).with_claim("tenant", "acme");
/// assert_eq!(alice.subject(), "alice");
/// assert_eq!(alice.claims()["tenant"], "acme");
///
/// let week = Duration::from_secs(7 * 86_400);
/// let remembered = alice.with_session_label("Firefox on Linux").with_session_ttl(week).with_amr(["pwd", "otp"]);
/// assert_eq!(remembered.session_label(), Some("Firefox on Linux"));
/// assert_eq!(remembered.session_ttl(), Some(week));
/// assert_eq!(remembered.amr(), ["pwd", "otp"]);
/// # Ok::<(), tower_oauth2_password::InvalidScope>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Identity {
    subject: String,
    pub(crate) scope: Scope,
    pub(crate) claims: Map<String, Value>,
    pub(crate) amr: Vec<String>,
    pub(crate) security_stamp: Option<String>,
    pub(crate) session_label: Option<String>,
    pub(crate) session_ttl: Option<Duration>,
    pub(crate) without_refresh_token: bool,
}

impl Identity {
    /// A user without scopes. `subject` becomes the `sub` of access tokens: a stable id, which no other user gets later.
    pub fn new(subject: impl Into<String>) -> Self {
        let (subject, scope, claims, amr) = (subject.into(), Scope::empty(), Map::new(), Vec::new());
        let (security_stamp, session_label, session_ttl) = (None, None, None);
        Self { subject, scope, claims, amr, security_stamp, session_label, session_ttl, without_refresh_token: false }
    }

    /// All scopes that this user may have. A login may ask for fewer.
    pub fn with_scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// Adds a claim to the access token, which anyone with the token can read. It cannot replace a claim that the
    /// issuer sets itself (`iss`, `sub`, `exp` and so on). The claims of a login are in the tokens of all its refreshes, too,
    /// unless [`verify_subject`](Verifier::verify_subject) returns other ones. With `null` it removes one. With refresh tokens
    /// they may take 2 KiB, and with a second factor as much together with the username and the scope that was asked for.
    pub fn with_claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.claims.insert(name.into(), value.into());
        self
    }

    /// How the user logged in, such as `pwd` and `otp` (RFC 8176): the `amr` of all access tokens of this session.
    pub fn with_amr<T: Into<String>>(self, methods: impl IntoIterator<Item = T>) -> Self {
        Self { amr: methods.into_iter().map(Into::into).collect(), ..self }
    }

    /// A name for the session, such as that of the device, for a list of sessions.
    pub fn with_session_label(self, label: impl Into<String>) -> Self {
        Self { session_label: Some(label.into()), ..self }
    }

    /// How long this login can be extended, for instance if the user asked to be remembered. It replaces the lifetime of
    /// [`RefreshTokens`](crate::RefreshTokens::with_absolute_ttl) and of the client.
    pub fn with_session_ttl(self, ttl: Duration) -> Self {
        Self { session_ttl: Some(ttl), ..self }
    }

    /// This login gets no refresh token.
    pub fn without_refresh_token(self) -> Self {
        Self { without_refresh_token: true, ..self }
    }

    /// A value that changes when the user's sessions must end, for instance with the password. A refresh token that was
    /// issued under another stamp is refused. Stores keep it in clear, so do not derive it from the password hash.
    pub fn with_security_stamp(self, stamp: impl Into<String>) -> Self {
        Self { security_stamp: Some(stamp.into()), ..self }
    }

    /// The `sub` of the access token.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// All scopes that this user may have.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The additional claims.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// How the user logged in.
    pub fn amr(&self) -> &[String] {
        &self.amr
    }

    /// The name of the session.
    pub fn session_label(&self) -> Option<&str> {
        self.session_label.as_deref()
    }

    /// How long the login can be extended, if that is not the default.
    pub fn session_ttl(&self) -> Option<Duration> {
        self.session_ttl
    }

    /// See [`with_security_stamp`](Self::with_security_stamp).
    pub fn security_stamp(&self) -> Option<&str> {
        self.security_stamp.as_deref()
    }
}

/// Checks a username and a password.
///
/// [`PasswordVerifier`](crate::PasswordVerifier) is one. So is each closure `Fn(Login) -> impl Future`, and an `Arc` of a
/// verifier. Your own should take the same time for an unknown user as for a known one. It must not block the async
/// worker: hash on a pool, as `PasswordVerifier` does. An answer that takes longer than 30 seconds
/// ([`with_verifier_timeout`](crate::AuthorizationServer::with_verifier_timeout)) or a panic is a 503.
///
/// ```
/// use tower_oauth2_password::{BoxError, Identity, Login, Verdict, Verifier};
///
/// struct Directory;
///
/// impl Verifier for Directory {
///     async fn verify(&self, login: Login) -> Result<Verdict, BoxError> {
///         let right = login.username == "alice" && login.password.expose() == "wonderland123"; // ask your directory
///         Ok(if right { Identity::new("alice").into() } else { Verdict::Denied })
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// assert!(matches!(Directory.verify(Login::new("alice", "guess")).await?, Verdict::Denied));
/// assert!(matches!(Directory.verify_subject("alice").await?, Verdict::Denied), "no refresh unless you implement it");
/// # Ok::<(), BoxError>(())
/// # })?;
/// # Ok::<(), BoxError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot verify logins",
    label = "expected a `Verifier`, such as `PasswordVerifier::new(users)`",
    note = "a closure must be `Fn(Login) -> impl Future<Output = Result<Verdict, BoxError>> + Send`, and `Send + Sync + 'static`"
)]
pub trait Verifier: Send + Sync + 'static {
    /// Decides one login.
    ///
    /// # Errors
    /// When what it needs is away: the client gets a 503, and the cause is logged. A [`TokenError`](crate::TokenError) is
    /// sent as it is.
    fn verify(&self, login: Login) -> impl Future<Output = Result<Verdict, BoxError>> + Send;

    /// Asked at each use of a refresh token, and in the second step of a login: may `subject` still log in, and with which
    /// scopes? The default refuses, with a line in the log: a verifier that does not know whether an account was closed must not
    /// extend its sessions.
    ///
    /// # Errors
    /// As for [`verify`](Self::verify).
    fn verify_subject(&self, subject: &str) -> impl Future<Output = Result<Verdict, BoxError>> + Send {
        let _ = subject;
        observe::misconfigured(
            "each refresh and each second step is refused, though the server offers them: implement \
             `Verifier::verify_subject`",
        );
        ready(Ok(Verdict::Denied))
    }
}

/// `UNICODECHARNOCRLF` of RFC 6749, appendix A.
pub(crate) fn is_credential_text(text: &str) -> bool {
    text.chars()
        .all(|c| matches!(c, '\t' | ' '..='~' | '\u{80}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..))
}

impl<F, Fut> Verifier for F
where
    F: Fn(Login) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Verdict, BoxError>> + Send,
{
    fn verify(&self, login: Login) -> impl Future<Output = Result<Verdict, BoxError>> + Send {
        self(login)
    }
}

impl<V: Verifier> Verifier for Arc<V> {
    fn verify(&self, login: Login) -> impl Future<Output = Result<Verdict, BoxError>> + Send {
        V::verify(self, login)
    }

    fn verify_subject(&self, subject: &str) -> impl Future<Output = Result<Verdict, BoxError>> + Send {
        V::verify_subject(self, subject)
    }
}

/// `Verifier` with its futures boxed, so that an endpoint can hold any of them.
pub(crate) trait DynVerifier: Send + Sync {
    fn verify(&self, login: Login) -> BoxFuture<'_, Result<Verdict, BoxError>>;
    fn verify_subject<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Result<Verdict, BoxError>>;
}

impl<V: Verifier> DynVerifier for V {
    fn verify(&self, login: Login) -> BoxFuture<'_, Result<Verdict, BoxError>> {
        Box::pin(Verifier::verify(self, login))
    }

    fn verify_subject<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Result<Verdict, BoxError>> {
        Box::pin(Verifier::verify_subject(self, subject))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;

    impl Verifier for Echo {
        async fn verify(&self, login: Login) -> Result<Verdict, BoxError> {
            Ok(Identity::new(login.username).into())
        }

        async fn verify_subject(&self, subject: &str) -> Result<Verdict, BoxError> {
            Ok(Identity::new(subject).into())
        }
    }

    fn subject(verdict: Result<Verdict, BoxError>) -> Option<String> {
        match verdict.unwrap() {
            Verdict::Granted(identity) => Some(identity.subject().to_owned()),
            Verdict::Denied => None,
        }
    }

    #[tokio::test]
    async fn an_arc_asks_the_verifier_in_it() {
        let shared = Arc::new(Echo);
        assert_eq!(subject(Verifier::verify(&shared, Login::new("alice", "p")).await).as_deref(), Some("alice"));
        assert_eq!(subject(Verifier::verify_subject(&shared, "id").await).as_deref(), Some("id"));
    }

    #[tokio::test]
    async fn a_closure_refuses_to_refresh() {
        let closure = |login: Login| async move { Ok(Identity::new(login.username).into()) };
        assert_eq!(subject(Verifier::verify(&closure, Login::new("alice", "p")).await).as_deref(), Some("alice"));
        assert!(matches!(Verifier::verify_subject(&closure, "alice").await, Ok(Verdict::Denied)));
    }

    #[test]
    fn credentials_hold_no_control_characters() {
        for text in ["a\0", "a\r", "a\n", "\u{7F}", "\u{FFFE}", "\u{FFFF}", "\u{1B}"] {
            assert!(!is_credential_text(text), "{text:?}");
        }
        for text in ["\t a~", "\u{80}", "pässwörd", "\u{1F600}"] {
            assert!(is_credential_text(text), "{text:?}");
        }
    }

    #[test]
    fn an_identity_returns_what_it_was_given() {
        let plain = Identity::new("alice");
        assert_eq!((plain.scope().as_str(), plain.claims().len(), plain.security_stamp()), ("", 0, None));
        let full = plain.with_scope("a b".parse().unwrap()).with_claim("tenant", "acme").with_security_stamp("2");
        assert_eq!((full.scope().as_str(), full.security_stamp()), ("a b", Some("2")));
        assert_eq!(full.claims().get("tenant"), Some(&"acme".into()));
    }
}
