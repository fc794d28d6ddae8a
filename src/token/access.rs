//! The contents of an access token that a validator accepted.

use std::time::{Duration, SystemTime};
use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{Response, request::Parts};
use serde_json::{Map, Value};

use crate::scope::{RequiredScope, Scope};

/// The claim that names the grant of a token that is not a user's.
pub(crate) const GRANT_CLAIM: &str = "gty";

/// An access token that was accepted. The guard ([`BearerLayer`](crate::BearerLayer)) puts it into the request's extensions.
/// Cheap to clone.
///
/// ```
/// use tower_oauth2_password::AccessToken;
///
/// let token = AccessToken::new("alice").with_scope("items:read".parse()?);
/// let request = http::Request::builder().extension(token).body(())?;
/// let token = request.extensions().get::<AccessToken>().ok_or("no token")?;
/// assert_eq!(token.subject(), "alice");
/// assert!(token.scope().contains("items:read"));
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct AccessToken {
    contents: Arc<Contents>,
    accepted_by: Option<Arc<dyn RefuseHandler>>,
}

/// What a guard does for the handlers behind it.
pub(crate) trait RefuseHandler: fmt::Debug + Send + Sync {
    /// The refusal of a request without a token, or without this scope.
    fn refuse_for(&self, parts: &Parts, missing: Option<&RequiredScope>) -> Box<Response<Bytes>>;
}

#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    pub(super) subject: String,
    pub(super) client_id: Option<String>,
    pub(super) scope: Scope,
    pub(super) id: Option<String>,
    pub(super) session_id: Option<String>,
    pub(super) expires_at: Option<u64>,
    pub(super) issued_at: Option<u64>,
    pub(super) issuer: Option<String>,
    pub(super) audience: Vec<String>,
    pub(super) claims: Map<String, Value>,
}

impl AccessToken {
    /// A token with nothing but a subject, for your own validators and for tests.
    pub fn new(subject: impl Into<String>) -> Self {
        Self::of(Contents { subject: subject.into(), ..Contents::default() })
    }

    pub(super) fn of(contents: Contents) -> Self {
        Self { contents: Arc::new(contents), accepted_by: None }
    }

    /// Whom it is about (`sub`): a user, or a client that got it for itself.
    pub fn subject(&self) -> &str {
        &self.contents.subject
    }

    /// The user, and nobody if a client got the token for itself (`gty` is `client_credentials`), whatever its subject. Look
    /// up users by this.
    ///
    /// ```
    /// use serde_json::{Map, json};
    /// use tower_oauth2_password::AccessToken;
    ///
    /// assert_eq!(AccessToken::new("alice").user(), Some("alice"));
    /// for grant in ["client_credentials", "client-credentials"] {
    ///     let claims = Map::from_iter([("gty".to_owned(), json!(grant))]);
    ///     assert_eq!(AccessToken::new("app").with_claims(claims).user(), None);
    /// }
    /// ```
    pub fn user(&self) -> Option<&str> {
        // Others spell it with a hyphen.
        let of_client = |claim: &Value| claim == "client_credentials" || claim == "client-credentials";
        (!self.claim(GRANT_CLAIM).is_some_and(of_client)).then(|| self.subject())
    }

    /// The client that it was issued to (`client_id`).
    pub fn client_id(&self) -> Option<&str> {
        self.contents.client_id.as_deref()
    }

    /// What the token allows (`scope`).
    pub fn scope(&self) -> &Scope {
        &self.contents.scope
    }

    /// The unique id (`jti`).
    pub fn id(&self) -> Option<&str> {
        self.contents.id.as_deref()
    }

    /// The session that it belongs to (`sid`), if that can be ended.
    pub fn session_id(&self) -> Option<&str> {
        self.contents.session_id.as_deref()
    }

    /// When it expires (`exp`).
    pub fn expires_at(&self) -> Option<SystemTime> {
        time(self.contents.expires_at)
    }

    /// When it was issued (`iat`).
    pub fn issued_at(&self) -> Option<SystemTime> {
        time(self.contents.issued_at)
    }

