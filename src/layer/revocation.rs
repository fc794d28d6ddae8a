//! The revocation endpoint as a tower layer.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, request::Parts};

use crate::{
    attempts::AttemptLimits,
    error::{BoxFuture, TokenError},
    layer::options::endpoint_layer,
    layer::{common::Common, endpoint::Endpoint},
    protocol::{
        client::Clients,
        client_policy::ClientPolicy,
        refresh_token::RefreshTokens,
        revocation::{self, Revocation},
    },
    store::{DenyList, StoreBudget},
    token::TokenValidator,
};

/// Answers `POST /revoke` (RFC 7009) and passes every other request on untouched. Cheap to clone.
///
/// Who holds a token may revoke it; a client that identifies itself may revoke only its own.
#[derive(Clone)]
pub struct RevocationLayer {
    endpoint: Arc<RevocationEndpoint>,
}

#[derive(Clone)]
struct RevocationEndpoint {
    common: Common,
    revocation: Revocation,
}

impl RevocationLayer {
    /// An endpoint at `/revoke` that ends the family of a refresh token. It knows no access tokens: what has the form of
    /// a JWT is answered 400 `unsupported_token_type` (RFC 7009, section 2.2.1), anything else that is unknown 200.
    #[must_use]
    pub fn new(tokens: RefreshTokens) -> Self {
        let revocation = Revocation { refresh: tokens, policy: ClientPolicy::default(), access: None, deny_list: None };
        Self { endpoint: Arc::new(RevocationEndpoint { common: Common::new("/revoke"), revocation }) }
    }

    /// Also revokes access tokens: those that `validator` finds good are put on `deny_list`, which the guard must be
    /// given, too. They stay there for 5 minutes longer than they live (for good, where they
    /// have no end: give them one, since the list is bounded), so a guard may allow no more leeway than that;
    /// [`Jwt`](crate::Jwt) and [`JwtValidator`](crate::JwtValidator) do not.
    #[must_use]
    pub fn with_access_tokens(self, validator: impl TokenValidator, deny_list: impl DenyList) -> Self {
        self.edit(|endpoint| {
            endpoint.revocation.access = Some(Arc::new(validator));
            endpoint.revocation.deny_list = Some(Arc::new(deny_list));
        })
    }

    /// Answers 400 `unsupported_token_type` (RFC 7009, section 2.2.1) to the access tokens alone that `validator` finds
    /// good, whatever their form, and 200 to those that are over or were never issued.
    #[must_use]
    pub fn with_access_tokens_refused(self, validator: impl TokenValidator) -> Self {
        self.edit(|endpoint| endpoint.revocation.access = Some(Arc::new(validator)))
    }

    /// Registers clients, as the token endpoint does.
    #[must_use]
    pub fn with_clients(self, clients: impl Clients) -> Self {
        self.edit(|endpoint| endpoint.revocation.policy.clients = Some(Arc::new(clients)))
    }

    /// Holds back who guesses client secrets.
    #[must_use]
    pub fn with_attempt_limits(self, limits: AttemptLimits) -> Self {
        self.edit(|endpoint| endpoint.revocation.policy.attempts = Some(limits))
    }
}

endpoint_layer!(RevocationLayer, RevocationEndpoint);

impl Endpoint for RevocationEndpoint {
    fn common(&self) -> &Common {
        &self.common
    }

