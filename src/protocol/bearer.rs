//! The guard's decision (RFC 6750, RFC 9470).

use std::sync::atomic::{AtomicBool, Ordering};
use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, request::Parts};

use super::response::{Realm, RenderError, complete, render_error};
use super::{form::single, grpc, session, step_up::StepUp};
use crate::store::DenyList;
use crate::token::{AccessToken, InvalidToken, RefuseHandler, TokenValidator};
use crate::{error::TokenError, observe, scope::RequiredScope, secret::debug_only, sync::unwind_guarded};

/// Everything that decides about a bearer token.
#[derive(Clone)]
pub(crate) struct Guard {
    pub(crate) validator: Arc<dyn TokenValidator>,
    /// Each for one method, or for all.
    pub(crate) required: Vec<(Option<Method>, RequiredScope)>,
    /// What is required of the login, if anything is.
    pub(crate) step_up: Option<StepUp>,
    /// Requests without a token pass.
    pub(crate) optional: bool,
    pub(crate) deny_list: Option<Arc<dyn DenyList>>,
    /// Of the server that issues the tokens, if this is its guard.
    pub(crate) issuer: Option<Arc<str>>,
    pub(crate) realm: Realm,
    pub(crate) render: Arc<RenderError>,
}

debug_only!(Guard { required, step_up, optional });

/// An optional guard let a request pass without a token.
#[derive(Clone, Debug)]
pub(crate) struct Anonymous(pub(crate) Arc<Guard>);

impl Guard {
    pub(crate) fn new(validator: Arc<dyn TokenValidator>) -> Self {
        let (required, realm, render) = (Vec::new(), Realm::default(), Arc::new(render_error));
        Self { validator, required, step_up: None, optional: false, deny_list: None, issuer: None, realm, render }
    }

    /// The token of a request, if it needs one, or the response that refuses it.
    pub(crate) fn check(
        &self,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Option<AccessToken>, Box<Response<Bytes>>> {
        self.token(method, headers).map_err(|refusal| self.refuse(method, headers, &refusal))
    }

    pub(super) fn token(&self, method: &Method, headers: &HeaderMap) -> Result<Option<AccessToken>, Refusal> {
        guarded(|| {
            let Some(text) = self.text(method, headers)? else { return Ok(None) };
            let token = self.validator.validate(text).map_err(Refusal::InvalidToken)?;
            self.accept(token, method).map(Some)
        })
    }

    /// Leaves the token to the handlers, and how to refuse what it does not allow.
    pub(crate) fn admit<B>(self: &Arc<Self>, request: &mut Request<B>, token: Option<AccessToken>) {
        let (guard, extensions) = (Arc::clone(self), request.extensions_mut());
        // Whatever a layer further out has left there, this guard has not seen it.
        extensions.remove::<AccessToken>();
        match token {
            Some(token) => drop(extensions.insert(token.accepted_by(guard))),
            None => drop(extensions.insert(Anonymous(guard))),
        }
    }

    pub(super) fn text<'a>(&self, method: &Method, headers: &'a HeaderMap) -> Result<Option<&'a str>, Refusal> {
        match read(headers) {
            Err(Refusal::Missing) if self.welcomes_strangers(method, headers) => Ok(None),
            Ok(text) if text.len() > self.validator.longest_token() => {
                Err(Refusal::InvalidToken(InvalidToken::Malformed))
            }
            read => read.map(Some),
        }
    }

    /// Whether a request without a token may pass: only where nothing is required of it, or leaving the token out would be the
    /// way past a refusal. A header with credentials of another scheme holds no token.
    fn welcomes_strangers(&self, method: &Method, headers: &HeaderMap) -> bool {
        let has_scheme = |field: &HeaderValue| field.as_bytes().contains(&b' ');
        let is_free = self.step_up.is_none() && self.required(method).next().is_none();
        self.optional && is_free && headers.get(AUTHORIZATION).is_none_or(has_scheme)
    }

    fn required(&self, method: &Method) -> impl Iterator<Item = &RequiredScope> {
        // Routers answer HEAD as GET.
        let concerned = move |only: &Method| only == method || (*only == Method::GET && *method == Method::HEAD);
        let required = self.required.iter().filter(move |(only, _)| only.as_ref().is_none_or(concerned));
        required.map(|(_, required)| required)
    }

    /// Whether a valid token was not revoked, and allows the method. A login that does not suffice comes before a scope that is
    /// missing: its challenge can name both (RFC 9470, section 3).
    pub(super) fn accept(&self, token: AccessToken, method: &Method) -> Result<AccessToken, Refusal> {
        match &self.deny_list {
            Some(list) if session::is_denied(&**list, self.issuer.as_deref(), &token) => {
                return Err(Refusal::InvalidToken(InvalidToken::Revoked));
            }
            None if token.session_id().is_some() => warn_once(),
            _ => {}
        }
        let missing = self.required(method).find(|required| !required.is_met_by(token.scope()));
        if let Some(step_up) = self.step_up.as_ref().filter(|step_up| !step_up.is_met_by(&token, SystemTime::now)) {
            return Err(Refusal::InsufficientAuthentication(step_up.clone(), missing.cloned()));
        }
        match missing {
            Some(required) => Err(Refusal::InsufficientScope(required.clone())),
            None => Ok(token),
        }
    }

    #[cold]
    pub(super) fn refuse(&self, method: &Method, headers: &HeaderMap, refusal: &Refusal) -> Box<Response<Bytes>> {
        let error = refusal.error();
        match refusal {
            Refusal::InvalidToken(reason) => observe::bearer_refused(reason),
            _ => observe::bearer_refused(&error.description()),
        }
        let mut response = match grpc::call(method, headers) {
            Some(media_type) => grpc::refuse(media_type, &error),
            None => unwind_guarded(|| (self.render)(&error)).unwrap_or_else(|| render_error(&error)),
        };
        let own = !matches!(refusal, Refusal::Other(_)) || error.status() == StatusCode::UNAUTHORIZED;
        response = complete(&error, own.then(|| refusal.challenge(&self.realm, &error)), response);
        Box::new(response)
    }
}

