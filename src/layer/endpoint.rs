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
use tower::Service;

use super::{
    body::ResponseBody,
    common::Common,
    future::ResponseFuture,
    read::{check_length, read},
};
use crate::{
    error::{BoxError, BoxFuture, TokenError},
    observe,
    protocol::form,
    store::StoreBudget,
};

/// What an endpoint knows; the shell knows the rest.
pub(crate) trait Endpoint: Send + Sync + 'static {
    fn common(&self) -> &Common;
    /// The parameters that a request without any lacks.
    fn required(&self) -> &'static [&'static str];
    fn not_in_query(&self) -> &'static [&'static str];
    fn decide<'a>(
        &'a self,
        parts: &'a Parts,
        body: &'a [u8],
        budget: &'a StoreBudget,
    ) -> BoxFuture<'a, Result<Response<Bytes>, TokenError>>;
}

async fn answer<B>(endpoint: Arc<dyn Endpoint>, request: Request<B>) -> Response<Bytes>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let common = endpoint.common();
    let (parts, body) = request.into_parts();
    let decided = async {
        common.https.as_ref().map_or(Ok(()), |rule| rule.check(&parts))?;
        form::check_query(parts.uri.query(), endpoint.not_in_query())?;
        check_length(&parts.headers, common.body_limit)?;
        form::check_media_type(&parts.headers).map_err(|error| error.with_missing(endpoint.required().to_vec()))?;
        let body = read(body, common.body_limit).await?;
        endpoint.decide(&parts, &body, &StoreBudget::new(common.store_time_budget)).await
    };
    match observe::in_span(&common.path, decided).await {
        Ok(response) => {
            observe::answered(&common.path, "ok");
            response
        }
        Err(error) => {
            observe::answered(&common.path, error.code());
            let mut response = common.render(&error);
            // The rest of the body is not read, so the connection cannot serve another request.
            if error.status() == 413 && parts.version <= Version::HTTP_11 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    }
}

/// Out of the way of the requests that pass.
#[cold]
fn reply<B, F>(endpoint: &Arc<dyn Endpoint>, request: Request<B>) -> ResponseFuture<F>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    ResponseFuture::reply(Box::pin(answer(Arc::clone(endpoint), request)))
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

    #[inline]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        if request.method() == Method::POST && request.uri().path() == self.endpoint.common().path {
            return reply(&self.endpoint, request);
        }
        ResponseFuture::inner(self.inner.call(request))
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
        f.debug_struct("Leaf").field("path", &self.endpoint.common().path).finish_non_exhaustive()
    }
}

impl<B> Service<Request<B>> for Leaf
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<String>>;
    type Error = Infallible;
    type Future = ResponseFuture<Ready<Result<Response<String>, Infallible>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if request.method() == Method::POST {
            return reply(&self.endpoint, request);
        }
        let mut response = Response::new(String::new());
        *response.status_mut() = http::StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(http::header::ALLOW, HeaderValue::from_static("POST"));
        ResponseFuture::inner(ready(Ok(response)))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    struct Refuses(Common);

    impl Endpoint for Refuses {
        fn common(&self) -> &Common {
            &self.0
        }

        fn required(&self) -> &'static [&'static str] {
            &[]
        }

        fn not_in_query(&self) -> &'static [&'static str] {
            &[]
        }

        fn decide<'a>(
            &'a self,
            _: &'a Parts,
            _: &'a [u8],
            _: &'a StoreBudget,
        ) -> BoxFuture<'a, Result<Response<Bytes>, TokenError>> {
            Box::pin(async { Err(TokenError::invalid_grant("no")) })
        }
    }

    #[test]
    fn a_connection_of_http_1_is_closed_where_the_rest_of_a_body_is_left_unread() {
        let endpoint: Arc<dyn Endpoint> = Arc::new(Refuses(Common::new("/token")));
        let large = "a".repeat(endpoint.common().body_limit + 1);
        for (version, body, status, closed) in [
            (Version::HTTP_10, &large, 413, true),
            (Version::HTTP_11, &large, 413, true),
            (Version::HTTP_2, &large, 413, false),
            (Version::HTTP_11, &String::new(), 400, false),
        ] {
            let request = Request::post("/token").version(version);
            let request = request.header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            let request = request.body(body.clone()).unwrap();
            let response = answer(Arc::clone(&endpoint), request).now_or_never().unwrap();
            let seen = (response.status().as_u16(), response.headers().contains_key(CONNECTION));
            assert_eq!(seen, (status, closed), "{version:?}");
        }
    }
}
