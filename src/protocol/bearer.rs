//! The guard's decision (RFC 6750).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};

use super::response::{Realm, RenderError, render_error};
use super::{grpc, session};
use crate::store::DenyList;
use crate::token::{AccessToken, InvalidToken, TokenValidator};
use crate::{error::TokenError, observe, scope::Scope, secret::debug_only, sync::unwind_guarded};

/// Everything that decides about a bearer token.
#[derive(Clone)]
pub(crate) struct Guard {
    pub(crate) validator: Arc<dyn TokenValidator>,
    pub(crate) required: Scope,
    pub(crate) deny_list: Option<Arc<dyn DenyList>>,
    /// Of the server that issues the tokens, if this is its guard.
    pub(crate) issuer: Option<Arc<str>>,
    pub(crate) realm: Realm,
    pub(crate) render: Arc<RenderError>,
}

debug_only!(Guard { required });

impl Guard {
    /// The token of a request, or the response that refuses it.
    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<AccessToken, Box<Response<Bytes>>> {
        let token = unwind_guarded(|| self.token(request.headers())).unwrap_or(Err(Refusal::Panicked));
        token.map_err(|refusal| Box::new(self.refuse(request, &refusal)))
    }

    fn token(&self, headers: &HeaderMap) -> Result<AccessToken, Refusal> {
        let text = read(headers)?;
        if text.len() > self.validator.longest_token() {
            return Err(Refusal::InvalidToken(InvalidToken::Malformed));
        }
        let token = self.validator.validate(text).map_err(Refusal::InvalidToken)?;
        match &self.deny_list {
            Some(list) if session::is_denied(&**list, self.issuer.as_deref(), &token) => {
                return Err(Refusal::InvalidToken(InvalidToken::Revoked));
            }
            None if token.session_id().is_some() => observe::misconfigured(
                "a guard has no deny list, so it accepts tokens of sessions that have ended: configure one with \
                 `with_deny_list`, and make guards with `AuthorizationServer::guard`",
            ),
            _ => {}
        }
        let allowed = self.required.is_empty() || self.required.is_subset_of(token.scope());
        if allowed { Ok(token) } else { Err(Refusal::InsufficientScope(self.required.clone())) }
    }

    #[cold]
    fn refuse<B>(&self, request: &Request<B>, refusal: &Refusal) -> Response<Bytes> {
        let error = refusal.error();
        match refusal {
            Refusal::InvalidToken(reason) => observe::bearer_refused(reason),
            _ => observe::bearer_refused(&error.description()),
        }
        let mut response = match grpc::call(request) {
            Some(call) => call.refuse(&error),
            None => unwind_guarded(|| (self.render)(&error)).unwrap_or_else(|| render_error(&error)),
        };
        let headers = response.headers_mut();
        if error.status() != StatusCode::SERVICE_UNAVAILABLE
            && let Ok(challenge) = HeaderValue::from_str(&refusal.challenge(&self.realm, &error))
        {
            headers.entry(WWW_AUTHENTICATE).or_insert(challenge);
        }
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        response
    }
}

/// Why a request was refused (RFC 6750, section 3).
#[derive(Clone, Debug, PartialEq, Eq)]
enum Refusal {
    /// No credentials, or another scheme.
    Missing,
    /// A malformed header, or two.
    Malformed,
    InvalidToken(InvalidToken),
    InsufficientScope(Scope),
    /// The validator or the deny list panicked.
    Panicked,
}

impl Refusal {
    /// A request without credentials gets no error code (RFC 6750, section 3.1).
    fn error(&self) -> TokenError {
        let (status, code, description) = match self {
            Self::Missing => (StatusCode::UNAUTHORIZED, "", "A bearer token is required"),
            Self::Malformed => (StatusCode::BAD_REQUEST, "invalid_request", "The Authorization header is malformed"),
            Self::InvalidToken(_) => {
                (StatusCode::UNAUTHORIZED, "invalid_token", "The access token is invalid or has expired")
            }
            Self::InsufficientScope(_) => {
                (StatusCode::FORBIDDEN, "insufficient_scope", "The access token does not allow this")
            }
            Self::Panicked => return TokenError::temporarily_unavailable(Duration::from_secs(1)),
        };
        TokenError::new(status, code, description)
    }

    fn challenge(&self, realm: &Realm, error: &TokenError) -> String {
        let mut challenge = realm.challenge("Bearer", "api");
        if !error.code().is_empty() {
            challenge.push_str(&format!(", error=\"{}\", error_description=\"{}\"", error.code(), error.description()));
        }
        if let Self::InsufficientScope(scope) = self {
            challenge.push_str(&format!(", scope=\"{scope}\""));
        }
        challenge
    }
}

