//! Replies as HTTP: RFC 6749, sections 5.1 and 5.2.

use bytes::Bytes;
use http::{
    HeaderValue, Response,
    header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde_json::{Map, Value};

use super::{error::TokenError, scope::Scope};
use crate::{IssuedToken, Secret};

/// What a successful token request is answered with.
#[derive(Debug)]
pub(crate) struct TokenResponse {
    pub(crate) issued: IssuedToken,
    pub(crate) scope: Scope,
    pub(crate) refresh_token: Option<Secret>,
}

impl TokenResponse {
    pub(crate) fn render(&self) -> Response<Bytes> {
        let mut body = Map::new();
        body.insert("access_token".to_owned(), self.issued.token.expose().into());
        body.insert("token_type".to_owned(), "bearer".into());
        body.insert("expires_in".to_owned(), self.issued.expires_in.as_secs().into());
        if let Some(refresh_token) = &self.refresh_token {
            body.insert("refresh_token".to_owned(), refresh_token.expose().into());
        }
        body.insert("scope".to_owned(), self.scope.as_str().into());
        uncached(json(&Value::Object(body)))
    }
}

/// The JSON of RFC 6749, section 5.2.
pub(crate) fn render_error(error: &TokenError) -> Response<Bytes> {
    let mut body = error.fields().clone();
    body.insert("error".to_owned(), error.code().into());
    body.insert("error_description".to_owned(), error.description().into());
    let mut response = json(&Value::Object(body));
    *response.status_mut() = error.status();
    response
}

/// Adds the headers that an error must carry, however it was rendered.
pub(crate) fn complete_error(
    error: &TokenError,
    challenge: &HeaderValue,
    response: Response<Bytes>,
) -> Response<Bytes> {
    let mut response = uncached(response);
    let headers = response.headers_mut();
    if let Some(seconds) = error.retry_after_seconds() {
        headers.entry(RETRY_AFTER).or_insert_with(|| HeaderValue::from(seconds));
    }
    if error.status() == 401 {
        headers.entry(WWW_AUTHENTICATE).or_insert_with(|| challenge.clone());
    }
    response
}

pub(crate) fn json(body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Adds what a reply with a token in it must carry.
pub(crate) fn uncached(mut response: Response<Bytes>) -> Response<Bytes> {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}
