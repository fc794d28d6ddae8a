//! The layer of one or several endpoints: their paths are answered here, every other request passes.

use std::task::{Context, Poll};
use std::{convert::Infallible, future::Ready, sync::Arc, time::Duration};

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version, uri::PathAndQuery};
use http_body::Body;
use tower::{Layer, Service};

use super::read::{RequestBody, check_length, drain, read};
use super::{body::ResponseBody, future::ResponseFuture, https::RequireHttps};
use crate::error::{BoxError, InvalidConfig, TokenError};
use crate::protocol::form::{Form, check_media_type, check_query};
use crate::protocol::request::{self, Endpoint};
use crate::protocol::response::{Realm, RenderError, complete_error, empty, method_not_allowed, render_error};
use crate::store::{STORE_BUDGET, StoreBudget};
use crate::sync::{unwind_guarded, unwind_guarded_future};
use crate::{observe, secret::debug_only};

/// What all endpoints of a server have in common.
#[derive(Clone)]
pub(super) struct Options {
    pub(super) body_limit: usize,
    pub(super) body_timeout: Duration,
    pub(super) store_budget: Duration,
    pub(super) https: Option<RequireHttps>,
    pub(super) realm: Realm,
    pub(super) render: Arc<RenderError>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            body_limit: 16_384,
            body_timeout: Duration::from_secs(10),
            store_budget: STORE_BUDGET,
            https: None,
            realm: Realm::default(),
            render: Arc::new(render_error),
        }
    }
}

/// An endpoint at its path.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) path: Arc<str>,
    pub(super) endpoint: Arc<dyn Endpoint>,
    pub(super) options: Arc<Options>,
}

debug_only!(Route { path });

impl Route {
    async fn answer(self, request: Request<impl RequestBody>) -> Response<Bytes> {
        let version = request.version();
        let guarded = async { observe::in_span(&self.path, self.decide(request)).await };
        let panicked = || {
            let cause = "the panic hook has its message: the code is yours, or this is a bug".into();
            Err(TokenError::from_cause("a request panicked", cause))
        };
        let result = unwind_guarded_future(guarded).await.unwrap_or_else(panicked);
        observe::answered(&self.path, result.as_ref().map_or_else(TokenError::code, |_| "ok"));
        result.unwrap_or_else(|error| {
            observe::refused(&self.path, &error, error.reason());
            let options = &self.options;
            let rendered = unwind_guarded(|| (options.render)(&error)).unwrap_or_else(|| render_error(&error));
            let mut response = complete_error(&error, &options.realm, rendered);
            // The rest of the body was not read, so the connection cannot serve another request.
            let unread = matches!(error.status(), StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT);
            if unread && version <= Version::HTTP_11 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        })
    }

    async fn decide(&self, request: Request<impl RequestBody>) -> Result<Response<Bytes>, TokenError> {
        let (parts, body) = request.into_parts();
        let (endpoint, options, parameters) = (&self.endpoint, &self.options, self.endpoint.parameters());
        options.https.as_ref().map_or(Ok(()), |rule| rule.check(&parts))?;
        check_query(parts.uri.query(), &parameters.not_in_query)?;
        if let Err(error) = check_length(&parts.headers, options.body_limit) {
            drain(&parts, Box::pin(body));
            return Err(error);
        }
        check_media_type(&parts.headers).map_err(|error| error.with_missing(parameters.required.to_vec()))?;
        let body = read(&parts, body, options.body_limit, options.body_timeout).await?;
        let form = Form::parse(&body, &parameters.known)?;
        let budget = StoreBudget::new(options.store_budget);
        endpoint.decide(&request::Request { parts, form, budget }).await
    }
}

/// A path that a request can have.
pub(super) fn checked_path(path: &str) -> Result<Arc<str>, InvalidConfig> {
    let is_whole = |parsed: PathAndQuery| parsed.path() == path && parsed.query().is_none();
    let valid = path.starts_with('/') && path.parse().is_ok_and(is_whole);
    let hint = "begin it with '/' and percent-encode characters that a URI cannot contain";
    InvalidConfig::unless(valid, format!("no request has the path {path:?}: {hint}")).map(|()| path.into())
}

/// Keeps this code away from the requests that pass.
#[cold]
fn answer<F>(route: &Route, request: Request<impl RequestBody>) -> ResponseFuture<F> {
    ResponseFuture::reply(Box::pin(route.clone().answer(request)))
}

