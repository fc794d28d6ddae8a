//! The sessions of a subject: which there are, and how they end.

use std::time::Duration;

use super::authorization_server::AuthorizationServer;
use crate::error::TokenError;
use crate::event::{Audit, EventKind};
use crate::protocol::refresh_token::{Found, RefreshToken};
use crate::protocol::session::{self, next_millisecond};
use crate::secret::Secret;
use crate::store::{Family, StoreBudget};

/// A session of a subject, for the page that shows people where they are logged in. It holds no token and ends nothing.
///
/// ```
/// use http_body_util::{BodyExt, Full};
/// use bytes::Bytes;
/// use tower::ServiceExt;
/// use tower_oauth2_password::{
///     AccessToken, AuthorizationServer, Identity, Jwt, Key, Login, RefreshTokens, TokenError, Verdict, store,
/// };
///
/// /// A password change keeps the session in which it happens.
/// async fn after_password_change(auth: &AuthorizationServer, token: &AccessToken) -> Result<u64, TokenError> {
///     auth.end_other_sessions(token.subject(), token.session_id().unwrap_or_default()).await
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
/// let verify = |login: Login| async move { Ok(Verdict::from(Identity::new(login.username).with_session_label("phone"))) };
/// let auth = AuthorizationServer::new(verify, jwt).with_refresh_tokens(RefreshTokens::new(store::MemoryRefreshStore::new()));
/// let login = "grant_type=password&username=alice&password=p";
/// let login = http::Request::post("/token")
///     .header("content-type", "application/x-www-form-urlencoded")
///     .body(Full::<Bytes>::from(login))?;
/// auth.token_endpoint().into_service().oneshot(login).await?;
///
/// let sessions = auth.sessions("alice").await?;
/// assert_eq!(sessions[0].label.as_deref(), Some("phone"));
/// assert!(!auth.end_session("bob", &sessions[0].id).await?, "it is alice's");
/// assert!(auth.end_session("alice", &sessions[0].id).await?);
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActiveSession {
    /// The `sid` of its access tokens: [`AccessToken::session_id`](crate::AccessToken::session_id).
    pub id: String,
    /// The name that the verifier gave it.
    pub label: Option<String>,
    /// The client that the user logged in with.
    pub client_id: Option<String>,
    /// The time since the login.
    pub age: Duration,
    /// The time since the last refresh.
    pub unused_for: Duration,
}

impl From<Family> for ActiveSession {
    fn from(family: Family) -> Self {
        let Family { session, age, unused_for, .. } = family;
        Self { id: session.id, label: session.label, client_id: session.client_id, age, unused_for }
    }
}

/// Sessions. Without [refresh tokens](Self::with_refresh_tokens) there are none to list or to end. Each session that ends takes
/// its access tokens along if there is a [deny list](Self::with_deny_list): every guard refuses them within a second. Without
/// one, they stay valid until they expire.
impl AuthorizationServer {
    /// The sessions of a subject, the newest first.
    ///
    /// # Errors
    /// 503 if a store is unavailable.
    pub async fn sessions(&self, subject: &str) -> Result<Vec<ActiveSession>, TokenError> {
        Ok(self.families(subject, &self.budget()).await?.into_iter().map(|(_, family)| family.into()).collect())
    }

    /// Ends one session of this subject. False if the subject has no session with this id: it may be another's.
    ///
    /// # Errors
    /// 503 if a store is unavailable.
    pub async fn end_session(&self, subject: &str, session_id: &str) -> Result<bool, TokenError> {
        let budget = self.budget();
        let mut families = self.families(subject, &budget).await?.into_iter();
        let found = families.find(|(_, family)| family.session.id == session_id);
        self.end(found, &budget).await
    }

    /// Ends the session of a refresh token, as `POST /revoke` does, for handlers that log people out. False if there is none,
    /// which is no error: it may have ended before.
    ///
    /// # Errors
    /// 503 if a store is unavailable.
    pub async fn end_session_of(&self, refresh_token: &Secret) -> Result<bool, TokenError> {
        let (budget, token) = (self.budget(), RefreshToken::parse(refresh_token.expose()));
        let (Some(tokens), Some(token)) = (self.resolved().refresh, token) else { return Ok(false) };
        let found = tokens.find(&token, &budget).await?.map(|family| (token.id, family));
        self.end(found, &budget).await
    }

