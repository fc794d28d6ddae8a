//! A response body: the inner service's, or one of ours.

use std::task::{Context, Poll};
use std::{fmt, pin::Pin};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a response that passed a layer of this crate: the inner service's, unchanged, or a short one of the layer.
    ///
    /// ```
    /// use http_body::Body;
    /// use tower_oauth2_password::ResponseBody;
    ///
    /// let empty = ResponseBody::<String>::default();
    /// assert!(empty.is_end_stream());
    /// assert_eq!(empty.size_hint().exact(), Some(0));
    /// assert_eq!(ResponseBody::from("my own".to_owned()).size_hint().exact(), Some(6));
    /// ```
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B> {
        Inner { #[pin] body: B },
        // Boxed, so that responses that pass are no larger for it.
        Own { body: Box<Full<Bytes>> },
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn own(body: Bytes) -> Self {
        Self { kind: Kind::Own { body: Box::new(Full::new(body)) } }
    }
}

/// Gives a response of your own the body type of those that passed a layer.
impl<B> From<B> for ResponseBody<B> {
    fn from(body: B) -> Self {
        Self { kind: Kind::Inner { body } }
    }
}

impl<B: fmt::Debug> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Inner { body } => f.debug_tuple("ResponseBody").field(body).finish(),
            // It may hold tokens.
            Kind::Own { .. } => f.debug_struct("ResponseBody").finish_non_exhaustive(),
        }
    }
}

impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        B::default().into()
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            KindProjection::Inner { body } => body.poll_frame(cx),
            KindProjection::Own { body } => Pin::new(body.as_mut()).poll_frame(cx).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } => body.is_end_stream(),
            Kind::Own { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } => body.size_hint(),
            Kind::Own { body } => body.size_hint(),
        }
    }
}
