//! The refresh token of a single-page app, in a cookie that no script can read (RFC 6265bis, sections 4.1.2 and 4.1.3).

use std::{fmt::Write, time::Duration};

use bytes::Bytes;
use http::Response;
use http::header::{COOKIE, HeaderMap, HeaderValue, SET_COOKIE};
use zeroize::Zeroizing;

use super::{client::Client, request::Request};
use crate::{error::TokenError, secret::Secret};

/// With this prefix browsers take it only from this host, over TLS and for all paths. Some ignore the case: this is case-sensitive.
const NAME: &str = "__Host-refresh_token";

/// Room for the attributes and a number beside the token.
const ROOM_FOR_THE_REST: usize = 128;

/// A token, and where the request had it.
pub(crate) struct Presented {
    pub(crate) token: Secret,
    pub(crate) in_cookie: bool,
}

/// The values of the cookie, which HTTP/2 may send in fields of their own (RFC 9113, section 8.2.3).
fn values(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(NAME.as_bytes())?.strip_prefix(b"="))
}

pub(crate) fn is_sent(headers: &HeaderMap) -> bool {
    values(headers).next().is_some()
}

/// The token in the body, or that in the cookie if the client has one.
pub(crate) fn presented(
    parameter: &'static str,
    client: Option<&Client>,
    request: &Request,
) -> Result<Presented, TokenError> {
    let mut cookies = values(&request.parts.headers).filter(|_| client.is_some_and(|client| client.has_cookie));
    let Some(cookie) = cookies.next() else {
        return Ok(Presented { token: request.required(parameter)?.clone(), in_cookie: false });
    };
    if cookies.next().is_some() {
        return Err(TokenError::invalid_request("The cookie is given more than once"));
    }
    if request.form.get(parameter).is_some() {
        return Err(TokenError::invalid_request("The token is given in the body and in a cookie"));
    }
    let text = std::str::from_utf8(cookie).map_err(|_| TokenError::invalid_request("The cookie is not UTF-8"))?;
    Ok(Presented { token: text.into(), in_cookie: true })
}

/// Adds the cookie with a token that lives for `ttl`.
pub(crate) fn set(mut response: Response<Bytes>, token: &str, ttl: Duration) -> Response<Bytes> {
    // Enough room at once: growing would leave copies of the token behind.
    let mut text = Zeroizing::new(String::with_capacity(NAME.len() + token.len() + ROOM_FOR_THE_REST));
    let attributes = "Path=/; Secure; HttpOnly; SameSite=Strict";
    // Writing to memory cannot fail, and all of it is visible ASCII.
    let _ = write!(text, "{NAME}={token}; {attributes}; Max-Age={}", ttl.as_secs());
    if let Ok(mut value) = HeaderValue::from_maybe_shared(Bytes::from_owner(text)) {
        value.set_sensitive(true);
        response.headers_mut().append(SET_COOKIE, value);
    }
    response
}

/// Makes the browser forget the cookie.
pub(crate) fn clear(response: Response<Bytes>) -> Response<Bytes> {
    set(response, "", Duration::ZERO)
}
