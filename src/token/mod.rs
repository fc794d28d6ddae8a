//! Access tokens: issuing and validating them.
//!
//! 1. A [`TokenIssuer`] issues the token that a login returns.
//! 2. A [`TokenValidator`] accepts or rejects the token that a request carries. It runs on every guarded request and does
//!    not wait for anything.
//! 3. [`Jwt`] is both: JWTs of type `at+jwt` (RFC 9068), signed and validated with one [`Key`]. A server that only
//!    validates has a [`JwtValidator`], perhaps with the keys of a JWK Set.

mod accepted;
mod access;
mod backend;
mod foreign;
mod jwk;
mod jwk_set;
mod jwt;
mod key;
mod key_error;
mod pem;
mod validator;
mod verification_key;

use std::{future::Future, sync::Arc, time::Duration};

use serde_json::{Map, Value, json};

use crate::error::{BoxError, BoxFuture};
use crate::{scope::Scope, secret::Secret};

pub(crate) use self::access::{GRANT_CLAIM, RefuseHandler};
pub(crate) use self::validator::{LONGEST_LEEWAY, LONGEST_TOKEN};
pub use self::{
    access::AccessToken, jwt::Jwt, key::Key, key_error::KeyError, validator::JwtValidator,
    verification_key::VerificationKey,
};

/// The contents of a token to be issued.
///
/// ```
/// use tower_oauth2_password::TokenRequest;
///
/// let mut request = TokenRequest::new("alice");
/// request.claims.insert("tenant".to_owned(), "acme".into());
/// assert_eq!((request.subject.as_str(), request.client_id), ("alice", None));
/// assert!(request.scope.is_empty());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct TokenRequest {
    /// The `sub` claim.
    pub subject: String,
    /// The `client_id` claim, if there is a client.
    pub client_id: Option<String>,
    /// The `scope` claim. An empty one is left out.
    pub scope: Scope,
    /// Additional claims. They cannot replace the issuer's own.
    pub claims: Map<String, Value>,
    /// The `sid` claim, if the token belongs to a session that can be ended.
    pub session_id: Option<String>,
    /// The `auth_time` claim: when the user logged in, in seconds since the Unix epoch.
    pub auth_time: Option<u64>,
    /// The `amr` claim: how the user logged in (RFC 8176).
    pub amr: Vec<String>,
    /// The lifetime, if the client has one of its own. It is no longer than [`longest_ttl`](TokenIssuer::longest_ttl).
    pub ttl: Option<Duration>,
}

impl TokenRequest {
    /// A token for `subject` with nothing else in it.
    pub fn new(subject: impl Into<String>) -> Self {
        let (subject, scope, claims, amr) = (subject.into(), Scope::empty(), Map::new(), Vec::new());
        Self { subject, client_id: None, scope, claims, session_id: None, auth_time: None, amr, ttl: None }
    }
}

/// An access token that was just issued.
///
/// ```
/// use std::time::Duration;
/// use tower_oauth2_password::IssuedToken;
///
/// let issued = IssuedToken::new("2YotnFZFEjr1zCsicMWpAA", Duration::from_secs(3_600));
/// assert_eq!((issued.token.expose(), issued.expires_in.as_secs()), ("2YotnFZFEjr1zCsicMWpAA", 3_600));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct IssuedToken {
    /// The `access_token` of the response.
    pub token: Secret,
    /// The `expires_in` of the response, sent in whole seconds.
    pub expires_in: Duration,
}

impl IssuedToken {
    /// A token and its lifetime.
    pub fn new(token: impl Into<Secret>, expires_in: Duration) -> Self {
        Self { token: token.into(), expires_in }
    }
}