    fn required(&self) -> &'static [&'static str] {
        revocation::REQUIRED
    }

    fn not_in_query(&self) -> &'static [&'static str] {
        revocation::NOT_IN_QUERY
    }

    fn decide<'a>(
        &'a self,
        parts: &'a Parts,
        body: &'a [u8],
        budget: &'a StoreBudget,
    ) -> BoxFuture<'a, Result<Response<Bytes>, TokenError>> {
        Box::pin(async move {
            self.revocation.decide(parts, body, budget).await?;
            Ok(revocation::revoked())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        time::{Duration, Instant},
    };

    use http::{Request, header};
    use http_body_util::{BodyExt, Full};
    use tower::ServiceExt;

    use super::*;
    use crate::{
        error::StoreError,
        store::{DenyList, MemoryDenyList, MemoryRefreshStore},
        token::{InvalidToken, TokenIssuer, TokenRequest, access::AccessToken, jwt::Jwt, key::Key},
    };

    #[tokio::test]
    async fn what_was_not_read_is_told_as_missing() {
        let layer = RevocationLayer::new(RefreshTokens::new(MemoryRefreshStore::new()))
            .with_error_response(|error| Response::new(Bytes::from(error.missing_parameters().join(" "))));
        for content_type in ["application/json", "application/x-www-form-urlencoded"] {
            let request = Request::post("/revoke").header(header::CONTENT_TYPE, content_type);
            let response = layer.clone().into_service().oneshot(request.body(Full::<Bytes>::default()).unwrap()).await;
            assert_eq!(response.unwrap().into_body().collect().await.unwrap().to_bytes(), "token", "{content_type}");
        }
    }

    async fn revoke(layer: &RevocationLayer, token: &str) -> (u16, Bytes) {
        let request = Request::post("/revoke").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = request.body(Full::<Bytes>::from(format!("token={token}"))).unwrap();
        let response = layer.clone().into_service().oneshot(request).await.unwrap();
        (response.status().as_u16(), response.into_body().collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn a_token_stays_denied_for_its_lifetime_and_five_minutes_of_leeway() {
        let now = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&now);
        let list = MemoryDenyList::new().with_clock(move || Duration::from_secs(clock.load(Ordering::Relaxed)));
        let jwt = Jwt::new(Key::hs256([7; 32]).unwrap(), "i", "a").with_ttl(Duration::from_secs(900));
        let issued = jwt.issue(TokenRequest::new("alice")).await.unwrap();
        let id = jwt.validate(issued.token.expose()).unwrap().id().unwrap().to_owned();
        let layer =
            RevocationLayer::new(RefreshTokens::new(MemoryRefreshStore::new())).with_access_tokens(jwt, list.clone());
        assert_eq!(revoke(&layer, issued.token.expose()).await.0, 200);
        for (second, denied) in [(1_190, true), (1_201, false)] {
            now.store(second, Ordering::Relaxed);
            assert_eq!(list.is_denied(&id), denied, "{second}");
        }
    }

    /// A list that cannot be written to.
    struct Away;

    impl DenyList for Away {
        async fn deny(&self, _: &str, _: Duration, _: Instant) -> Result<(), StoreError> {
            Err(StoreError::new("away"))
        }

        fn is_denied(&self, _: &str) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn what_no_store_took_is_not_said_to_be_revoked() {
        let validator = |text: &str| Ok::<_, InvalidToken>(AccessToken::new("alice").with_id(text));
        let layer = RevocationLayer::new(RefreshTokens::new(MemoryRefreshStore::new()));
        assert_eq!(revoke(&layer.with_access_tokens(validator, Away), "opaque").await.0, 503);
    }

    #[tokio::test]
    async fn a_token_without_an_end_stays_denied() {
        let now = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&now);
        let list = MemoryDenyList::new().with_clock(move || Duration::from_secs(clock.load(Ordering::Relaxed)));
        let endless = |text: &str| Ok::<_, InvalidToken>(AccessToken::new("alice").with_id(text));
        let layer = RevocationLayer::new(RefreshTokens::new(MemoryRefreshStore::new()));
        assert_eq!(revoke(&layer.with_access_tokens(endless, list.clone()), "opaque").await.0, 200);
        now.store(90 * 365 * 86_400, Ordering::Relaxed);
        assert!(list.is_denied("opaque"));
    }

    #[tokio::test]
    async fn an_access_token_in_the_form_of_a_refresh_token_is_revoked_all_the_same() {
        let opaque = "0123456789abcdef".repeat(4);
        let validator = |text: &str| Ok::<_, InvalidToken>(AccessToken::new("alice").with_id(text));
        let list = MemoryDenyList::new();
        let layer = || RevocationLayer::new(RefreshTokens::new(MemoryRefreshStore::new()));
        assert_eq!(revoke(&layer().with_access_tokens(validator, list.clone()), &opaque).await.0, 200);
        assert!(list.is_denied(&opaque), "RFC 7009, section 2.1: the search goes on");
        assert_eq!(revoke(&layer().with_access_tokens_refused(validator), &opaque).await.0, 400);
        assert_eq!(revoke(&layer(), &opaque).await.0, 200);
    }

    #[tokio::test]
    async fn what_may_be_an_access_token_is_not_said_to_be_revoked() {
        let jwt = Jwt::new(Key::hs256([7; 32]).unwrap(), "i", "a");
        let good = jwt.issue(TokenRequest::new("alice")).await.unwrap();
        let layer = || RevocationLayer::new(RefreshTokens::new(MemoryRefreshStore::new()));
        let (bare, refusing) = (layer(), layer().with_access_tokens_refused(jwt));
        for (layer, token, status) in [
            (&bare, good.token.expose(), 400),
            (&bare, "eyJh.eyJp.c2ln", 400),
            (&bare, "unknown", 200),
            (&bare, "a.b", 200),
            (&refusing, good.token.expose(), 400),
            (&refusing, "eyJh.eyJp.c2ln", 200),
        ] {
            let (answered, body) = revoke(layer, token).await;
            assert_eq!(answered, status, "{token}");
            assert_eq!(status == 400, body.starts_with(br#"{"error":"unsupported_token_type""#), "{body:?}");
        }
    }
}
