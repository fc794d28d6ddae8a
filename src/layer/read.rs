//! Reading a request body, up to a limit and a deadline.

use std::{error::Error, iter::successors, pin::Pin, time::Duration};

use bytes::{Buf, BufMut};
use http::header::{CONTENT_LENGTH, EXPECT};
use http::request::Parts;
use http::{HeaderMap, Version};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError};
use tokio::{runtime::Handle, time::Instant};
use zeroize::Zeroizing;

use crate::error::{BoxError, TokenError};
use crate::sync::{NoResult, timeout_at};

/// Room for a body at first, in bytes.
const USUAL_BODY: usize = 16_384;
/// How much of a body that is too large is read after the answer, and for how long.
const MOST_DRAINED: usize = 8 << 20;
const LONGEST_DRAIN: Duration = Duration::from_secs(1);

/// A body of a request that the endpoints read.
pub(super) trait RequestBody: Body<Data: Send, Error: Into<BoxError>> + Send + 'static {}

impl<B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static> RequestBody for B {}

/// Rejects a body whose declared length is over the limit.
pub(super) fn check_length(headers: &HeaderMap, limit: usize) -> Result<(), TokenError> {
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) { Err(TokenError::body_too_large()) } else { Ok(()) }
}

/// The whole body, or an error as soon as it is too long or too late. A body that was cut short is an error.
pub(super) async fn read(
    parts: &Parts,
    body: impl RequestBody,
    limit: usize,
    timeout: Duration,
) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let mut body = Box::pin(body);
    let result = match timeout_at(Instant::now() + timeout, collect(body.as_mut(), limit)).await {
        Ok(result) => result,
        Err(NoResult::TimedOut) => Err(TokenError::request_timeout()),
        Err(NoResult::NoTimer) => Err(TokenError::from_cause("a body was not read", NoResult::NoTimer.into())),
    };
    if result.as_ref().is_err_and(|error| error.status() == 413) {
        drain(parts, body);
    }
    result
}

async fn collect(mut body: Pin<&mut impl RequestBody>, limit: usize) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let declared = body.size_hint().exact().and_then(|length| usize::try_from(length).ok());
    // What is declared has not arrived yet, so it gets no more room than a usual body.
    let room = declared.unwrap_or(USUAL_BODY).min(USUAL_BODY).min(limit);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(error.into()))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.remaining() > limit {
            return Err(TokenError::body_too_large());
        }
        make_room(&mut bytes, data.remaining());
        bytes.put(data);
    }
    Ok(bytes)
}

/// Reads on for a while in the background, so that a client that is still sending can read the answer: an HTTP/1 connection
/// that is closed with unread data is reset. A client that expects a `100 Continue` has not begun to send.
pub(super) fn drain(parts: &Parts, mut body: Pin<Box<impl RequestBody>>) {
    let Ok(runtime) = Handle::try_current() else { return };
    if parts.version > Version::HTTP_11 || parts.headers.contains_key(EXPECT) {
        return;
    }
    runtime.spawn(async move {
        let read_on = async {
            let mut drained = 0;
            while let Some(Ok(frame)) = body.frame().await
                && drained < MOST_DRAINED
            {
                drained += frame.data_ref().map_or(0, Buf::remaining);
            }
        };
        let _ = timeout_at(Instant::now() + LONGEST_DRAIN, read_on).await;
    });
}

/// Growing in place would leave copies of the password behind.
fn make_room(bytes: &mut Zeroizing<Vec<u8>>, count: usize) {
    let needed = bytes.len() + count;
    if needed > bytes.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(2 * bytes.capacity())));
        larger.extend_from_slice(bytes);
        *bytes = larger;
    }
}

fn broken(error: BoxError) -> TokenError {
    let first: &(dyn Error + 'static) = error.as_ref();
    let too_large = successors(Some(first), |&cause| cause.source()).any(|cause| cause.is::<LengthLimitError>());
    if too_large { TokenError::body_too_large() } else { TokenError::invalid_request("The body could not be read") }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::{Context, Poll},
    };

    use bytes::Bytes;
    use http::{HeaderValue, Request};
    use http_body::{Frame, SizeHint};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    /// Declares a length, brings pieces, and counts how many were read.
    struct Pieces(u64, usize, Arc<AtomicUsize>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            if self.1 == 0 {
                return Poll::Ready(None);
            }
            self.1 -= 1;
            self.2.fetch_add(1, Ordering::Relaxed);
            Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; 10_000])))))
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.0)
        }
    }

    fn pieces(declared: u64, count: usize) -> (Pieces, Arc<AtomicUsize>) {
        let read = Arc::new(AtomicUsize::new(0));
        (Pieces(declared, count, Arc::clone(&read)), read)
    }

    fn head(version: Version, expect: bool) -> Parts {
        let mut request = Request::post("/token").version(version);
        if expect {
            request = request.header(EXPECT, "100-continue");
        }
        request.body(()).unwrap().into_parts().0
    }

    #[tokio::test]
    async fn room_is_made_for_what_arrives_and_not_for_what_is_declared() {
        let parts = head(Version::HTTP_11, false);
        for declared in [0, 1_000_000_000_000_000, u64::MAX] {
            let bytes = read(&parts, pieces(declared, 10).0, usize::MAX, HOUR).await.unwrap();
            assert!(bytes.len() == 100_000 && bytes.iter().all(|byte| *byte == b'x'));
            assert!(bytes.capacity() < 200_000, "{}", bytes.capacity());
        }
        assert_eq!(read(&parts, pieces(0, 10).0, 99_999, HOUR).await.unwrap_err().status(), 413);
    }

    #[test]
    fn a_body_of_the_limit_itself_may_be_declared() {
        let declared =
            |length: &'static str| HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static(length))]);
        for (length, is_ok) in [("100", true), ("101", false), ("18446744073709551615", false)] {
            assert_eq!(check_length(&declared(length), 100).is_ok(), is_ok, "{length}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_in_time_is_a_408() {
        struct Never;
        impl Body for Never {
            type Data = Bytes;
            type Error = BoxError;

            fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
                std::pin::pin!(pending()).poll(cx)
            }
        }
        let begun = Instant::now();
        let error = read(&head(Version::HTTP_11, false), Never, 1, HOUR).await.unwrap_err();
        assert_eq!((error.status().as_u16(), begun.elapsed()), (408, HOUR));
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_of_a_large_body_is_drained_up_to_a_bound_over_http_1_only() {
        for (version, expect, count, drained) in [
            (Version::HTTP_11, false, 100, 100),
            (Version::HTTP_10, false, 100, 100),
            (Version::HTTP_11, false, 10_000, MOST_DRAINED / 10_000 + 4),
            (Version::HTTP_11, true, 100, 2),
            (Version::HTTP_2, false, 100, 2),
        ] {
            let (body, pieces_read) = pieces(0, count);
            let error = read(&head(version, expect), body, 10_000, HOUR).await.unwrap_err();
            assert_eq!(error.status(), 413);
            tokio::time::sleep(LONGEST_DRAIN).await;
            assert_eq!(pieces_read.load(Ordering::Relaxed), drained, "{version:?} {expect}");
        }
    }

    #[test]
    fn without_a_timer_a_request_is_a_503() {
        let bare = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let error = bare.block_on(read(&head(Version::HTTP_11, false), String::new(), 1, HOUR)).unwrap_err();
        assert_eq!(error.status(), 503);
    }
}
