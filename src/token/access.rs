//! What a checked access token says.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::{Map, Value};

use crate::scope::Scope;

/// A checked access token, put into the request's extensions by [`BearerLayer`](crate::BearerLayer). Cheap to clone.
///
/// ```
/// use tower_oauth2_password::AccessToken;
///
/// let token = AccessToken::new("alice").with_scope("items:read".parse()?);
/// assert_eq!(token.subject(), "alice");
/// assert!(token.scope().contains("items:read"));
/// # Ok::<(), tower_oauth2_password::InvalidScope>(())
/// ```
#[derive(Clone, Debug)]
pub struct AccessToken(Arc<Contents>);

#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    pub(super) subject: String,
    pub(super) client_id: Option<String>,
    pub(super) scope: Scope,
    pub(super) id: Option<String>,
    pub(super) expires_at: Option<u64>,
    pub(super) issued_at: Option<u64>,
    pub(super) issuer: Option<String>,
    pub(super) audience: Vec<String>,
    pub(super) claims: Map<String, Value>,
}

impl From<Contents> for AccessToken {
    fn from(contents: Contents) -> Self {
        Self(Arc::new(contents))
    }
}

impl AccessToken {
    /// A token with nothing but a subject, for validators of one's own and for tests.
    #[must_use]
    pub fn new(subject: impl Into<String>) -> Self {
        Contents { subject: subject.into(), ..Contents::default() }.into()
    }

    fn edit(mut self, change: impl FnOnce(&mut Contents)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Sets the scope.
    #[must_use]
    pub fn with_scope(self, scope: Scope) -> Self {
        self.edit(|contents| contents.scope = scope)
    }

    /// Sets the client.
    #[must_use]
    pub fn with_client_id(self, client_id: impl Into<String>) -> Self {
        self.edit(|contents| contents.client_id = Some(client_id.into()))
    }

    /// Sets the unique id (`jti`), by which the token can be revoked.
    #[must_use]
    pub fn with_id(self, id: impl Into<String>) -> Self {
        self.edit(|contents| contents.id = Some(id.into()))
    }

    /// Sets the time after which the token is not good any more, in seconds since the epoch.
    #[must_use]
    pub fn with_expires_at(self, seconds: u64) -> Self {
        self.edit(|contents| contents.expires_at = Some(seconds))
    }

    /// Sets the time at which the token was made, in seconds since the epoch.
    #[must_use]
    pub fn with_issued_at(self, seconds: u64) -> Self {
        self.edit(|contents| contents.issued_at = Some(seconds))
    }

    /// Sets who made the token.
    #[must_use]
    pub fn with_issuer(self, issuer: impl Into<String>) -> Self {
        self.edit(|contents| contents.issuer = Some(issuer.into()))
    }

    /// Sets whom the token is meant for.
    #[must_use]
    pub fn with_audience(self, audience: impl IntoIterator<Item = String>) -> Self {
        self.edit(|contents| contents.audience = audience.into_iter().collect())
    }

    /// Sets the additional claims.
    #[must_use]
    pub fn with_claims(self, claims: Map<String, Value>) -> Self {
        self.edit(|contents| contents.claims = claims)
    }

    /// Whom the token speaks for (`sub`).
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// Which client it was issued to (`client_id`).
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.0.client_id.as_deref()
    }

    /// What it allows (`scope`).
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.0.scope
    }

    /// Its unique id (`jti`).
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.0.id.as_deref()
    }

    /// The time after which it is not good any more (`exp`).
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        time(self.0.expires_at)
    }

    /// The time at which it was made (`iat`).
    #[must_use]
    pub fn issued_at(&self) -> Option<SystemTime> {
        time(self.0.issued_at)
    }

    /// Who made it (`iss`).
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.0.issuer.as_deref()
    }

    /// Whom it is meant for (`aud`): this server, and perhaps others.
    #[must_use]
    pub fn audience(&self) -> &[String] {
        &self.0.audience
    }

    /// A claim that is not one of the issuer's own.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.0.claims.get(name)
    }
}

fn time(seconds: Option<u64>) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds?))
}
