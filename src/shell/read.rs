//! Reading a request body up to a limit, and no further.

use std::{error::Error, pin::pin};

use bytes::Buf;
use http::{HeaderMap, header::CONTENT_LENGTH};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError};
use zeroize::Zeroizing;

use crate::{BoxError, TokenError};

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
    // Room for all of it at once: a buffer that grows would leave copies of the password behind.
    let room = body.size_hint().exact().and_then(|length| usize::try_from(length).ok()).unwrap_or(16_384);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room.min(limit)));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(error.into()))?;
        let Ok(mut data) = frame.into_data() else { continue };
        if bytes.len() + data.remaining() > limit {
            return Err(TokenError::body_too_large());
        }
        while data.has_remaining() {
            let count = data.chunk().len();
            bytes.extend_from_slice(data.chunk());
            data.advance(count);
        }
    }
    Ok(bytes)
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
