//! Bearer tokens in requests, and how their lack is answered (RFC 6750).

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, TE, WWW_AUTHENTICATE},
};
use serde_json::json;

use super::response;
use crate::scope::Scope;
use crate::token::InvalidToken;

/// Why the guard refused a request (RFC 6750, section 3).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BearerError {
    /// No credentials, or another scheme: 401, no error code.
    Missing,
    /// A malformed or repeated header: 400 `invalid_request`.
    Malformed,
    /// 401 `invalid_token`; the reason is not for the client.
    InvalidToken(InvalidToken),
    /// 403 `insufficient_scope`, with the scope needed.
    InsufficientScope(Scope),
}

impl BearerError {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Missing | Self::InvalidToken(_) => StatusCode::UNAUTHORIZED,
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::InsufficientScope(_) => StatusCode::FORBIDDEN,
        }
    }

    /// The error code of RFC 6750, section 3.1; none where no credentials were sent.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::Missing => None,
            Self::Malformed => Some("invalid_request"),
            Self::InvalidToken(_) => Some("invalid_token"),
            Self::InsufficientScope(_) => Some("insufficient_scope"),
        }
    }

    /// A sentence for people.
    #[must_use]
    pub fn description(&self) -> &'static str {
        match self {
            Self::Missing => "A bearer token is required",
            Self::Malformed => "The Authorization header is malformed",
            Self::InvalidToken(_) => "The access token is invalid or has expired",
            Self::InsufficientScope(_) => "The access token does not allow this",
        }
    }

    fn challenge(&self, realm: &str) -> String {
        let mut challenge = format!("Bearer realm=\"{realm}\"");
        if let Some(code) = self.code() {
            challenge.push_str(&format!(", error=\"{code}\", error_description=\"{}\"", self.description()));
        }
        if let Self::InsufficientScope(scope) = self {
            challenge.push_str(&format!(", scope=\"{scope}\""));
        }
        challenge
    }

    pub(crate) fn render(&self) -> Response<Bytes> {
        let mut response = response::json(&match self.code() {
            Some(code) => json!({ "error": code, "error_description": self.description() }),
            None => json!({ "error_description": self.description() }),
        });
        *response.status_mut() = self.status();
        response
    }

    /// Adds the headers that a refusal must carry, however it was rendered.
    pub(crate) fn complete(&self, realm: &str, mut response: Response<Bytes>) -> Response<Bytes> {
        let headers = response.headers_mut();
        if let Ok(challenge) = HeaderValue::from_str(&self.challenge(realm)) {
            headers.entry(WWW_AUTHENTICATE).or_insert(challenge);
        }
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        response
    }

    /// The same refusal as gRPC clients read it: the status is in `grpc-status`, HTTP's is always 200.
    pub(crate) fn render_grpc(&self) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        let status = if matches!(self, Self::InsufficientScope(_)) { "7" } else { "16" };
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static(status));
        headers.insert("grpc-message", HeaderValue::from_static(self.description()));
        response
    }
}

/// The bearer token of a request (RFC 6750, section 2.1).
pub(crate) fn read(headers: &HeaderMap) -> Result<&str, BearerError> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let field = fields.next().ok_or(BearerError::Missing)?;
    if fields.next().is_some() {
        return Err(BearerError::Malformed);
    }
    let text = ascii(field).ok_or(BearerError::Malformed)?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(BearerError::Missing);
    }
    let token = token.trim_matches(' ');
    let body = token.trim_end_matches('=');
    if !body.is_empty() && is_b64(body) { Ok(token) } else { Err(BearerError::Malformed) }
}

/// `HeaderValue::to_str`, which takes a byte at a time.
fn ascii(field: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(field.as_bytes()).ok().filter(|text| text.is_ascii())
}

