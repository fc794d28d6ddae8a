//! Reading a request body up to a limit, and no further.

use std::{error::Error, pin::pin};

use bytes::Buf;
use http::{HeaderMap, header::CONTENT_LENGTH};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError};
use zeroize::Zeroizing;

use crate::error::{BoxError, TokenError};

/// Room for a body to begin with, in bytes.
const USUAL_BODY: usize = 16_384;

/// Refuses a body whose declared length is over the limit.
pub(crate) fn check_length(headers: &HeaderMap, limit: usize) -> Result<(), TokenError> {
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) { Err(TokenError::body_too_large()) } else { Ok(()) }
}

/// The whole body, or an error as soon as it is known to be too long. A body cut short is never processed.
pub(crate) async fn read<B>(body: B, limit: usize) -> Result<Zeroizing<Vec<u8>>, TokenError>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let mut body = pin!(body);
    let declared = body.size_hint().exact().and_then(|length| usize::try_from(length).ok());
    // What is declared has not come yet, so it gets no more room than a usual body does.
    let room = declared.unwrap_or(USUAL_BODY).min(USUAL_BODY).min(limit);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(error.into()))?;
        let Ok(mut data) = frame.into_data() else { continue };
        if bytes.len() + data.remaining() > limit {
            return Err(TokenError::body_too_large());
        }
        while data.has_remaining() {
            let count = data.chunk().len();
            make_room(&mut bytes, count);
            bytes.extend_from_slice(data.chunk());
            data.advance(count);
        }
    }
    Ok(bytes)
}

/// A buffer that grows by itself would leave copies of the password behind.
fn make_room(bytes: &mut Zeroizing<Vec<u8>>, count: usize) {
    let needed = bytes.len() + count;
    if needed > bytes.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(2 * bytes.capacity())));
        larger.extend_from_slice(bytes);
        *bytes = larger;
    }
}

fn broken(error: BoxError) -> TokenError {
    let mut next: Option<&(dyn Error + 'static)> = Some(error.as_ref());
    while let Some(cause) = next {
        if cause.is::<LengthLimitError>() {
            return TokenError::body_too_large();
        }
        next = cause.source();
    }
    TokenError::invalid_request("The body could not be read")
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    use bytes::Bytes;
    use http_body::{Frame, SizeHint};

    use super::*;

    /// Says that it is long, and brings some pieces.
    struct Declared(u64, Vec<Bytes>);

    impl Body for Declared {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Ready(self.1.pop().map(|piece| Ok(Frame::data(piece))))
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.0)
        }
    }

    #[tokio::test]
    async fn room_is_made_for_what_comes_and_not_for_what_is_declared() {
        for declared in [0, 1_000_000_000_000_000, u64::MAX] {
            let pieces = vec![Bytes::from(vec![b'x'; 10_000]); 10];
            let bytes = read(Declared(declared, pieces), usize::MAX).await.unwrap();
            assert!(bytes.len() == 100_000 && bytes.iter().all(|byte| *byte == b'x'));
            assert!(bytes.capacity() < 200_000, "{}", bytes.capacity());
        }
        let pieces = vec![Bytes::from(vec![b'x'; 10_000]); 10];
        assert_eq!(read(Declared(0, pieces), 99_999).await.unwrap_err().status(), 413);
    }
}