/// The layer of one or several endpoints. `POST` to their paths is answered here, and every other request reaches the inner
/// service unchanged. Cheap to clone.
///
/// [`AuthorizationServer`](crate::AuthorizationServer) makes it, and so does
/// [`TokenEndpointLayer::new`](crate::TokenEndpointLayer::new).
///
/// ```
/// use http_body_util::Full;
/// use bytes::Bytes;
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_oauth2_password::{AuthorizationServer, BoxError, EndpointLayer, Jwt, Key, Login, Verdict};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
/// let auth = AuthorizationServer::new(|_: Login| async { Ok(Verdict::Denied) }, jwt);
/// let endpoints: EndpointLayer = auth.endpoints();
/// let app = endpoints.layer(service_fn(async |_| {
///     Ok::<_, BoxError>(http::Response::new(Full::<Bytes>::from("the app")))
/// }));
///
/// let request = |path| http::Request::post(path).body(Full::<Bytes>::default());
/// assert_eq!(app.clone().oneshot(request("/token")?).await?.status(), 400, "the body is not a form");
/// assert_eq!(app.oneshot(request("/token/")?).await?.status(), 200, "another path");
/// # Ok::<(), BoxError>(())
/// # })?;
/// # Ok::<(), BoxError>(())
/// ```
// One type for all endpoints, and not `EndpointLayer<Token>`: one layer can serve several, and each is behind a `dyn` anyway.
#[derive(Clone, Debug)]
#[must_use]
pub struct EndpointLayer {
    routes: Arc<[Route]>,
}

impl EndpointLayer {
    pub(super) fn over(routes: impl IntoIterator<Item = Route>) -> Self {
        Self { routes: routes.into_iter().collect() }
    }

    /// The endpoint as a service of its own, for axum's `Router::route_service`. Methods other than `POST` get a 405. A single
    /// endpoint answers whatever path leads to it; several answer their own, and other paths get a 404.
    pub fn into_service(self) -> StandaloneService {
        StandaloneService { routes: self.routes }
    }
}

impl<S> Layer<S> for EndpointLayer {
    type Service = EndpointService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        EndpointService { inner, routes: Arc::clone(&self.routes) }
    }
}

/// The service that [`EndpointLayer`] makes.
///
/// If it answers a request itself, it does not call the inner service after its `poll_ready`. What the inner service reserved
/// there is kept until the next call, or until the service is dropped.
///
/// ```
/// use tower::Layer;
/// use tower_oauth2_password::{EndpointService, Jwt, Key, Login, TokenEndpointLayer, Verdict};
///
/// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
/// let layer = TokenEndpointLayer::new(|_: Login| async { Ok(Verdict::Denied) }, jwt);
/// let service: EndpointService<&str> = layer.layer("inner");
/// assert!(format!("{service:?}").contains("inner: \"inner\""));
/// # Ok::<(), tower_oauth2_password::KeyError>(())
/// ```
#[derive(Clone, Debug)]
pub struct EndpointService<S> {
    inner: S,
    routes: Arc<[Route]>,
}

impl<S, B, R> Service<Request<B>> for EndpointService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        if request.method() == Method::POST
            && let Some(route) = self.routes.iter().find(|route| *route.path == *request.uri().path())
        {
            return answer(route, request);
        }
        ResponseFuture::inner(self.inner.call(request))
    }
}

/// Endpoints as a service of their own. See [`EndpointLayer::into_service`].
///
/// ```
/// use tower::ServiceExt;
/// use tower_oauth2_password::{Jwt, Key, Login, StandaloneService, TokenEndpointLayer, Verdict};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
/// let layer = TokenEndpointLayer::new(|_: Login| async { Ok(Verdict::Denied) }, jwt);
/// let service: StandaloneService = layer.into_service();
/// let request = http::Request::get("/login").body(String::new())?;
/// assert_eq!(service.oneshot(request).await?.status(), 405);
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct StandaloneService {
    routes: Arc<[Route]>,
}

impl<B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static> Service<Request<B>> for StandaloneService {
    type Response = Response<ResponseBody<String>>;
    type Error = Infallible;
    type Future = ResponseFuture<Ready<Result<Response<String>, Infallible>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let route = match &*self.routes {
            [only] => Some(only),
            several => several.iter().find(|route| *route.path == *request.uri().path()),
        };
        match route {
            Some(route) if request.method() == Method::POST => answer(route, request),
            Some(_) => ResponseFuture::ready(method_not_allowed("POST")),
            None => ResponseFuture::ready(empty(StatusCode::NOT_FOUND)),
        }
    }
}

#[cfg(test)]
#[path = "endpoint_tests.rs"]
mod tests;
