//! The token endpoint as a tower layer.

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
        grant::{self, Exchange},
        refresh_token::RefreshTokens,
        response::{self, TokenResponse},
    },
    store::StoreBudget,
    token::TokenIssuer,
    verifier::Verifier,
};

type Render = dyn Fn(&TokenResponse) -> Response<Bytes> + Send + Sync;

/// Answers `POST /token` (RFC 6749, sections 4.3 and 6) and passes every other request on untouched. Cheap to clone.
///
/// ```
/// use tower_oauth2_password::{Identity, Jwt, Key, Login, TokenEndpointLayer, Verdict};
///
/// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
/// let layer = TokenEndpointLayer::new(
///     |login: Login| async move {
///         let right = login.username == "alice" && login.password.expose() == "wonderland123"; // ask your directory
///         Ok(if right { Identity::new("alice").into() } else { Verdict::Denied })
///     },
///     jwt,
/// )
/// .with_path("/login")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TokenEndpointLayer {
    pub(super) endpoint: Arc<TokenEndpoint>,
}

#[derive(Clone)]
pub(super) struct TokenEndpoint {
    pub(super) common: Common,
    pub(super) exchange: Exchange,
    render: Arc<Render>,
}

impl TokenEndpointLayer {
    /// An endpoint at `/token` that asks `verifier` who someone is and hands out what `issuer` makes.
    #[must_use]
    pub fn new(verifier: impl Verifier, issuer: impl TokenIssuer) -> Self {
        let exchange = Exchange {
            verifier: Arc::new(verifier),
            issuer: Arc::new(issuer),
            policy: ClientPolicy::default(),
            refresh: None,
            optional_grant_type: false,
        };
        Self {
            endpoint: Arc::new(TokenEndpoint {
                common: Common::new("/token"),
                exchange,
                render: Arc::new(TokenResponse::render),
            }),
        }
    }

    /// Registers clients. None is needed to log in, but one that identifies itself must do so rightly; without this,
    /// every client that identifies itself is refused.
    #[must_use]
    pub fn with_clients(self, clients: impl Clients) -> Self {
        self.edit(|endpoint| endpoint.exchange.policy.clients = Some(Arc::new(clients)))
    }

    /// Does not look at client credentials, as FastAPI's tutorial does not: whatever a client says of itself is
    /// accepted and forgotten.
    #[must_use]
    pub fn with_client_credentials_ignored(self) -> Self {
        self.edit(|endpoint| endpoint.exchange.policy.ignored = true)
    }

    /// Hands out refresh tokens and serves `grant_type=refresh_token`. The verifier must implement
    /// [`verify_subject`](crate::Verifier::verify_subject), as [`PasswordVerifier`](crate::PasswordVerifier) does: its
    /// default, which closures have, refuses each refresh.
    #[must_use]
    pub fn with_refresh_tokens(self, tokens: RefreshTokens) -> Self {
        self.edit(|endpoint| endpoint.exchange.refresh = Some(tokens))
    }

    /// Holds back who guesses passwords or client secrets. Without it there is no brute-force protection, which
    /// RFC 6749, section 4.3.2 demands.
    #[must_use]
    pub fn with_attempt_limits(self, limits: AttemptLimits) -> Self {
        self.edit(|endpoint| endpoint.exchange.policy.attempts = Some(limits))
    }

    /// A missing or empty `grant_type` counts as `password`, as in FastAPI. Off by default.
    #[must_use]
    pub fn with_optional_grant_type(self) -> Self {
        self.edit(|endpoint| endpoint.exchange.optional_grant_type = true)
    }

    /// Renders tokens in an API's own shape, for clients that expect other members than those of RFC 6749,
    /// section 5.1. `cache-control: no-store` and `pragma: no-cache` are added afterwards.
    #[must_use]
    pub fn with_token_response(
        self,
        render: impl Fn(&TokenResponse) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.edit(|endpoint| endpoint.render = Arc::new(render))
    }
}

endpoint_layer!(TokenEndpointLayer, TokenEndpoint);

impl Endpoint for TokenEndpoint {
    fn common(&self) -> &Common {
        &self.common
    }