/// Issues access tokens. [`Jwt`] does. Your own issuer may ask a key management service, or return opaque tokens.
///
/// ```
/// use std::time::Duration;
/// use tower_oauth2_password::{BoxError, IssuedToken, TokenIssuer, TokenRequest};
///
/// struct Opaque;
///
/// impl TokenIssuer for Opaque {
///     async fn issue(&self, request: TokenRequest) -> Result<IssuedToken, BoxError> {
///         let token = format!("session of {}", request.subject); // random, and kept in your database
///         Ok(IssuedToken::new(token, Duration::from_secs(900)))
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// assert_eq!(Opaque.issue(TokenRequest::new("alice")).await?.token.expose(), "session of alice");
/// let day = Duration::from_secs(86_400);
/// assert_eq!((Opaque.issuer(), Opaque.audience(), Opaque.longest_ttl()), (None, None, day), "unless you implement them");
/// # Ok::<(), BoxError>(())
/// # })?;
/// # Ok::<(), BoxError>(())
/// ```
#[diagnostic::on_unimplemented(message = "`{Self}` cannot issue tokens", label = "`Jwt` can: `Jwt::new(key, ..)`")]
pub trait TokenIssuer: Send + Sync + 'static {
    /// Issues one token.
    ///
    /// # Errors
    /// When it cannot. The client gets a 503, and the cause is logged. A [`TokenError`](crate::TokenError) is sent as it is.
    fn issue(&self, request: TokenRequest) -> impl Future<Output = Result<IssuedToken, BoxError>> + Send
    where
        Self: Sized;

    /// The `iss` of the tokens, if they have one. The metadata of the authorization server needs it (RFC 8414).
    fn issuer(&self) -> Option<String> {
        None
    }

    /// The `aud` of the tokens, if they have one. With `iss` it names this authorization server, if others share its stores.
    fn audience(&self) -> Option<String> {
        None
    }

    /// The longest lifetime of a token. For so long it is remembered which sessions and subjects were ended. The default is
    /// a day.
    fn longest_ttl(&self) -> Duration {
        Duration::from_secs(86_400)
    }

    /// The JWK Set (RFC 7517, section 5) by which other servers validate the tokens. The default has no keys.
    fn jwks(&self) -> Value {
        json!({ "keys": [] })
    }
}

impl<I: TokenIssuer> TokenIssuer for Arc<I> {
    fn issue(&self, request: TokenRequest) -> impl Future<Output = Result<IssuedToken, BoxError>> + Send {
        I::issue(self, request)
    }

    fn issuer(&self) -> Option<String> {
        I::issuer(self)
    }

    fn audience(&self) -> Option<String> {
        I::audience(self)
    }

    fn longest_ttl(&self) -> Duration {
        I::longest_ttl(self)
    }

    fn jwks(&self) -> Value {
        I::jwks(self)
    }
}

/// `TokenIssuer` with its future boxed, so that an endpoint can hold any of them.
pub(crate) trait DynIssuer: TokenIssuer {
    fn issue_boxed(&self, request: TokenRequest) -> BoxFuture<'_, Result<IssuedToken, BoxError>>;
}

impl<I: TokenIssuer> DynIssuer for I {
    fn issue_boxed(&self, request: TokenRequest) -> BoxFuture<'_, Result<IssuedToken, BoxError>> {
        Box::pin(self.issue(request))
    }
}

/// Accepts or rejects access tokens. [`Jwt`] and [`JwtValidator`] do, and so does each closure
/// `Fn(&str) -> Result<AccessToken, InvalidToken>`.
///
/// It runs on an async worker and must not block: keep what it needs in memory.
///
/// ```
/// use std::collections::HashMap;
/// use tower_oauth2_password::{AccessToken, InvalidToken, TokenValidator};
///
/// let sessions = HashMap::from([("s3cr3t", "alice")]);
/// let validator = move |token: &str| match sessions.get(token) {
///     Some(subject) => Ok(AccessToken::new(*subject)),
///     None => Err(InvalidToken::Malformed),
/// };
/// assert_eq!(validator.validate("s3cr3t")?.subject(), "alice");
/// assert!(validator.validate("guess").is_err());
/// # Ok::<(), InvalidToken>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot validate tokens",
    label = "expected a `TokenValidator`, such as `Jwt` or `JwtValidator`",
    note = "a closure must be `Fn(&str) -> Result<AccessToken, InvalidToken>`, and `Send + Sync + 'static`"
)]
pub trait TokenValidator: Send + Sync + 'static {
    /// Returns the contents of a token that is valid here and now.
    ///
    /// # Errors
    /// When it is not. The reason goes to the log, and the client gets `invalid_token`.
    fn validate(&self, token: &str) -> Result<AccessToken, InvalidToken>;

    /// Returns the contents of a token that this issuer signed, whatever its audience, for the revocation endpoint. The
    /// default asks [`validate`](Self::validate).
    ///
    /// # Errors
    /// [`InvalidToken::UnknownKey`] if it may be valid elsewhere, so that nobody takes it for revoked.
    fn validate_to_revoke(&self, token: &str) -> Result<AccessToken, InvalidToken> {
        self.validate(token)
    }

    /// The longest token in bytes that the guard passes to this validator. The default is 4,096.
    fn longest_token(&self) -> usize {
        LONGEST_TOKEN
    }
}

