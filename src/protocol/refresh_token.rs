//! Refresh tokens: one family for each login, and one valid secret in it (RFC 6749, section 6; RFC 9700, section 4.14.2).

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::Mac;
use serde_json::Value;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{client::Client, origin::Origins};
use crate::error::{InvalidConfig, TokenError};
use crate::secret::{Secret, debug_only, hmac, random, sha256};
use crate::store::{Family, FamilyId, Previous, RefreshStore, Rotation, SecretHash, Session, StoreBudget, SubjectRef};

/// The longest claims of a login, in bytes of JSON.
const LONGEST_CLAIMS: usize = 2_048;

/// The default grace period of tokens in cookies.
const COOKIE_GRACE: Duration = Duration::from_secs(10);

/// A family and its id.
pub(crate) type Found = (FamilyId, Family);

/// Issues refresh tokens, for [`with_refresh_tokens`](crate::AuthorizationServer::with_refresh_tokens). Cheap to clone.
///
/// 1. Each use of a token returns a new one, and makes the old one invalid.
/// 2. When a used token comes back, all tokens of that login are revoked: a thief may have one of them.
/// 3. A token is bound to the client that it was issued to.
/// 4. The store never sees a token, only its SHA-256.
///
/// ```
/// use std::time::Duration;
/// use tower_oauth2_password::{RefreshTokens, store::MemoryRefreshStore};
///
/// let day = Duration::from_secs(86_400);
/// let refresh_tokens = RefreshTokens::new(MemoryRefreshStore::new()).with_absolute_ttl(30 * day).with_idle_ttl(7 * day);
/// assert!(format!("{refresh_tokens:?}").contains("absolute_ttl: 2592000s"));
/// ```
#[derive(Clone)]
#[must_use]
pub struct RefreshTokens {
    store: Arc<dyn RefreshStore>,
    server: Arc<str>,
    absolute_ttl: Duration,
    idle_ttl: Option<Duration>,
    grace: Option<Duration>,
    /// Whether the tabs of a browser share each token.
    is_shared: bool,
    sessions: usize,
    /// Some if clients may keep their token in a cookie.
    pub(crate) origins: Option<Origins>,
}

impl RefreshTokens {
    /// Keeps families in `store`. By default they live for 24 hours, used or not.
    pub fn new(store: impl RefreshStore) -> Self {
        let (store, absolute_ttl) = (Arc::new(store), Duration::from_secs(86_400));
        let (idle_ttl, grace, origins) = (None, None, None);
        Self { store, server: Arc::default(), absolute_ttl, idle_ttl, grace, is_shared: false, sessions: 100, origins }
    }

    pub(crate) fn for_server(self, server: Arc<str>) -> Self {
        Self { server, ..self }
    }

    /// Sets how many sessions a subject may have, at least one. The default is 100. One more login ends the oldest.
    pub fn with_sessions_per_subject(self, sessions: usize) -> Self {
        Self { sessions, ..self }
    }

    /// Sets how long a login can be extended, however often it is refreshed. It caps the idle lifetime, too.
    pub fn with_absolute_ttl(self, ttl: Duration) -> Self {
        Self { absolute_ttl: ttl, ..self }
    }

    /// Sets how long a token lives unused. The default is the absolute lifetime.
    pub fn with_idle_ttl(self, ttl: Duration) -> Self {
        Self { idle_ttl: Some(ttl), ..self }
    }

    /// Tolerates lost responses: within `grace`, and while its successor is unused, a used token returns the same successor
    /// again. Off by default, except for clients [with a cookie](Client::with_cookie), since it delays the discovery of a stolen
    /// token.
    pub fn with_grace(self, grace: Duration) -> Self {
        Self { grace: Some(grace), ..self }
    }