impl RefuseHandler for Guard {
    fn refuse_for(&self, parts: &Parts, missing: Option<&RequiredScope>) -> Box<Response<Bytes>> {
        let refusal = missing.map_or(Refusal::Missing, |scope| Refusal::InsufficientScope(scope.clone()));
        self.refuse(&parts.method, &parts.headers, &refusal)
    }
}

/// The guard runs on each request, and the log of warnings has a lock.
fn warn_once() {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if !WARNED.load(Ordering::Relaxed) {
        WARNED.store(true, Ordering::Relaxed);
        observe::misconfigured(
            "a guard has no deny list, so it accepts tokens of sessions that have ended: configure one with \
             `with_deny_list`, and make guards with `AuthorizationServer::guard`",
        );
    }
}

/// Why a request was refused (RFC 6750, section 3; RFC 9470, section 3).
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// No credentials, or another scheme.
    Missing,
    /// A malformed header, or two.
    Malformed,
    InvalidToken(InvalidToken),
    InsufficientScope(RequiredScope),
    /// The login is too old or lacks factors. The scope may be missing, too.
    InsufficientAuthentication(StepUp, Option<RequiredScope>),
    /// The user's code failed, or has an error of its own.
    Other(TokenError),
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
            Self::InsufficientAuthentication(..) => {
                (StatusCode::UNAUTHORIZED, "insufficient_user_authentication", "A newer or stronger login is required")
            }
            Self::Other(error) => return error.clone(),
        };
        TokenError::new(status, code, description)
    }

    fn challenge(&self, realm: &Realm, error: &TokenError) -> String {
        let mut challenge = realm.challenge("Bearer", "api");
        if !error.code().is_empty() {
            challenge.push_str(&format!(", error=\"{}\", error_description=\"{}\"", error.code(), error.description()));
        }
        if let Self::InsufficientAuthentication(step_up, _) = self {
            challenge.push_str(&step_up.challenge());
        }
        if let Self::InsufficientScope(scope) | Self::InsufficientAuthentication(_, Some(scope)) = self {
            challenge.push_str(&format!(", scope=\"{}\"", scope.as_str()));
        }
        challenge
    }
}

