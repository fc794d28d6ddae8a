//! The future of a response: the inner service's, or ours.

use std::task::{Context, Poll};
use std::{fmt, future::poll_fn, pin::Pin};

use bytes::Bytes;
use http::Response;
use pin_project_lite::pin_project;

use super::body::ResponseBody;

type Reply = Pin<Box<dyn Future<Output = Response<Bytes>> + Send>>;

pin_project! {
    /// The response future of this crate's services: the inner service's, not boxed, or an endpoint's answer.
    ///
    /// ```
    /// use std::{convert::Infallible, future::{Ready, ready}};
    /// use http::{Request, Response};
    /// use tower::{Layer, Service, service_fn};
    /// use tower_oauth2_password::{AccessToken, BearerLayer, ResponseFuture};
    ///
    /// type Inner = Ready<Result<Response<String>, Infallible>>;
    /// let guard = BearerLayer::new(|text: &str| Ok(AccessToken::new(text)));
    /// let mut app = guard.layer(service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(String::new())))));
    ///
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let response: ResponseFuture<Inner> = app.call(Request::new(()));
    /// assert_eq!(response.await?.status(), 401);
    /// # Ok::<(), tower_oauth2_password::BoxError>(())
    /// # })?;
    /// # Ok::<(), tower_oauth2_password::BoxError>(())
    /// ```
    pub struct ResponseFuture<F> {
        #[pin]
        kind: Kind<F>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<F> {
        Inner { #[pin] future: F },
        Reply { reply: Reply },
    }
}

impl<F> ResponseFuture<F> {
    pub(crate) fn inner(future: F) -> Self {
        Self { kind: Kind::Inner { future } }
    }

    pub(crate) fn reply(reply: Reply) -> Self {
        Self { kind: Kind::Reply { reply } }
    }

    pub(crate) fn ready(response: Response<Bytes>) -> Self {
        let mut response = Some(response);
        Self::reply(Box::pin(poll_fn(move |_| response.take().map_or(Poll::Pending, Poll::Ready))))
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProjection::Inner { future } => future.poll(cx).map_ok(|response| response.map(ResponseBody::from)),
            KindProjection::Reply { reply } => {
                reply.as_mut().poll(cx).map(|response| Ok(response.map(ResponseBody::own)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::Pending, pin::pin, task::Waker};

    use super::*;

    #[test]
    fn a_poll_after_the_response_does_not_panic() {
        let ready = ResponseFuture::<Pending<Result<Response<String>, Infallible>>>::ready(Response::new(Bytes::new()));
        assert_eq!(format!("{ready:?}"), "ResponseFuture { .. }");
        let (mut ready, mut cx) = (pin!(ready), Context::from_waker(Waker::noop()));
        assert!(ready.as_mut().poll(&mut cx).is_ready());
        assert!(ready.as_mut().poll(&mut cx).is_pending());
    }
}