/// The bearer token of a request (RFC 6750, section 2.1).
fn read(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let field = fields.next().ok_or(Refusal::Missing)?;
    if fields.next().is_some() {
        return Err(Refusal::Malformed);
    }
    let text = ascii(field).ok_or(Refusal::Malformed)?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::Missing);
    }
    let token = token.trim_matches(' ');
    let body = token.trim_end_matches('=');
    if !body.is_empty() && is_b64(body) { Ok(token) } else { Err(Refusal::Malformed) }
}

/// `HeaderValue::to_str` looks at one byte at a time.
fn ascii(field: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(field.as_bytes()).ok().filter(|text| text.is_ascii())
}

/// Without branches, so that the compiler vectorises it.
fn is_b64(text: &str) -> bool {
    text.bytes().fold(true, |all, byte| {
        all & (byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/'))
    })
}

#[cfg(test)]
mod tests {
    use http::{
        Version,
        header::{CONTENT_TYPE, TE},
    };

    use super::*;

    fn guard() -> Guard {
        Guard {
            validator: Arc::new(|text: &str| Ok(AccessToken::new(text))),
            required: Scope::empty(),
            deny_list: None,
            issuer: None,
            realm: Realm::new("api").unwrap(),
            render: Arc::new(render_error),
        }
    }

    #[test]
    fn each_refusal_has_its_status_challenge_and_body() {
        let call = || {
            let call = Request::post("/").version(Version::HTTP_2).header(CONTENT_TYPE, "application/grpc");
            call.header(TE, "trailers").body(()).unwrap()
        };
        for (refusal, status, grpc_status, challenge, body) in [
            (
                Refusal::Missing,
                401,
                "16",
                r#"Bearer realm="api""#,
                r#"{"error_description":"A bearer token is required"}"#,
            ),
            (
                Refusal::Malformed,
                400,
                "16",
                r#"Bearer realm="api", error="invalid_request", error_description="The Authorization header is malformed""#,
                r#"{"error":"invalid_request","error_description":"The Authorization header is malformed"}"#,
            ),
            (
                Refusal::InvalidToken(InvalidToken::Expired),
                401,
                "16",
                r#"Bearer realm="api", error="invalid_token", error_description="The access token is invalid or has expired""#,
                r#"{"error":"invalid_token","error_description":"The access token is invalid or has expired"}"#,
            ),
            (
                Refusal::InsufficientScope("a b".parse().unwrap()),
                403,
                "7",
                r#"Bearer realm="api", error="insufficient_scope", error_description="The access token does not allow this", scope="a b""#,
                r#"{"error":"insufficient_scope","error_description":"The access token does not allow this"}"#,
            ),
        ] {
            let refused = guard().refuse(&Request::new(()), &refusal);
            assert_eq!((refused.status().as_u16(), refused.body().as_ref()), (status, body.as_bytes()));
            assert_eq!(refused.headers()[WWW_AUTHENTICATE], challenge);
            assert_eq!(refused.headers()[CACHE_CONTROL], "no-store");
            let grpc = guard().refuse(&call(), &refusal);
            assert_eq!(grpc.status(), StatusCode::OK);
            assert_eq!(grpc.headers()["grpc-status"], grpc_status);
            assert_eq!(grpc.headers()["grpc-message"], refusal.error().description());
        }
    }

    #[cfg(feature = "tracing")]
    #[test]
    fn the_reason_of_a_refusal_is_logged() {
        let log = observe::tests::logged(|| {
            guard().refuse(&Request::new(()), &Refusal::InvalidToken(InvalidToken::Revoked));
        });
        assert!(log.contains("DEBUG") && log.contains("the token was revoked"), "{log}");
    }

    #[test]
    fn the_longest_token_that_is_validated_has_4096_bytes() {
        for (length, expected) in [(4_096, None), (4_097, Some(Refusal::InvalidToken(InvalidToken::Malformed)))] {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, format!("Bearer {}", "a".repeat(length)).parse().unwrap());
            assert_eq!(guard().token(&headers).err(), expected, "{length}");
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
            ("R11.2 another scheme", "Basic abc", Err(Refusal::Missing)),
            ("R11.2 another scheme", "Bearerabc", Err(Refusal::Missing)),
            ("R11.4 no token", "Bearer", Err(Refusal::Malformed)),
            ("R11.4 no token", "Bearer ", Err(Refusal::Malformed)),
            ("R11.4 two tokens", "Bearer a b", Err(Refusal::Malformed)),
            ("R11.4 comma", "Bearer a,b", Err(Refusal::Malformed)),
            ("R11.4 = inside", "Bearer a=b", Err(Refusal::Malformed)),
        ] {
            assert_eq!(read_one(value), expected.map(str::to_owned), "{clause}: {value}");
        }
        let mut two = HeaderMap::new();
        two.append(AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        two.append(AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        assert_eq!(read(&two), Err(Refusal::Malformed), "R11.5");
    }
}
