//! The token endpoint as a tower layer.

mod config;
#[cfg(feature = "utoipa")]
mod openapi;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{Response, request::Parts};
use tower_layer::Layer;

pub use self::config::InvalidConfig;
pub(crate) use self::config::{Common, check_realm};
use crate::{
    AttemptLimits, Clients, RefreshTokens, TokenError, TokenIssuer, Verifier,
    protocol::exchange::{self, ClientPolicy, Exchange},
    shell::{Endpoint, EndpointService, Leaf},
    verifier::BoxFuture,
};

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
    endpoint: Arc<TokenEndpoint>,
}

#[derive(Clone)]
struct TokenEndpoint {
    common: Common,
    exchange: Exchange,
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
        Self { endpoint: Arc::new(TokenEndpoint { common: Common::new("/token"), exchange }) }
    }

    fn edit(mut self, change: impl FnOnce(&mut TokenEndpoint)) -> Self {
        change(Arc::make_mut(&mut self.endpoint));
        self
    }

    /// The path, compared to the request's exactly, without decoding.
    ///
    /// # Errors
    /// When it does not begin with `/`, or holds what no request path can hold.
    pub fn with_path(mut self, path: &str) -> Result<Self, InvalidConfig> {
        Arc::make_mut(&mut self.endpoint).common.set_path(path)?;
        Ok(self)
    }

    /// The `realm` of the Basic challenge: `token` unless set.
    ///
    /// # Errors
    /// When it holds anything but printable ASCII without `"` and `\`.
    pub fn with_realm(mut self, realm: &str) -> Result<Self, InvalidConfig> {
        Arc::make_mut(&mut self.endpoint).common.set_realm(realm)?;
        Ok(self)
    }

    /// The largest body that is read, in bytes: 16,384 unless set.
    #[must_use]
    pub fn with_body_limit(self, bytes: usize) -> Self {
        self.edit(|endpoint| endpoint.common.body_limit = bytes)
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

    /// Hands out refresh tokens and serves `grant_type=refresh_token`.
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

    /// Renders errors in an API's own shape. Headers that an error must carry (`cache-control`, `pragma`,
    /// `retry-after`, `www-authenticate`) are added afterwards where they are missing.
    #[must_use]
    pub fn with_error_response(self, render: impl Fn(&TokenError) -> Response<Bytes> + Send + Sync + 'static) -> Self {
        self.edit(|endpoint| endpoint.common.render = Arc::new(render))
    }

    /// The same endpoint as a service of its own, for `Router::route_service("/token", ...)`: immune to what fallbacks,
    /// `route_layer`, `merge` and `nest` do to layers.
    #[must_use]
    pub fn into_service(self) -> Leaf {
        Leaf::new(self.endpoint)
    }
}

impl fmt::Debug for TokenEndpointLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenEndpointLayer").field("path", &self.endpoint.common.path).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for TokenEndpointLayer {
    type Service = EndpointService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        EndpointService::new(inner, Arc::clone(&self.endpoint) as _)
    }
}

impl Endpoint for TokenEndpoint {
    fn path(&self) -> &str {
        &self.common.path
    }

    fn body_limit(&self) -> usize {
        self.common.body_limit
    }

    fn not_in_query(&self) -> &'static [&'static str] {
        exchange::NOT_IN_QUERY
    }

    fn decide<'a>(&'a self, parts: &'a Parts, body: &'a [u8]) -> BoxFuture<'a, Result<Response<Bytes>, TokenError>> {
        Box::pin(async move { Ok(self.exchange.decide(parts, body).await?.render()) })
    }

    fn render(&self, error: &TokenError) -> Response<Bytes> {
        self.common.render(error)
    }
}
