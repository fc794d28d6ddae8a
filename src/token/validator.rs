//! Validating access tokens that are JWTs (RFC 9068).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::mpsc::Sender;

use super::accepted::Accepted;
use super::access::{AccessToken, Contents};
use super::{InvalidToken, TokenValidator, verification_key::VerificationKey};
use crate::secret::debug_only;
use crate::sync::{RwLock, read};

/// The longest token that is parsed by default, in bytes.
pub(crate) const LONGEST_TOKEN: usize = 4_096;
/// A revoked token is denied for this much longer than it lives, so that no guard's leeway revives it.
pub(crate) const LONGEST_LEEWAY: Duration = Duration::from_secs(300);

/// Validates access tokens that are JWTs (RFC 9068), for servers that accept the tokens of another. Cheap to clone.
///
/// 1. A token of more than 4 KiB ([`with_longest_token`](Self::with_longest_token)) is rejected before it is parsed.
/// 2. The key determines the algorithm. The header must name it (EdDSA or, by RFC 9864, Ed25519), and have the type
///    `at+jwt`.
/// 3. `exp`, `iat`, `sub`, `iss`, `aud` and `jti` are required; `iss` and `aud` must match.
/// 4. Members and claims that occur twice, and base64 with padding, are rejected: one token has one spelling.
/// 5. The keys may come from a JWK Set: [`from_jwks`](Self::from_jwks) fetches it, [`replace_keys`](Self::replace_keys)
///    takes one that the app has. Clones share them.
/// 6. Tokens of other issuers may need options: PyJWT's and Keycloak's
///    [have no type](Self::with_untyped_tokens) that marks access tokens.
///
/// ```
/// use tower_oauth2_password::{BearerLayer, InvalidToken, JwtValidator, TokenValidator, VerificationKey};
///
/// let pem = b"-----BEGIN PUBLIC KEY-----
/// MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
/// -----END PUBLIC KEY-----
/// ";
/// let validator = JwtValidator::new(VerificationKey::eddsa_pem(pem)?, "https://login.example", "api");
/// assert_eq!(validator.validate("not a token").err(), Some(InvalidToken::Malformed));
/// let guard = BearerLayer::new(validator);
/// # Ok::<(), tower_oauth2_password::KeyError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct JwtValidator {
    /// Those that a JWK Set replaces, here and in all clones.
    pub(super) keys: Arc<RwLock<Vec<VerificationKey>>>,
    added: Arc<Vec<VerificationKey>>,
    /// Asks the task that fetches a JWK Set, if there is one. It ends when all of these are dropped.
    pub(super) reloads: Option<Sender<()>>,
    pub(super) issuer: Arc<str>,
    pub(super) audience: Arc<str>,
    leeway: Duration,
    longest_token: usize,
    pub(super) accepted: Accepted,
    pub(super) clock: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl JwtValidator {
    /// Accepts tokens from `issuer` (`iss`), for `audience` (`aud`), signed with `key`.
    pub fn new(key: impl Into<VerificationKey>, issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self::of(vec![key.into()], issuer.into(), audience.into())
    }

    pub(super) fn of(keys: Vec<VerificationKey>, issuer: String, audience: String) -> Self {
        let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self {
            keys: Arc::new(RwLock::new(keys)),
            added: Arc::default(),
            reloads: None,
            issuer: Arc::from(issuer),
            audience: Arc::from(audience),
            leeway: Duration::ZERO,
            longest_token: LONGEST_TOKEN,
            accepted: Accepted::default(),
            clock: Arc::new(now),
        }
    }

    /// Also accepts tokens signed with `key`, so that the issuer's keys can be rotated. A JWK Set does not replace it, and
    /// clones made before do not accept it.
    pub fn with_verification_key(mut self, key: impl Into<VerificationKey>) -> Self {
        Arc::make_mut(&mut self.added).push(key.into());
        self
    }

    /// How far the clocks of issuer and validator may differ. The default is 0. More than 5 minutes count as 5 minutes
    /// (RFC 7519, section 4.1.4: "no more than a few minutes").
    pub fn with_leeway(self, leeway: Duration) -> Self {
        Self { leeway: leeway.min(LONGEST_LEEWAY), ..self }
    }

    /// Sets the longest token in bytes that is parsed. The default is 4,096.
    pub fn with_longest_token(self, bytes: usize) -> Self {
        Self { longest_token: bytes, ..self }
    }

    /// Takes the time from `clock`, in seconds since the Unix epoch, for tests.
    pub fn with_clock(self, clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    pub(super) fn keys(&self) -> Vec<VerificationKey> {
        read(&self.keys).iter().chain(&*self.added).cloned().collect()
    }
}

debug_only!(JwtValidator { issuer, audience, keys, added });

// serde rejects known members that occur twice, and ignores unknown ones.
#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

impl Header {
    fn read(text: &str, accepted: &Accepted) -> Result<Self, InvalidToken> {
        // As text: in members that it ignores, serde_json accepts bytes that are not UTF-8.
        let text = String::from_utf8(decode(text)?).map_err(|_| InvalidToken::Malformed)?;
        // serde also accepts an array of the members' values.
        let is_object = text.trim_ascii_start().starts_with('{');
        let header: Self = serde_json::from_str(&text).map_err(|_| InvalidToken::Malformed)?;
        let is_typed = match &header.typ {
            Some(typ) if accepted.untyped && typ.eq_ignore_ascii_case("JWT") => true,
            Some(typ) => ["at+jwt", "application/at+jwt"].iter().any(|known| typ.eq_ignore_ascii_case(known)),
            None => accepted.untyped,
        };
        if is_object && is_typed && !header.crit { Ok(header) } else { Err(InvalidToken::Malformed) }
    }
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| true)
}

