//! The guard for inner routes.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use tower::{Layer, Service};

use super::{body::ResponseBody, future::ResponseFuture};
use crate::error::{InvalidConfig, TokenError};
use crate::protocol::bearer::Guard;
use crate::protocol::response::{Realm, render_error};
use crate::scope::{InvalidScope, Scope};
use crate::store::DenyList;
use crate::token::TokenValidator;

/// Passes only requests with a valid bearer token (RFC 6750), and puts the [`AccessToken`](crate::AccessToken) into their
/// extensions. Cheap to clone.
///
/// 1. The header is `Authorization: Bearer`, once. A token in the query string, the body or a cookie counts as none.
/// 2. A request without a token gets a 401, an invalid token a 401 `invalid_token`, a missing scope a 403
///    `insufficient_scope`. gRPC calls get `UNAUTHENTICATED` or `PERMISSION_DENIED`.
/// 3. The guard answers before the body is read and before the inner service is called.
/// 4. A token of more than 4 KiB is invalid, unless the validator says otherwise
///    ([`TokenValidator::longest_token`]).
///
/// [`AuthorizationServer::guard`](crate::AuthorizationServer::guard) makes the guard of the server that issues the tokens, with
/// its deny list. `new` is for servers that accept the tokens of another.
///
/// ```
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_oauth2_password::{AccessToken, BearerLayer, BoxError, InvalidToken};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let guard = BearerLayer::new(|text: &str| match text {
///     "s3cr3t" => Ok(AccessToken::new("alice")),
///     _ => Err(InvalidToken::Malformed),
/// });
/// let app = guard.layer(service_fn(async |request: http::Request<()>| {
///     let token = request.extensions().get::<AccessToken>().ok_or("no guard")?;
///     Ok::<_, BoxError>(http::Response::new(token.subject().to_owned()))
/// }));
///
/// let request = |token| http::Request::get("/me").header("authorization", format!("Bearer {token}")).body(());
/// assert_eq!(app.clone().oneshot(request("s3cr3t")?).await?.status(), 200);
/// assert_eq!(app.oneshot(request("guess")?).await?.status(), 401);
/// # Ok::<(), BoxError>(())
/// # })?;
/// # Ok::<(), BoxError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct BearerLayer {
    guard: Arc<Guard>,
}

impl BearerLayer {
    /// Accepts the tokens that `validator` accepts.
    pub fn new(validator: impl TokenValidator) -> Self {
        let (validator, required, realm) = (Arc::new(validator), Scope::empty(), Realm::default());
        Self::over(Guard { validator, required, deny_list: None, issuer: None, realm, render: Arc::new(render_error) })
    }

    pub(super) fn over(guard: Guard) -> Self {
        Self { guard: Arc::new(guard) }
    }

    /// Requires all these scopes, separated by spaces, beside those required before.
    ///
    /// # Errors
    /// When the scope is malformed (RFC 6749, section 3.3).
    pub fn with_required_scope(mut self, scope: &str) -> Result<Self, InvalidScope> {
        let guard = Arc::make_mut(&mut self.guard);
        guard.required = format!("{} {scope}", guard.required).parse()?;
        Ok(self)
    }

    /// Rejects access tokens that were revoked.
    pub fn with_deny_list(mut self, deny_list: impl DenyList) -> Self {
        Arc::make_mut(&mut self.guard).deny_list = Some(Arc::new(deny_list));
        self
    }

    /// Sets the `realm` of the challenge. The default is `api`.
    ///
    /// # Errors
    /// When it has anything but printable ASCII without `"` and `\`.
    pub fn with_realm(mut self, realm: &str) -> Result<Self, InvalidConfig> {
        Arc::make_mut(&mut self.guard).realm = Realm::new(realm)?;
        Ok(self)
    }

    /// Renders refusals in your API's own format. A challenge is added if it is missing. gRPC calls keep their format.
    pub fn with_error_response(
        mut self,
        render: impl Fn(&TokenError) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        Arc::make_mut(&mut self.guard).render = Arc::new(render);
        self
    }
}

impl<S> Layer<S> for BearerLayer {
    type Service = BearerService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BearerService { inner, guard: Arc::clone(&self.guard) }
    }
}

/// The service that [`BearerLayer`] makes.
///
/// ```
/// use tower::Layer;
/// use tower_oauth2_password::{AccessToken, BearerLayer, BearerService};
///
/// let guard = BearerLayer::new(|text: &str| Ok(AccessToken::new(text)));
/// let service: BearerService<&str> = guard.layer("inner");
/// assert!(format!("{service:?}").contains("inner: \"inner\""));
/// ```
#[derive(Clone, Debug)]
pub struct BearerService<S> {
    inner: S,
    guard: Arc<Guard>,
}

impl<S, B, R> Service<Request<B>> for BearerService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.guard.check(&request) {
            Ok(token) => {
                request.extensions_mut().insert(token);
                ResponseFuture::inner(self.inner.call(request))
            }
            Err(refusal) => ResponseFuture::ready(*refusal),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::FutureExt;
    use http::header::WWW_AUTHENTICATE;
    use tower::ServiceExt;

    use super::*;
    use crate::token::AccessToken;

    fn layer() -> BearerLayer {
        BearerLayer::new(|text: &str| Ok(AccessToken::new(text)))
    }

    #[test]
    fn the_realm_is_in_the_challenge() {
        let inner = tower::service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
        let guarded = layer().with_realm("members").unwrap().layer(inner);
        let refused = guarded.oneshot(Request::new(())).now_or_never().unwrap().unwrap();
        assert_eq!(refused.headers()[WWW_AUTHENTICATE], "Bearer realm=\"members\"");
        let error = layer().with_realm("a\"b").unwrap_err().to_string();
        assert!(error.contains("\"a\\\"b\""), "{error}");
    }

    #[test]
    fn debug_output_names_the_scope() {
        let layer = layer().with_required_scope("items:read").unwrap().with_required_scope("items:write").unwrap();
        assert!(format!("{layer:?}").contains("items:read items:write"), "the second adds to the first");
    }

    #[test]
    fn the_guard_is_ready_when_the_inner_service_is() {
        struct Busy;
        impl Service<Request<()>> for Busy {
            type Response = Response<()>;
            type Error = Infallible;
            type Future = std::future::Ready<Result<Response<()>, Infallible>>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Pending
            }

            fn call(&mut self, _: Request<()>) -> Self::Future {
                std::future::ready(Ok(Response::new(())))
            }
        }
        let mut service = layer().layer(Busy);
        assert!(service.poll_ready(&mut Context::from_waker(std::task::Waker::noop())).is_pending());
    }
}
