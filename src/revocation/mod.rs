//! The revocation endpoint as a tower layer.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, request::Parts};

use crate::{
    AttemptLimits, Clients, RefreshTokens, TokenError, TokenValidator,
    protocol::{
        client_policy::ClientPolicy,
        revoke::{self, Revocation},
    },
    shell::{Common, Endpoint, endpoint_layer},
    store::DenyList,
    verifier::BoxFuture,
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
    /// An endpoint at `/revoke` that ends the family of a refresh token.
    #[must_use]
    pub fn new(tokens: RefreshTokens) -> Self {
        let revocation = Revocation { refresh: tokens, policy: ClientPolicy::default(), access: None, deny_list: None };
        Self { endpoint: Arc::new(RevocationEndpoint { common: Common::new("/revoke"), revocation }) }
    }

    /// Also revokes access tokens: those that `validator` finds good are put on `deny_list`, which the guard must be
    /// given, too. Without it an access token is answered 400 `unsupported_token_type` once `validator` is known.
    #[must_use]
    pub fn with_access_tokens(self, validator: impl TokenValidator, deny_list: impl DenyList) -> Self {
        self.edit(|endpoint| {
            endpoint.revocation.access = Some(Arc::new(validator));
            endpoint.revocation.deny_list = Some(Arc::new(deny_list));
        })
    }

    /// Tells access tokens from unknown ones, so that they are answered 400 `unsupported_token_type` (RFC 7009,
    /// section 2.2.1) rather than a 200 that changes nothing.
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
        revoke::REQUIRED
    }

    fn not_in_query(&self) -> &'static [&'static str] {
        revoke::NOT_IN_QUERY
    }

    fn decide<'a>(&'a self, parts: &'a Parts, body: &'a [u8]) -> BoxFuture<'a, Result<Response<Bytes>, TokenError>> {
        Box::pin(async move {
            self.revocation.decide(parts, body).await?;
            Ok(revoke::revoked())
        })
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, header};
    use http_body_util::{BodyExt, Full};
    use tower::ServiceExt;

    use super::*;
    use crate::{AccessToken, InvalidToken, store::MemoryRefreshStore};

    #[tokio::test]
    async fn an_access_token_that_cannot_be_revoked_is_no_success() {
        let only_good =
            |text: &str| if text == "good" { Ok(AccessToken::new("a")) } else { Err(InvalidToken::Expired) };
        let plain = RevocationLayer::new(RefreshTokens::new(MemoryRefreshStore::new()));
        for (layer, token, status) in [
            (plain.clone().with_access_tokens_refused(only_good), "good", 400),
            (plain.clone().with_access_tokens_refused(only_good), "expired", 200),
            (plain, "good", 200),
        ] {
            let request = Request::post("/").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            let request = request.body(Full::<Bytes>::from(format!("token={token}"))).unwrap();
            let response = layer.into_service().oneshot(request).await.unwrap();
            assert_eq!(response.status(), status, "{token}");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let body = String::from_utf8_lossy(&body);
            assert_eq!(body.contains("unsupported_token_type"), status == 400, "{body}");
        }
    }

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
}