    /// Keeps the refresh tokens of [clients that ask for it](Client::with_cookie) in the cookie `__Host-refresh_token`, for
    /// [single-page apps](crate::manual::single_page_apps).
    /// Their pages are on the server's own origin, or on one of `origins` (RFC 6454), such as `https://app.example`. Tabs may
    /// refresh at once, so these clients have a [grace period](Self::with_grace): 10 seconds unless you set another. Their
    /// tokens rotate at most once in it, so that however many tabs refresh, a late request ends no session.
    ///
    /// ```
    /// use tower_oauth2_password::{RefreshTokens, store::MemoryRefreshStore};
    ///
    /// let tokens = || RefreshTokens::new(MemoryRefreshStore::new());
    /// assert!(tokens().with_cookie([]).is_ok(), "the server has the page itself");
    /// assert!(tokens().with_cookie(["https://app.api.example"]).is_ok());
    /// assert!(tokens().with_cookie(["https://app.api.example/"]).is_err(), "no browser sends a path");
    /// ```
    ///
    /// # Errors
    /// When no browser could send one of the origins, or the grace period was set to zero. One that is set to zero later counts
    /// as not set.
    pub fn with_cookie<'a>(self, origins: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidConfig> {
        let hint = "tabs that refresh at once would end their session: set a grace period, or leave it at 10 seconds";
        InvalidConfig::unless(self.grace != Some(Duration::ZERO), hint)?;
        Ok(Self { origins: Some(Origins::new(origins)?), ..self })
    }

    /// As they are for this client: tabs that share a cookie may refresh at once.
    pub(crate) fn for_client(&self, client: Option<&Client>) -> Self {
        let is_shared = client.is_some_and(|client| client.has_cookie);
        let grace = match self.grace {
            None | Some(Duration::ZERO) if is_shared => Some(COOKIE_GRACE),
            grace => grace,
        };
        Self { grace, is_shared, ..self.clone() }
    }

    /// Ends all families of a subject but one. It has no deadline: that of a request may be too short for many.
    pub(crate) async fn revoke_subject(&self, subject: &str, except: Option<FamilyId>) -> Result<u64, TokenError> {
        let ended = self.store.revoke_subject(SubjectRef::new(&self.server, subject), except).await;
        ended.map_err(|cause| TokenError::from_cause("a store failed", cause))
    }

    pub(crate) async fn list(&self, subject: &str, budget: &StoreBudget) -> Result<Vec<Found>, TokenError> {
        budget.spend(|deadline| self.store.list(SubjectRef::new(&self.server, subject), deadline)).await
    }

    /// Begins the family of a session that was verified at `began`, of another lifetime if one is given. An error if the
    /// subject was ended meanwhile.
    pub(crate) async fn begin(
        &self,
        session: Session,
        absolute_ttl: Option<Duration>,
        began: Instant,
        budget: &StoreBudget,
    ) -> Result<(Secret, Duration), TokenError> {
        let length = Value::Object(session.claims.clone()).to_string().len();
        if length > LONGEST_CLAIMS {
            let cause = format!("they have {length} bytes, and a session keeps {LONGEST_CLAIMS}");
            return Err(TokenError::from_cause("the claims of a login are too long", cause.into()));
        }
        let token = RefreshToken::new(FamilyId(random().map_err(TokenError::no_random)?))?;
        let absolute_ttl = absolute_ttl.unwrap_or(self.absolute_ttl);
        let idle_ttl = self.idle_ttl.map_or(absolute_ttl, |ttl| ttl.min(absolute_ttl));
        let session = Session { server: self.server.to_string(), ..session };
        let (current, age, unused_for) = (token.hash(), began.elapsed(), Duration::ZERO);
        let family = Family { current, session, age, unused_for, absolute_ttl, idle_ttl, previous: None };
        let begun = budget.spend(|deadline| self.store.insert(token.id, family, self.sessions, deadline)).await?;
        if begun { Ok((token.encode(), idle_ttl)) } else { Err(ended()) }
    }

    /// The family of a token. Another server's is as good as none.
    pub(crate) async fn find(&self, token: &RefreshToken, budget: &StoreBudget) -> Result<Option<Family>, TokenError> {
        let found = budget.spend(|deadline| self.store.find(token.id, deadline)).await?;
        Ok(found.filter(|family| *family.session.server == *self.server))
    }

    pub(crate) async fn revoke(&self, id: FamilyId, budget: &StoreBudget) -> Result<(), TokenError> {
        budget.spend(|deadline| self.store.revoke(id, deadline)).await
    }

    /// The current token, if the grace period allows returning it again: `token` is its predecessor, or is itself shared and
    /// new. A shared token stays for that long, so that no second rotation overtakes a request with its predecessor.
    pub(crate) fn repeat(&self, token: &RefreshToken, family: &Family) -> Option<Secret> {
        self.grace.filter(|grace| family.unused_for <= *grace)?;
        let previous = family.previous.as_ref()?;
        if self.is_shared && token.has(&family.current) {
            return Some(token.encode());
        }
        let sealed: [u8; 32] = previous.sealed_successor.as_slice().try_into().ok()?;
        // Any other token opens the seal to a secret that is not the current one.
        let successor = RefreshToken { id: token.id, secret: Zeroizing::new(token.seal(&sealed)) };
        successor.has(&family.current).then(|| successor.encode())
    }

    /// Replaces `token` with a successor, if it is still current.
    pub(crate) async fn rotate(&self, token: &RefreshToken, budget: &StoreBudget) -> Result<Rotated, TokenError> {
        let next = RefreshToken::new(token.id)?;
        let sealed = if self.grace.is_some() { token.seal(&next.secret).to_vec() } else { Vec::new() };
        let old = Previous::new(token.hash(), sealed);
        match budget.spend(|deadline| self.store.rotate(token.id, old, next.hash(), deadline)).await? {
            Rotation::Rotated => Ok(Rotated::To(next.encode())),
            // Another use at the same moment came first, which the grace period covers, too.
            Rotation::Mismatch if self.grace.is_some() => {
                let Some(family) = self.find(token, budget).await? else { return Ok(Rotated::Gone) };
                Ok(self.repeat(token, &family).map_or(Rotated::Reused, Rotated::To))
            }
            Rotation::Mismatch => Ok(Rotated::Reused),
            Rotation::Gone => Ok(Rotated::Gone),
        }
    }
}