#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    aud: Option<Value>,
    exp: f64,
    nbf: Option<f64>,
    iat: Option<f64>,
    jti: Option<String>,
    sub: Value,
    client_id: Option<String>,
    sid: Option<String>,
    scope: Option<Value>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl TokenValidator for JwtValidator {
    fn validate(&self, token: &str) -> Result<AccessToken, InvalidToken> {
        let hide = |why| if why == InvalidToken::UnknownKey { InvalidToken::Signature } else { why };
        let token = self.check(token, false).map_err(hide)?;
        // The list is empty where a token without an audience is accepted.
        let mut audiences = token.audience().iter();
        let is_meant = audiences.len() == 0 || audiences.any(|audience| **audience == *self.audience);
        if is_meant { Ok(token) } else { Err(InvalidToken::NotForThisServer) }
    }

    fn validate_to_revoke(&self, token: &str) -> Result<AccessToken, InvalidToken> {
        self.check(token, true)
    }

    fn longest_token(&self) -> usize {
        self.longest_token
    }
}

impl JwtValidator {
    /// The payload of a token that a known key signed.
    fn signed_payload(&self, token: &str) -> Result<Vec<u8>, InvalidToken> {
        let (message, signature) = token.rsplit_once('.').ok_or(InvalidToken::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(InvalidToken::Malformed)?;
        let [payload, signature] = [decode(payload)?, decode(signature)?];
        let replaceable = read(&self.keys);
        let keys = || replaceable.iter().chain(&*self.added);
        let signed_by = |key: &VerificationKey| key.verify(message.as_bytes(), &signature);
        // A header that this crate wrote need not be parsed. Several keys may share one: ids need not differ.
        let mut with_this_header = keys().filter(|key| key.header() == header).peekable();
        let is_signed = if with_this_header.peek().is_some() {
            with_this_header.any(signed_by)
        } else {
            let Header { kid, alg, .. } = Header::read(header, &self.accepted)?;
            let mut named = keys().filter(|key| kid.as_deref().is_none_or(|id| id == key.id())).peekable();
            let is_ours =
                |claims: Value| claims.get("iss").map_or(self.accepted.no_issuer, |issuer| *issuer == *self.issuer);
            if named.peek().is_none() && serde_json::from_slice(&payload).is_ok_and(is_ours) {
                if let Some(reloads) = &self.reloads {
                    // If another token asks already, this one need not.
                    let _ = reloads.try_send(());
                }
                return Err(InvalidToken::UnknownKey);
            }
            named.filter(|key| key.is_for(&alg)).any(signed_by)
        };
        if is_signed { Ok(payload) } else { Err(InvalidToken::Signature) }
    }

    /// Everything but the audience. What may be valid later, or for a guard with another leeway, can be revoked.
    fn check(&self, token: &str, to_revoke: bool) -> Result<AccessToken, InvalidToken> {
        if token.len() > self.longest_token {
            return Err(InvalidToken::Malformed);
        }
        let payload = self.signed_payload(token)?;
        let claims: Claims = serde_json::from_slice(&payload).map_err(|_| InvalidToken::Malformed)?;
        let accepted = &self.accepted;
        let audience = match claims.aud {
            None if accepted.is_meant(&payload) => Vec::new(),
            None => return Err(InvalidToken::Malformed),
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(none)) if none.is_empty() => return Err(InvalidToken::NotForThisServer),
            Some(several) => serde_json::from_value(several).map_err(|_| InvalidToken::Malformed)?,
        };
        let mut issuer = required(claims.iss, accepted.no_issuer)?;
        // Where a token may lack it, the owner of the key is the issuer.
        if *issuer.get_or_insert_with(|| self.issuer.to_string()) != *self.issuer {
            return Err(InvalidToken::NotForThisServer);
        }
        let leeway = if to_revoke { LONGEST_LEEWAY } else { self.leeway };
        let (now, leeway) = ((self.clock)() as f64, leeway.as_secs_f64());
        if claims.exp + leeway <= now {
            return Err(InvalidToken::Expired);
        }
        if !to_revoke && claims.nbf.is_some_and(|nbf| nbf > now + leeway) {
            return Err(InvalidToken::NotYetValid);
        }
        Ok(AccessToken::of(Contents {
            subject: accepted.subject(claims.sub)?,
            client_id: claims.client_id,
            scope: accepted.scope(claims.scope.as_ref(), &claims.others)?,
            id: required(claims.jti, accepted.no_id)?,
            session_id: claims.sid,
            expires_at: Some(claims.exp as u64),
            issued_at: required(claims.iat, accepted.no_issue_time)?.map(|iat| iat as u64),
            issuer,
            audience,
            claims: claims.others,
        }))
    }
}

fn required<T>(claim: Option<T>, is_optional: bool) -> Result<Option<T>, InvalidToken> {
    if claim.is_some() || is_optional { Ok(claim) } else { Err(InvalidToken::Malformed) }
}

/// Unpadded and canonical base64url, so that one token has one spelling.
fn decode(part: &str) -> Result<Vec<u8>, InvalidToken> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| InvalidToken::Malformed)
}