    fn required(&self) -> &'static [&'static str] {
        self.exchange.required()
    }

    fn not_in_query(&self) -> &'static [&'static str] {
        grant::NOT_IN_QUERY
    }

    fn decide<'a>(
        &'a self,
        parts: &'a Parts,
        body: &'a [u8],
        budget: &'a StoreBudget,
    ) -> BoxFuture<'a, Result<Response<Bytes>, TokenError>> {
        Box::pin(
            async move { Ok(response::uncached((self.render)(&self.exchange.decide(parts, body, budget).await?))) },
        )
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, header};
    use http_body_util::{BodyExt, Full};
    use tower::ServiceExt;

    use super::*;
    use crate::{
        token::{jwt::Jwt, key::Key},
        verifier::{Identity, Login},
    };

    fn layer() -> TokenEndpointLayer {
        let jwt = Jwt::new(Key::hs256([7; 32]).unwrap(), "i", "a");
        TokenEndpointLayer::new(|login: Login| async move { Ok(Identity::new(login.username).into()) }, jwt)
    }

    fn request(uri: &str, content_type: &str) -> Request<Full<Bytes>> {
        let body = Full::from("grant_type=password&username=alice&password=p");
        Request::post(uri).header(header::CONTENT_TYPE, content_type).body(body).unwrap()
    }

    async fn body(layer: TokenEndpointLayer, request: Request<Full<Bytes>>) -> (http::HeaderMap, String) {
        let (parts, body) = layer.into_service().oneshot(request).await.unwrap().into_parts();
        (parts.headers, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_token_is_rendered_as_told_and_never_cached() {
        let layer = layer().with_token_response(|token| {
            let [header, _, _] = token.access_token().expose().split('.').collect::<Vec<_>>()[..] else { panic!() };
            assert!(!header.is_empty() && token.refresh_token().is_none());
            Response::new(Bytes::from(format!("{} s, {:?}", token.expires_in().as_secs(), token.scope().as_str())))
        });
        let (headers, body) = body(layer, request("/token", "application/x-www-form-urlencoded")).await;
        assert_eq!(body, "900 s, \"\"");
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(headers[header::PRAGMA], "no-cache");
    }

    #[tokio::test]
    async fn a_longer_body_than_configured_is_refused() {
        let form = "application/x-www-form-urlencoded";
        let (_, all) = body(layer().with_body_limit(45), request("/token", form)).await;
        assert!(all.contains("access_token"), "{all}");
        let (_, refused) = body(layer().with_body_limit(44), request("/token", form)).await;
        assert!(refused.contains("too large"), "{refused}");
    }

    #[tokio::test]
    async fn without_a_token_to_give_a_login_is_put_off() {
        struct Away;
        impl TokenIssuer for Away {
            async fn issue(
                &self,
                _: crate::token::TokenRequest,
            ) -> Result<crate::token::IssuedToken, crate::error::BoxError> {
                Err("kms.internal refused".into())
            }
        }
        let verifier = |login: Login| async move { Ok(Identity::new(login.username).into()) };
        let request = request("/token", "application/x-www-form-urlencoded");
        let (headers, refused) = body(TokenEndpointLayer::new(verifier, Away), request).await;
        assert!(refused.contains("temporarily_unavailable") && !refused.contains("kms"), "{refused}");
        assert_eq!(headers[header::RETRY_AFTER], "1");
    }

    #[tokio::test]
    async fn https_is_required_where_it_is_said() {
        let form = "application/x-www-form-urlencoded";
        let strict = layer().with_https_required(crate::layer::https::RequireHttps::new());
        let (_, refused) = body(strict.clone(), request("/token", form)).await;
        assert!(refused.contains("HTTPS only"), "{refused}");
        let (_, all) = body(strict, request("https://api.example/token", form)).await;
        assert!(all.contains("access_token"), "{all}");
    }

    #[tokio::test]
    async fn the_realm_is_that_of_the_challenge() {
        let clients = crate::protocol::client::StaticClients::default();
        let layer = layer().with_realm("members").unwrap().with_clients(clients);
        let mut request = request("/token", "application/x-www-form-urlencoded");
        request.headers_mut().insert(header::AUTHORIZATION, "Basic eDp5".parse().unwrap());
        let (headers, _) = body(layer, request).await;
        assert_eq!(headers[header::WWW_AUTHENTICATE], "Basic realm=\"members\"");
        assert!(self::layer().with_realm("a\"b").is_err() && self::layer().with_path("token").is_err());
    }

    #[test]
    fn what_is_printed_names_the_path_and_the_inner_service() {
        let layer = layer().with_path("/login").unwrap();
        let service = tower::Layer::layer(&layer, "inner");
        assert!(format!("{service:?}").contains("inner: \"inner\""));
        for printed in [format!("{layer:?}"), format!("{:?}", layer.into_service())] {
            assert!(printed.contains("path: \"/login\""), "{printed}");
        }
    }

    #[tokio::test]
    async fn what_was_not_read_is_told_as_missing() {
        let form = "application/x-www-form-urlencoded";
        for (uri, content_type, missing) in [
            ("/token", "application/json", "username password"),
            ("/token?password=p&x=1", form, "password"),
            ("/token?pass%77ord=p&username=alice", form, "username password"),
        ] {
            let layer = layer()
                .with_optional_grant_type()
                .with_error_response(|error| Response::new(Bytes::from(error.missing_parameters().join(" "))));
            assert_eq!(body(layer, request(uri, content_type)).await.1, missing, "{uri} {content_type}");
        }
    }
}
