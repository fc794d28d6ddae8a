//! The revocation endpoint as a tower layer.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{Response, request::Parts};
use tower_layer::Layer;

use crate::{
    AttemptLimits, Clients, RefreshTokens, RequireHttps, TokenError, TokenValidator,
    endpoint::{Common, InvalidConfig},
    protocol::{
        exchange::ClientPolicy,
        revoke::{self, Revocation},
    },
    shell::{Endpoint, EndpointService, Leaf},
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

    fn edit(mut self, change: impl FnOnce(&mut RevocationEndpoint)) -> Self {
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

    /// Renders errors in an API's own shape.
    #[must_use]
    pub fn with_error_response(self, render: impl Fn(&TokenError) -> Response<Bytes> + Send + Sync + 'static) -> Self {
        self.edit(|endpoint| endpoint.common.render = Arc::new(render))
    }

    /// Refuses requests that are not known to have come over TLS, before their body is read: 400 `invalid_request`.
    #[must_use]
    pub fn with_https_required(self, rule: RequireHttps) -> Self {
        self.edit(|endpoint| endpoint.common.https = Some(rule))
    }

    /// The same endpoint as a service of its own, for `Router::route_service("/revoke", ...)`.
    #[must_use]
    pub fn into_service(self) -> Leaf {
        Leaf::new(self.endpoint)
    }
}

impl fmt::Debug for RevocationLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationLayer").field("path", &self.endpoint.common.path).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for RevocationLayer {
    type Service = EndpointService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        EndpointService::new(inner, Arc::clone(&self.endpoint) as _)
    }
}

impl Endpoint for RevocationEndpoint {
    fn path(&self) -> &str {
        &self.common.path
    }

    fn https(&self) -> Option<&RequireHttps> {
        self.common.https.as_ref()
    }

    fn body_limit(&self) -> usize {
        self.common.body_limit
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

    fn render(&self, error: &TokenError) -> Response<Bytes> {
        self.common.render(error)
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, header};
    use http_body_util::{BodyExt, Full};
    use tower::ServiceExt;

    use super::*;
    use crate::store::MemoryRefreshStore;

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