/// Without branches, so that the compiler takes many bytes at a time.
fn is_b64(text: &str) -> bool {
    text.bytes().fold(true, |all, byte| {
        all & (byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/'))
    })
}

/// Whether the request is a gRPC call, whose errors do not travel in HTTP's status: a `POST` over HTTP/2 with `te:
/// trailers` and the media type, as gRPC's "HTTP/2 transport mapping" has them. Nothing less, since who goes by the
/// status would take a refusal for a success.
pub(crate) fn is_grpc<B>(request: &Request<B>) -> bool {
    let header = |name| request.headers().get(name).map(HeaderValue::as_bytes);
    let is_media_type = |value: &[u8]| {
        value.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    };
    *request.method() == Method::POST
        && request.version() == Version::HTTP_2
        && header(TE) == Some(b"trailers")
        && header(CONTENT_TYPE).is_some_and(is_media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_grpc_call_is_one() {
        let call = |method: &str, version, content_type: &str, te: &str| {
            let request = Request::builder().method(method).version(version).header(CONTENT_TYPE, content_type);
            is_grpc(&request.header(TE, te).body(()).unwrap())
        };
        for (content_type, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpcfoo", false),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(call("POST", Version::HTTP_2, content_type, "trailers"), expected, "{content_type}");
        }
        assert!(!call("GET", Version::HTTP_2, "application/grpc", "trailers"));
        assert!(!call("POST", Version::HTTP_11, "application/grpc", "trailers"));
        assert!(!call("POST", Version::HTTP_2, "application/grpc", "gzip"));
    }

    #[test]
    fn each_refusal_has_its_status_challenge_and_words() {
        let invalid = BearerError::InvalidToken(InvalidToken::Expired);
        let scope = BearerError::InsufficientScope("a b".parse().unwrap());
        for (error, status, grpc_status, challenge, body) in [
            (
                BearerError::Missing,
                401,
                "16",
                r#"Bearer realm="api""#,
                r#"{"error_description":"A bearer token is required"}"#,
            ),
            (
                BearerError::Malformed,
                400,
                "16",
                r#"Bearer realm="api", error="invalid_request", error_description="The Authorization header is malformed""#,
                r#"{"error":"invalid_request","error_description":"The Authorization header is malformed"}"#,
            ),
            (
                invalid,
                401,
                "16",
                r#"Bearer realm="api", error="invalid_token", error_description="The access token is invalid or has expired""#,
                r#"{"error":"invalid_token","error_description":"The access token is invalid or has expired"}"#,
            ),
            (
                scope,
                403,
                "7",
                r#"Bearer realm="api", error="insufficient_scope", error_description="The access token does not allow this", scope="a b""#,
                r#"{"error":"insufficient_scope","error_description":"The access token does not allow this"}"#,
            ),
        ] {
            let refusal = error.complete("api", error.render());
            assert_eq!((refusal.status().as_u16(), refusal.body().as_ref()), (status, body.as_bytes()));
            assert_eq!(refusal.headers()[WWW_AUTHENTICATE], challenge);
            assert_eq!(refusal.headers()[CACHE_CONTROL], "no-store");
            let grpc = error.render_grpc();
            assert_eq!(grpc.status(), StatusCode::OK);
            assert_eq!(grpc.headers()["grpc-status"], grpc_status);
            assert_eq!(grpc.headers()["grpc-message"], error.description());
        }
    }

    #[test]
    fn header_rules() {
        let read_one = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            read(&headers).map(str::to_owned)
        };
        for (clause, value, expected) in [
            ("R11.1", "Bearer abc", Ok("abc")),
            ("R11.1 any case", "bEARER abc", Ok("abc")),
            ("R11.1 1*SP", "Bearer   abc==", Ok("abc==")),
            ("R11.2 another scheme", "Basic abc", Err(BearerError::Missing)),
            ("R11.2 another scheme", "Bearerabc", Err(BearerError::Missing)),
            ("R11.4 no token", "Bearer", Err(BearerError::Malformed)),
            ("R11.4 no token", "Bearer ", Err(BearerError::Malformed)),
            ("R11.4 two tokens", "Bearer a b", Err(BearerError::Malformed)),
            ("R11.4 comma", "Bearer a,b", Err(BearerError::Malformed)),
            ("R11.4 = inside", "Bearer a=b", Err(BearerError::Malformed)),
        ] {
            assert_eq!(read_one(value), expected.map(str::to_owned), "{clause}: {value}");
        }
        let mut two = HeaderMap::new();
        two.append(AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        two.append(AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        assert_eq!(read(&two), Err(BearerError::Malformed), "R11.5");
    }
}