/// The subject was ended while it logged in. What ended it may have changed the password, too, so the user is checked again.
pub(crate) fn ended() -> TokenError {
    let error = TokenError::temporarily_unavailable(Duration::from_secs(1));
    error.because("the sessions of the subject were ended during the login")
}

/// The result of using a token.
pub(crate) enum Rotated {
    /// Its successor.
    To(Secret),
    /// The token was used before.
    Reused,
    /// The family has ended.
    Gone,
}

debug_only!(RefreshTokens { server, absolute_ttl, idle_ttl, grace, sessions, origins });

/// A refresh token as the client has it: 64 opaque characters.
pub(crate) struct RefreshToken {
    pub(crate) id: FamilyId,
    secret: Zeroizing<[u8; 32]>,
}

impl RefreshToken {
    fn new(id: FamilyId) -> Result<Self, TokenError> {
        Ok(Self { id, secret: Zeroizing::new(random().map_err(TokenError::no_random)?) })
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; 48]);
        if text.len() != 64 || URL_SAFE_NO_PAD.decode_slice(text, bytes.as_mut_slice()).ok()? != 48 {
            return None;
        }
        let (id, secret) = bytes.split_first_chunk::<16>()?;
        Some(Self { id: FamilyId(*id), secret: Zeroizing::new(secret.try_into().ok()?) })
    }

    fn encode(&self) -> Secret {
        let bytes = Zeroizing::new([self.id.0.as_slice(), self.secret.as_slice()].concat());
        Secret::new(URL_SAFE_NO_PAD.encode(&*bytes))
    }

    fn hash(&self) -> SecretHash {
        SecretHash(sha256(self.secret.as_slice()))
    }

    pub(crate) fn has(&self, hash: &SecretHash) -> bool {
        self.hash().0.ct_eq(&hash.0).into()
    }

    /// Seals or opens a successor. Each secret is the pad of one other secret only.
    fn seal(&self, other: &[u8; 32]) -> [u8; 32] {
        let mac = hmac(self.secret.as_slice()).chain_update("refresh token successor");
        let pad: Zeroizing<[u8; 32]> = Zeroizing::new(mac.finalize().into_bytes().into());
        let mut sealed = *other;
        sealed.iter_mut().zip(pad.iter()).for_each(|(byte, pad)| *byte ^= pad);
        sealed
    }
}