    /// Ends all sessions of a subject but one, and logins in progress, for instance when the password changed. Returns how
    /// many there were. If the subject has no session with this id, all end. Logins without a refresh token are no sessions, and
    /// keep their access token: to end those, too, call [`revoke_subject`](Self::revoke_subject). If other sessions begin or end
    /// at the same time, or the subject has used up its share of the deny list, the kept session needs a refresh, too.
    ///
    /// # Errors
    /// 503 if a store is unavailable. Some sessions may live on, so call it again.
    pub async fn end_other_sessions(&self, subject: &str, kept_session_id: &str) -> Result<u64, TokenError> {
        let families = self.families(subject, &self.budget()).await?.into_iter();
        let (kept, others): (Vec<_>, Vec<_>) = families.partition(|(_, family)| family.session.id == kept_session_id);
        let ([(kept, _)], Some(tokens)) = (kept.as_slice(), self.resolved().refresh) else {
            return self.revoke_subject(subject).await;
        };
        let denials = self.grants.denials.as_ref();
        self.end_waiting(subject).await?;
        // Before the families: once they are gone, a second try would not find them.
        for (_, family) in &others {
            if let Some(denials) = denials {
                denials.deny_session(family, &self.budget()).await?;
            }
        }
        let ended = tokens.revoke_subject(subject, Some(*kept)).await?;
        for (_, family) in &others {
            self.grants.policy.audit_session(None, family).record(EventKind::SessionEnded);
        }
        if let Some(denials) = denials
            && ended != others.len() as u64
        {
            // Sessions that began meanwhile have access tokens that nobody knows.
            denials.deny_subject(subject, &self.budget()).await?;
        }
        next_millisecond().await;
        Ok(ended)
    }

    /// Ends all sessions of a subject ([`Identity::subject`](crate::Identity::subject)), for instance when the account was
    /// closed: its refresh tokens at once, and logins in progress. With a [deny list](Self::with_deny_list), every guard
    /// refuses its access tokens within a second, those without a session included. Returns how many sessions there were.
    ///
    /// ```
    /// use tower_oauth2_password::{AuthorizationServer, Jwt, Key, Login, RefreshTokens, Verdict, store};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
    /// let auth = AuthorizationServer::new(|_: Login| async { Ok(Verdict::Denied) }, jwt)
    ///     .with_refresh_tokens(RefreshTokens::new(store::MemoryRefreshStore::new()))
    ///     .with_deny_list(store::MemoryDenyList::new());
    /// assert_eq!(auth.revoke_subject("alice").await?, 0);
    /// # Ok::<(), tower_oauth2_password::BoxError>(())
    /// # })?;
    /// # Ok::<(), tower_oauth2_password::BoxError>(())
    /// ```
    ///
    /// # Errors
    /// 503 if a store is unavailable. The log has the cause. Some sessions may live on, so call it again.
    pub async fn revoke_subject(&self, subject: &str) -> Result<u64, TokenError> {
        self.end_waiting(subject).await?;
        // First what access tokens come from.
        let ended = match self.resolved().refresh {
            Some(tokens) => tokens.revoke_subject(subject, None).await?,
            None => 0,
        };
        if let Some(denials) = &self.grants.denials {
            denials.deny_subject(subject, &self.budget()).await?;
        }
        Audit { subject: Some(subject), ..self.grants.policy.audit(None) }.record(EventKind::SessionEnded);
        // The user may log in again at once.
        next_millisecond().await;
        Ok(ended)
    }

    /// Ends logins that wait for their second step, and trust in devices.
    async fn end_waiting(&self, subject: &str) -> Result<(), TokenError> {
        match self.resolved().second_factor {
            Some(factors) => factors.revoke_subject(subject).await,
            None => Ok(()),
        }
    }

    async fn families(&self, subject: &str, budget: &StoreBudget) -> Result<Vec<Found>, TokenError> {
        match self.resolved().refresh {
            Some(tokens) => tokens.list(subject, budget).await,
            None => Ok(Vec::new()),
        }
    }

    async fn end(&self, found: Option<Found>, budget: &StoreBudget) -> Result<bool, TokenError> {
        let (Some((id, family)), Some(tokens)) = (found, self.resolved().refresh) else { return Ok(false) };
        session::end(&tokens, self.grants.denials.as_ref(), (id, &family), budget).await?;
        self.grants.policy.audit_session(None, &family).record(EventKind::SessionEnded);
        Ok(true)
    }
}
