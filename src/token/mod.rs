//! Access tokens: how they are made and checked.

pub(crate) mod access;
mod jwk;
pub(crate) mod jwt;
pub(crate) mod key;
mod pem;
pub(crate) mod validator;
pub(crate) mod verification_key;

use std::{fmt, future::Future, sync::Arc, time::Duration};

pub(crate) use self::validator::{LONGEST_LEEWAY, LONGEST_TOKEN};
pub use self::{
    access::AccessToken,
    jwt::Jwt,
    key::{Key, KeyError},
    validator::JwtValidator,
    verification_key::VerificationKey,
};
use crate::{
    error::{BoxError, BoxFuture},
    scope::Scope,
    secret::Secret,
};
use serde_json::{Map, Value};

/// What an access token is to say.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TokenRequest {
    /// The `sub` claim.
    pub subject: String,
    /// The `client_id` claim, where there is a client.
    pub client_id: Option<String>,
    /// The `scope` claim.
    pub scope: Scope,
    /// Additional claims; the issuer's own win.
    pub claims: Map<String, Value>,
}

impl TokenRequest {
    /// A token for `subject` with nothing else in it.
    #[must_use]
    pub fn new(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), client_id: None, scope: Scope::empty(), claims: Map::new() }
    }
}

/// An access token that was just made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IssuedToken {
    /// What the client gets as `access_token`.
    pub token: Secret,
    /// What the client gets as `expires_in`.
    pub expires_in: Duration,
}

impl IssuedToken {
    /// A token and how long it is good.
    #[must_use]
    pub fn new(token: impl Into<Secret>, expires_in: Duration) -> Self {
        Self { token: token.into(), expires_in }
    }
}

/// Makes access tokens. [`Jwt`] does; a key management service or opaque tokens are other ways.
pub trait TokenIssuer: Send + Sync + 'static {
    /// Makes one token. An error is answered 503 `temporarily_unavailable` and logged.
    fn issue(&self, request: TokenRequest) -> impl Future<Output = Result<IssuedToken, BoxError>> + Send;
}

impl<I: TokenIssuer> TokenIssuer for Arc<I> {
    fn issue(&self, request: TokenRequest) -> impl Future<Output = Result<IssuedToken, BoxError>> + Send {
        I::issue(self, request)
    }
}

/// `TokenIssuer` with its future boxed, so that the endpoint can hold any of them.
pub(crate) trait DynIssuer: Send + Sync {
    fn issue(&self, request: TokenRequest) -> BoxFuture<'_, Result<IssuedToken, BoxError>>;
}

impl<I: TokenIssuer> DynIssuer for I {
    fn issue(&self, request: TokenRequest) -> BoxFuture<'_, Result<IssuedToken, BoxError>> {
        Box::pin(TokenIssuer::issue(self, request))
    }
}

/// Checks access tokens, synchronously: what it needs is at hand when the request comes.
///
/// Implemented by [`Jwt`], by closures `Fn(&str) -> Result<AccessToken, InvalidToken>`, and by `Arc`s of validators.
pub trait TokenValidator: Send + Sync + 'static {
    /// Decides whether a bearer token is good here and now, and says what is in it.
    fn validate(&self, token: &str) -> Result<AccessToken, InvalidToken>;
}

impl<F> TokenValidator for F
where
    F: Fn(&str) -> Result<AccessToken, InvalidToken> + Send + Sync + 'static,
{
    fn validate(&self, token: &str) -> Result<AccessToken, InvalidToken> {
        self(token)
    }
}

impl<V: TokenValidator> TokenValidator for Arc<V> {
    fn validate(&self, token: &str) -> Result<AccessToken, InvalidToken> {
        V::validate(self, token)
    }
}

/// The token is expired, forged, or not meant for this server. The reason is for the log and for tests; the client is
/// told `invalid_token` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidToken {
    /// Not a JWT of the right form, type or algorithm, or a claim is missing.
    Malformed,
    /// The signature does not fit any key.
    Signature,
    /// `exp` is past.
    Expired,
    /// `nbf` is still to come.
    NotYetValid,
    /// `iss` or `aud` is not this server.
    NotForThisServer,
    /// It was revoked.
    Revoked,
}

impl fmt::Display for InvalidToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the token is malformed",
            Self::Signature => "the token's signature does not fit",
            Self::Expired => "the token has expired",
            Self::NotYetValid => "the token is not valid yet",
            Self::NotForThisServer => "the token is not meant for this server",
            Self::Revoked => "the token was revoked",
        })
    }
}

impl std::error::Error for InvalidToken {}

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
    async fn what_is_in_an_arc_issues_and_validates() {
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
    fn each_reason_has_words_of_its_own() {
        use InvalidToken::{Expired, Malformed, NotForThisServer, NotYetValid, Revoked, Signature};
        let reasons = [Malformed, Signature, Expired, NotYetValid, NotForThisServer, Revoked];
        let words: BTreeSet<_> = reasons.iter().map(ToString::to_string).filter(|text| !text.is_empty()).collect();
        assert_eq!(words.len(), reasons.len(), "{words:?}");
    }
}