    /// The issuer (`iss`).
    pub fn issuer(&self) -> Option<&str> {
        self.contents.issuer.as_deref()
    }

    /// The servers that it is meant for (`aud`): this one, and perhaps others.
    pub fn audience(&self) -> &[String] {
        &self.contents.audience
    }

    /// An additional claim, such as those of [`Identity::with_claim`](crate::Identity::with_claim).
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.contents.claims.get(name)
    }

    /// When the user logged in (`auth_time`), however often the session was refreshed since.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use serde_json::json;
    /// use tower_oauth2_password::AccessToken;
    ///
    /// let claims = json!({ "auth_time": 1_700_000_000, "amr": ["pwd", "otp"], "acr": "urn:example:mfa" });
    /// let token = AccessToken::new("alice").with_claims(claims.as_object().cloned().unwrap_or_default());
    /// assert_eq!(token.auth_time(), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)));
    /// assert!(token.amr().eq(["pwd", "otp"]));
    /// assert_eq!(token.acr(), Some("urn:example:mfa"));
    /// ```
    pub fn auth_time(&self) -> Option<SystemTime> {
        time(self.claim("auth_time")?.as_f64().filter(|seconds| *seconds >= 0.0).map(|seconds| seconds as u64))
    }

    /// How the user logged in (`amr`), such as `pwd` and `otp` (RFC 8176). Empty if the token does not say.
    pub fn amr(&self) -> impl Iterator<Item = &str> {
        self.claim("amr").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// What the login is worth (`acr`): a value of [`with_acr`](crate::AuthorizationServer::with_acr), or one of another issuer.
    pub fn acr(&self) -> Option<&str> {
        self.claim("acr")?.as_str()
    }

    fn edit(mut self, change: impl FnOnce(&mut Contents)) -> Self {
        change(Arc::make_mut(&mut self.contents));
        self
    }

    pub(crate) fn accepted_by(self, guard: Arc<dyn RefuseHandler>) -> Self {
        Self { accepted_by: Some(guard), ..self }
    }

    /// The guard that accepted the token, if it came from one.
    pub(crate) fn guard(&self) -> Option<&dyn RefuseHandler> {
        self.accepted_by.as_deref()
    }

    /// Sets the scope.
    pub fn with_scope(self, scope: Scope) -> Self {
        self.edit(|contents| contents.scope = scope)
    }

    /// Sets the client.
    pub fn with_client_id(self, client_id: impl Into<String>) -> Self {
        self.edit(|contents| contents.client_id = Some(client_id.into()))
    }

    /// Sets the unique id (`jti`). A token without one cannot be revoked.
    pub fn with_id(self, id: impl Into<String>) -> Self {
        self.edit(|contents| contents.id = Some(id.into()))
    }

    /// Sets the session (`sid`).
    pub fn with_session_id(self, id: impl Into<String>) -> Self {
        self.edit(|contents| contents.session_id = Some(id.into()))
    }

    /// Sets when the token expires, in seconds since the Unix epoch.
    pub fn with_expires_at(self, seconds: u64) -> Self {
        self.edit(|contents| contents.expires_at = Some(seconds))
    }

    /// Sets when the token was issued, in seconds since the Unix epoch. Without it, and without a session of this crate, a token
    /// counts as issued before whenever all sessions of its subject are ended.
    pub fn with_issued_at(self, seconds: u64) -> Self {
        self.edit(|contents| contents.issued_at = Some(seconds))
    }

    /// Sets the issuer of the token.
    pub fn with_issuer(self, issuer: impl Into<String>) -> Self {
        self.edit(|contents| contents.issuer = Some(issuer.into()))
    }

    /// Sets the servers that the token is meant for.
    pub fn with_audience(self, audience: impl IntoIterator<Item = String>) -> Self {
        self.edit(|contents| contents.audience = audience.into_iter().collect())
    }

    /// Sets the additional claims.
    pub fn with_claims(self, claims: Map<String, Value>) -> Self {
        self.edit(|contents| contents.claims = claims)
    }
}

fn time(seconds: Option<u64>) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds?))
}
