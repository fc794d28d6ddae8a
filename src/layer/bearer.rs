//! The guard for inner routes (RFC 6750).

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use tower::Layer;
use tower::Service;

use crate::{
    error::InvalidConfig,
    layer::{body::ResponseBody, common::check_realm, future::ResponseFuture},
    observe,
    protocol::bearer::{self, BearerError},
    scope::{InvalidScope, Scope},
    store::{DenyList, DynDenyList},
    token::{InvalidToken, LONGEST_TOKEN, TokenValidator, access::AccessToken},
};

type Render = dyn Fn(&BearerError) -> Response<Bytes> + Send + Sync;

/// Lets only requests with a good bearer token through, and puts the [`AccessToken`] into their extensions. Cheap to
/// clone. gRPC calls are refused with `UNAUTHENTICATED` or `PERMISSION_DENIED`.
///
/// ```
/// use tower_oauth2_password::{BearerLayer, Jwt, Key};
///
/// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
/// let guard = BearerLayer::new(jwt).with_required_scope("items:read")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct BearerLayer {
    guard: Arc<Guard>,
}

#[derive(Clone)]
struct Guard {
    validator: Arc<dyn TokenValidator>,
    required: Scope,
    deny_list: Option<Arc<dyn DynDenyList>>,
    realm: String,
    render: Arc<Render>,
}

impl BearerLayer {
    /// Lets through what `validator` finds good.
    #[must_use]
    pub fn new(validator: impl TokenValidator) -> Self {
        Self {
            guard: Arc::new(Guard {
                validator: Arc::new(validator),
                required: Scope::empty(),
                deny_list: None,
                realm: "api".to_owned(),
                render: Arc::new(BearerError::render),
            }),
        }
    }

    /// Requires all these scopes, separated by spaces.
    ///
    /// # Errors
    /// When it is not a scope (RFC 6749, section 3.3).
    pub fn with_required_scope(mut self, scope: &str) -> Result<Self, InvalidScope> {
        Arc::make_mut(&mut self.guard).required = scope.parse()?;
        Ok(self)
    }

    /// Refuses access tokens that were revoked.
    #[must_use]
    pub fn with_deny_list(mut self, deny_list: impl DenyList) -> Self {
        Arc::make_mut(&mut self.guard).deny_list = Some(Arc::new(deny_list));
        self
    }

    /// The `realm` of the challenge: `api` unless set.
    ///
    /// # Errors
    /// When it holds anything but printable ASCII without `"` and `\`.
    pub fn with_realm(mut self, realm: &str) -> Result<Self, InvalidConfig> {
        check_realm(realm)?;
        realm.clone_into(&mut Arc::make_mut(&mut self.guard).realm);
        Ok(self)
    }

    /// Renders refusals in an API's own shape. A challenge is added where it is missing. gRPC calls keep their own.
    #[must_use]
    pub fn with_error_response(
        mut self,
        render: impl Fn(&BearerError) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        Arc::make_mut(&mut self.guard).render = Arc::new(render);
        self
    }
}

impl Guard {
    fn check(&self, headers: &HeaderMap) -> Result<AccessToken, BearerError> {
        let text = bearer::read(headers)?;
        if text.len() > LONGEST_TOKEN {
            return Err(BearerError::InvalidToken(InvalidToken::Malformed));
        }
        let token = self.validator.validate(text).map_err(BearerError::InvalidToken)?;
        if let (Some(deny_list), Some(id)) = (&self.deny_list, token.id())
            && deny_list.is_denied(id)
        {
            return Err(BearerError::InvalidToken(InvalidToken::Revoked));
        }
        if self.required.is_empty() || self.required.is_subset_of(token.scope()) {
            Ok(token)
        } else {
            Err(BearerError::InsufficientScope(self.required.clone()))
        }
    }

    fn refuse<B>(&self, request: &Request<B>, error: &BearerError) -> Response<Bytes> {
        if let BearerError::InvalidToken(reason) = error {
            observe::bearer_refused(*reason);
        }
        let response = if bearer::is_grpc(request) { error.render_grpc() } else { (self.render)(error) };
        error.complete(&self.realm, response)
    }
}

impl fmt::Debug for BearerLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerLayer").field("required", &self.guard.required).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for BearerLayer {
    type Service = BearerService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BearerService { inner, guard: Arc::clone(&self.guard) }
    }
}

/// The service that [`BearerLayer`] makes. It refuses before the body is read and before the inner service is called.
#[derive(Clone)]
pub struct BearerService<S> {
    inner: S,
    guard: Arc<Guard>,
}

impl<S: fmt::Debug> fmt::Debug for BearerService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerService").field("inner", &self.inner).finish_non_exhaustive()
    }
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
        match self.guard.check(request.headers()) {
            Ok(token) => {
                request.extensions_mut().insert(token);
                ResponseFuture::inner(self.inner.call(request))
            }
            Err(error) => ResponseFuture::ready(self.guard.refuse(&request, &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::ready};

    use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};

    use super::*;

    fn layer() -> BearerLayer {
        BearerLayer::new(|text: &str| Ok(AccessToken::new(text)))
    }

    #[test]
    fn the_realm_is_told_or_refused() {
        let asked = layer().with_realm("members").unwrap().guard;
        let refused = asked.refuse(&Request::new(()), &BearerError::Missing);
        assert_eq!(refused.headers()[WWW_AUTHENTICATE], "Bearer realm=\"members\"");
        let error = layer().with_realm("a\"b").unwrap_err().to_string();
        assert!(error.contains("\"a\\\"b\""), "{error}");
    }

    #[cfg(feature = "tracing")]
    #[test]
    fn the_reason_of_a_refusal_is_logged() {
        let log = crate::observe::tests::logged(|| {
            let error = BearerError::InvalidToken(InvalidToken::Revoked);
            layer().guard.refuse(&Request::new(()), &error);
        });
        assert!(log.contains("DEBUG") && log.contains("the token was revoked"), "{log}");
    }

    #[test]
    fn the_longest_token_that_is_looked_at_has_4096_bytes() {
        for (length, expected) in [(4_096, None), (4_097, Some(BearerError::InvalidToken(InvalidToken::Malformed)))] {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, format!("Bearer {}", "a".repeat(length)).parse().unwrap());
            assert_eq!(layer().guard.check(&headers).err(), expected, "{length}");
        }
    }

    #[test]
    fn what_is_printed_names_the_scope_and_the_inner_service() {
        let layer = layer().with_required_scope("items:read").unwrap();
        assert!(format!("{layer:?}").contains("items:read"));
        assert!(format!("{:?}", layer.layer("inner")).contains("inner: \"inner\""));
    }

    #[test]
    fn it_is_ready_when_the_inner_service_is() {
        struct Busy;
        impl Service<Request<()>> for Busy {
            type Response = Response<()>;
            type Error = Infallible;
            type Future = std::future::Ready<Result<Response<()>, Infallible>>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Pending
            }

            fn call(&mut self, _: Request<()>) -> Self::Future {
                ready(Ok(Response::new(())))
            }
        }
        let mut service = layer().layer(Busy);
        assert!(service.poll_ready(&mut Context::from_waker(std::task::Waker::noop())).is_pending());
    }
}
