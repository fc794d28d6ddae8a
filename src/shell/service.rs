//! The service around the inner one: one path is answered here, every other request passes.

use std::{
    convert::Infallible,
    fmt,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Version, header::CONNECTION, request::Parts};
use http_body::Body;
use http_body_util::Full;
use tower_service::Service;

use super::{
    body::ResponseBody,
    future::ResponseFuture,
    read::{check_length, read},
};
use crate::{BoxError, TokenError, protocol::form, verifier::BoxFuture};

/// What an endpoint knows; the shell knows the rest.
pub(crate) trait Endpoint: Send + Sync + 'static {
    fn path(&self) -> &str;
    fn body_limit(&self) -> usize;
    fn not_in_query(&self) -> &'static [&'static str];
    fn decide<'a>(&'a self, parts: &'a Parts, body: &'a [u8]) -> BoxFuture<'a, Result<Response<Bytes>, TokenError>>;
    fn render(&self, error: &TokenError) -> Response<Bytes>;
}

async fn answer<B>(endpoint: Arc<dyn Endpoint>, request: Request<B>) -> Response<Bytes>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let decided = async {
        form::check_query(parts.uri.query(), endpoint.not_in_query())?;
        check_length(&parts.headers, endpoint.body_limit())?;
        form::check_media_type(&parts.headers)?;
        let body = read(body, endpoint.body_limit()).await?;
        endpoint.decide(&parts, &body).await
    };
    match decided.await {
        Ok(response) => response,
        Err(error) => {
            let mut response = endpoint.render(&error);
            // The rest of the body is not read, so the connection cannot serve another request.
            if error.status() == 413 && parts.version <= Version::HTTP_11 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    }
}

/// The service that [`TokenEndpointLayer`](crate::TokenEndpointLayer), [`RevocationLayer`](crate::RevocationLayer) and
/// [`IntrospectionLayer`](crate::IntrospectionLayer) make: `POST` to the endpoint's path is answered here, every other
/// request reaches the inner service untouched.
///
/// For a request that is answered here, the inner service is not called after its `poll_ready`; what it reserved there
/// is kept until the next call or until it is dropped.
#[derive(Clone)]
pub struct EndpointService<S> {
    inner: S,
    endpoint: Arc<dyn Endpoint>,
}

impl<S> EndpointService<S> {
    pub(crate) fn new(inner: S, endpoint: Arc<dyn Endpoint>) -> Self {
        Self { inner, endpoint }
    }
}

impl<S: fmt::Debug> fmt::Debug for EndpointService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, B, R> Service<Request<B>> for EndpointService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if request.method() == Method::POST && request.uri().path() == self.endpoint.path() {
            ResponseFuture::reply(Box::pin(answer(Arc::clone(&self.endpoint), request)))
        } else {
            ResponseFuture::inner(self.inner.call(request))
        }
    }
}

/// An endpoint as a service of its own, for `route_service`: whatever path leads here is the endpoint's, and methods
/// other than `POST` are answered 405.
#[derive(Clone)]
pub struct Leaf {
    endpoint: Arc<dyn Endpoint>,
}

impl Leaf {
    pub(crate) fn new(endpoint: Arc<dyn Endpoint>) -> Self {
        Self { endpoint }
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("path", &self.endpoint.path()).finish_non_exhaustive()
    }
}

impl<B> Service<Request<B>> for Leaf
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<Full<Bytes>>>;
    type Error = Infallible;
    type Future = ResponseFuture<Ready<Result<Response<Full<Bytes>>, Infallible>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if request.method() == Method::POST {
            return ResponseFuture::reply(Box::pin(answer(Arc::clone(&self.endpoint), request)));
        }
        let mut response = Response::new(Full::default());
        *response.status_mut() = http::StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(http::header::ALLOW, HeaderValue::from_static("POST"));
        ResponseFuture::inner(ready(Ok(response)))
    }
}