/// Calls the validator or the deny list, which may be the app's own.
pub(super) fn guarded<T>(check: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
    unwind_guarded(check).unwrap_or_else(|| Err(Refusal::Other(TokenError::outage())))
}

/// The bearer token of a request (RFC 6750, section 2.1).
fn read(headers: &HeaderMap) -> Result<&str, Refusal> {
    let field = single(headers, &AUTHORIZATION, Refusal::Malformed)?.ok_or(Refusal::Missing)?;
    // `HeaderValue::to_str` looks at one byte at a time.
    let text = std::str::from_utf8(field.as_bytes()).ok().filter(|text| text.is_ascii()).ok_or(Refusal::Malformed)?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::Missing);
    }
    let token = token.trim_matches(' ');
    let body = token.trim_end_matches('=');
    if !body.is_empty() && is_b64(body) { Ok(token) } else { Err(Refusal::Malformed) }
}

/// Without branches, so that the compiler vectorises it.
fn is_b64(text: &str) -> bool {
    text.bytes().fold(true, |all, byte| {
        all & (byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/'))
    })
}

#[cfg(test)]
mod tests {
    use http::header::{CACHE_CONTROL, CONTENT_TYPE, TE, WWW_AUTHENTICATE};

    use super::*;

    fn guard() -> Guard {
        Guard { realm: Realm::new("api").unwrap(), ..Guard::new(Arc::new(|text: &str| Ok(AccessToken::new(text)))) }
    }

    #[test]
    fn each_refusal_has_its_status_challenge_and_body() {
        let mut call = HeaderMap::new();
        call.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        call.insert(TE, HeaderValue::from_static("trailers"));
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
                Refusal::InsufficientScope(RequiredScope::any_of("a b")),
                403,
                "7",
                r#"Bearer realm="api", error="insufficient_scope", error_description="The access token does not allow this", scope="a b""#,
                r#"{"error":"insufficient_scope","error_description":"The access token does not allow this"}"#,
            ),
            (
                Refusal::InsufficientAuthentication(
                    StepUp { max_age: Some(300), acr_values: "urn:mfa urn:key".parse().ok() },
                    Some(RequiredScope::all_of("a")),
                ),
                401,
                "16",
                r#"Bearer realm="api", error="insufficient_user_authentication", error_description="A newer or stronger login is required", max_age="300", acr_values="urn:mfa urn:key", scope="a""#,
                r#"{"error":"insufficient_user_authentication","error_description":"A newer or stronger login is required"}"#,
            ),
        ] {
            let refused = guard().refuse(&Method::GET, &HeaderMap::new(), &refusal);
            assert_eq!((refused.status().as_u16(), refused.body().as_ref()), (status, body.as_bytes()));
            assert_eq!(refused.headers()[WWW_AUTHENTICATE], challenge);
            assert_eq!(refused.headers()[CACHE_CONTROL], "no-store");
            let grpc = guard().refuse(&Method::POST, &call, &refusal);
            assert_eq!(grpc.status(), StatusCode::OK);
            assert_eq!(grpc.headers()["grpc-status"], grpc_status);
            assert_eq!(grpc.headers()["grpc-message"], refusal.error().description());
        }
    }

    #[cfg(feature = "tracing")]
    #[test]
    fn the_reason_of_a_refusal_is_logged() {
        let log = observe::tests::logged(|| {
            guard().refuse(&Method::GET, &HeaderMap::new(), &Refusal::InvalidToken(InvalidToken::Revoked));
        });
        assert!(log.contains("DEBUG") && log.contains("the token was revoked"), "{log}");
    }

    #[test]
    fn the_longest_token_that_is_validated_has_4096_bytes() {
        for (length, refused) in [(4_096, false), (4_097, true)] {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, format!("Bearer {}", "a".repeat(length)).parse().unwrap());
            assert_eq!(guard().token(&Method::GET, &headers).is_err(), refused, "{length}");
        }
    }

    #[test]
    fn header_rules() {
        let read_one = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            format!("{:?}", read(&headers))
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
            assert_eq!(read_one(value), format!("{expected:?}"), "{clause}: {value}");
        }
        let mut two = HeaderMap::new();
        two.append(AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        two.append(AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        assert!(matches!(read(&two), Err(Refusal::Malformed)), "R11.5");
    }
}
