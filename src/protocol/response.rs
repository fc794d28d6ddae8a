//! Replies as HTTP: RFC 6749, sections 5.1 and 5.2.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderValue, Response,
    header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::error::TokenError;
use crate::scope::Scope;
use crate::{secret::Secret, token::IssuedToken};

/// What a reply of tokens has beside them and their scope: the names of its members, and a number.
const ROOM_FOR_THE_REST: usize = 128;

#[derive(Serialize)]
struct Body<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    scope: &'a str,
}

/// What a successful token request is answered with (RFC 6749, section 5.1).
#[derive(Debug)]
pub struct TokenResponse {
    pub(crate) issued: IssuedToken,
    pub(crate) scope: Scope,
    pub(crate) refresh_token: Option<Secret>,
}

impl TokenResponse {
    /// The access token.
    #[must_use]
    pub fn access_token(&self) -> &Secret {
        &self.issued.token
    }

    /// How long the access token is good.
    #[must_use]
    pub fn expires_in(&self) -> Duration {
        self.issued.expires_in
    }

    /// What was granted.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The refresh token, where the endpoint hands them out.
    #[must_use]
    pub fn refresh_token(&self) -> Option<&Secret> {
        self.refresh_token.as_ref()
    }

    pub(crate) fn render(&self) -> Response<Bytes> {
        let body = Body {
            access_token: self.issued.token.expose(),
            token_type: "bearer",
            expires_in: self.issued.expires_in.as_secs(),
            refresh_token: self.refresh_token.as_ref().map(Secret::expose),
            scope: self.scope.as_str(),
        };
        // Room for all of it at once: a buffer that grows would leave copies of the tokens behind.
        let texts = [body.access_token, body.refresh_token.unwrap_or_default(), body.scope];
        let room = texts.map(str::len).iter().sum::<usize>() + ROOM_FOR_THE_REST;
        let mut text = Zeroizing::new(Vec::with_capacity(room));
        // Strings and a number can always be written to memory.
        let _ = serde_json::to_writer(&mut *text, &body);
        whole(Bytes::from_owner(text))
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
    whole(body.to_string().into())
}

fn whole(json: Bytes) -> Response<Bytes> {
    let mut response = Response::new(json);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Adds what a reply with a token in it must carry.
pub(crate) fn uncached(mut response: Response<Bytes>) -> Response<Bytes> {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(refresh_token: Option<&str>) -> TokenResponse {
        TokenResponse {
            issued: IssuedToken::new("access", Duration::from_secs(900)),
            scope: "a b".parse().unwrap(),
            refresh_token: refresh_token.map(Secret::from),
        }
    }

    #[test]
    fn a_token_is_told_and_shown_as_it_is() {
        let response = granted(Some("refresh"));
        assert_eq!((response.access_token().expose(), response.expires_in().as_secs()), ("access", 900));
        assert_eq!(response.scope().as_str(), "a b");
        assert_eq!(response.refresh_token().map(Secret::expose), Some("refresh"));
        assert!(granted(None).refresh_token().is_none());
        let body = |response: TokenResponse| serde_json::from_slice::<Value>(response.render().body()).unwrap();
        let mut members = serde_json::json!({
            "access_token": "access", "token_type": "bearer", "expires_in": 900, "scope": "a b", "refresh_token": "refresh",
        });
        assert_eq!(body(response), members);
        members.as_object_mut().unwrap().remove("refresh_token");
        assert_eq!(body(granted(None)), members);
    }

    #[test]
    fn an_error_keeps_the_headers_of_who_rendered_it() {
        let challenge = HeaderValue::from_static("Basic realm=\"token\"");
        let bare = Response::new(Bytes::new());
        let complete = complete_error(&TokenError::invalid_client(), &challenge, bare.clone());
        assert_eq!(complete.headers()[WWW_AUTHENTICATE], challenge);
        assert_eq!(
            (&complete.headers()[CACHE_CONTROL], &complete.headers()[PRAGMA]),
            (&"no-store".parse().unwrap(), &"no-cache".parse().unwrap())
        );
        let later = TokenError::too_many_attempts(Duration::from_secs(7));
        let complete = complete_error(&later, &challenge, bare);
        assert_eq!(complete.headers()[RETRY_AFTER], "7");
        assert!(!complete.headers().contains_key(WWW_AUTHENTICATE));

        let own =
            Response::builder().header(WWW_AUTHENTICATE, "Own").header(RETRY_AFTER, "3").body(Bytes::new()).unwrap();
        let error = TokenError::invalid_client().with_retry_after(Duration::from_secs(7));
        let complete = complete_error(&error, &challenge, own);
        assert_eq!(complete.headers()[WWW_AUTHENTICATE], "Own");
        assert_eq!(complete.headers()[RETRY_AFTER], "3");
    }
}