impl<F> TokenValidator for F
where
    F: Fn(&str) -> Result<AccessToken, InvalidToken> + Send + Sync + 'static,
{
    fn validate(&self, token: &str) -> Result<AccessToken, InvalidToken> {
        self(token)
    }
}

impl<V: TokenValidator + ?Sized> TokenValidator for Arc<V> {
    fn validate(&self, token: &str) -> Result<AccessToken, InvalidToken> {
        V::validate(self, token)
    }

    fn validate_to_revoke(&self, token: &str) -> Result<AccessToken, InvalidToken> {
        V::validate_to_revoke(self, token)
    }

    fn longest_token(&self) -> usize {
        V::longest_token(self)
    }
}

/// Why a token was rejected. The reason is for the log and for tests: the client gets `invalid_token`, whatever it is.
///
/// ```
/// use tower_oauth2_password::{InvalidToken, Jwt, Key, TokenValidator};
///
/// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
/// assert_eq!(jwt.validate("x").unwrap_err(), InvalidToken::Malformed);
/// # Ok::<(), tower_oauth2_password::KeyError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidToken {
    /// Not a JWT of the right form, type or algorithm, or a claim is missing.
    #[error("the token is malformed")]
    Malformed,
    /// No key verifies the signature.
    #[error("the signature of the token is wrong")]
    Signature,
    /// The issuer is ours, and the key is not known here.
    #[error("the token is signed with a key that is not known here")]
    UnknownKey,
    /// `exp` is in the past.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iss` or `aud` is not this server.
    #[error("the token is not meant for this server")]
    NotForThisServer,
    /// The token was revoked.
    #[error("the token was revoked")]
    Revoked,
    /// The app knows no such token, or its user is not active.
    #[error("the app refused the token")]
    Refused,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    struct Subject;

    impl TokenIssuer for Subject {
        async fn issue(&self, request: TokenRequest) -> Result<IssuedToken, BoxError> {
            Ok(IssuedToken::new(request.subject, Duration::from_secs(5)))
        }
    }

    #[tokio::test]
    async fn an_arc_issues_and_validates() {
        let issued = TokenIssuer::issue(&Arc::new(Subject), TokenRequest::new("alice")).await.unwrap();
        assert_eq!((issued.token.expose(), issued.expires_in), ("alice", Duration::from_secs(5)));

        let only_alice =
            |text: &str| if text == "alice" { Ok(AccessToken::new(text)) } else { Err(InvalidToken::Revoked) };
        let shared = Arc::new(only_alice);
        for validator in [&only_alice as &dyn TokenValidator, &shared] {
            assert_eq!(validator.validate("alice").unwrap().subject(), "alice");
            assert_eq!(validator.validate("bob").err(), Some(InvalidToken::Revoked));
        }
    }

    #[test]
    fn each_reason_has_its_own_message() {
        use InvalidToken::{
            Expired, Malformed, NotForThisServer, NotYetValid, Refused, Revoked, Signature, UnknownKey,
        };
        let reasons = [Malformed, Signature, UnknownKey, Expired, NotYetValid, NotForThisServer, Revoked, Refused];
        let words: BTreeSet<_> = reasons.iter().map(ToString::to_string).filter(|text| !text.is_empty()).collect();
        assert_eq!(words.len(), reasons.len(), "{words:?}");
    }
}
