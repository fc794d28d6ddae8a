//! Responses: RFC 6749, sections 5.1 and 5.2.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode, request::Parts};
use serde::Serialize;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::cookie;
use crate::error::{InvalidConfig, TokenError};
use crate::{scope::Scope, secret::Secret, token::IssuedToken};

/// Renders an error in an API's own format.
pub(crate) type RenderError = dyn Fn(&TokenError) -> Response<Bytes> + Send + Sync;

/// Renders tokens in an API's own format.
pub(crate) type RenderToken = dyn Fn(&TokenResponse, &Parts) -> Response<Bytes> + Send + Sync;

/// Room for the names of the members and a number, beside the tokens and the scope.
const ROOM_FOR_THE_REST: usize = 192;

#[derive(Serialize)]
struct Body<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    #[serde(flatten)]
    others: BTreeMap<&'static str, &'a str>,
}

/// A successful response of the token endpoint (RFC 6749, section 5.1), for
/// [`with_token_response`](crate::AuthorizationServer::with_token_response).
///
/// ```
/// use http::Response;
/// use serde_json::json;
/// use tower_oauth2_password::{AuthorizationServer, Jwt, Key, Login, TokenResponse, Verdict};
///
/// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
/// let auth = AuthorizationServer::new(|_: Login| async { Ok(Verdict::Denied) }, jwt).with_token_response(
///     |response: &TokenResponse, _request: &http::request::Parts| {
///         assert!(response.refresh_token().is_none());
///         let body = json!({ "jwt": response.access_token().expose(), "seconds": response.expires_in().as_secs() });
///         Response::new(body.to_string().into())
///     },
/// );
/// # Ok::<(), tower_oauth2_password::KeyError>(())
/// ```
#[derive(Debug)]
pub struct TokenResponse {
    pub(crate) issued: IssuedToken,
    pub(crate) scope: Scope,
    pub(crate) subject: String,
    pub(crate) claims: Map<String, Value>,
    pub(crate) refresh_token: Option<(Secret, Duration)>,
    /// Where no body may show it.
    pub(crate) in_cookie: bool,
    /// Members of other specifications.
    pub(crate) others: BTreeMap<&'static str, Secret>,
}

impl TokenResponse {
    /// The access token.
    pub fn access_token(&self) -> &Secret {
        &self.issued.token
    }

    /// The lifetime of the access token.
    pub fn expires_in(&self) -> Duration {
        self.issued.expires_in
    }

    /// The scope that was granted.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The refresh token, if the server issues them. `None` for a client [with a cookie](crate::Client::with_cookie).
    pub fn refresh_token(&self) -> Option<&Secret> {
        self.refresh_token.as_ref().filter(|_| !self.in_cookie).map(|(token, _)| token)
    }

    /// How long the refresh token lives if it is not used, in a cookie or not.
    pub fn refresh_token_expires_in(&self) -> Option<Duration> {
        self.refresh_token.as_ref().map(|(_, ttl)| *ttl)
    }

    /// The successor of the recovery code that was used up, if there is one.
    pub fn recovery_code(&self) -> Option<&Secret> {
        self.others.get("recovery_code")
    }

    /// The token that lets this device skip the second step, if the client asked for it: see
    /// [`with_trusted_devices`](crate::SecondFactors::with_trusted_devices).
    pub fn device_token(&self) -> Option<&Secret> {
        self.others.get("device_token")
    }

    /// The user.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The additional claims of the access token, such as those of [`Identity::with_claim`](crate::Identity::with_claim).
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// Adds what every answer has, however it was rendered.
    pub(crate) fn complete(&self, rendered: Response<Bytes>) -> Response<Bytes> {
        match &self.refresh_token {
            Some((token, ttl)) if self.in_cookie => cookie::set(uncached(rendered), token.expose(), *ttl),
            _ => uncached(rendered),
        }
    }

    pub(crate) fn render(&self) -> Response<Bytes> {
        let (access_token, expires_in) = (self.issued.token.expose(), self.issued.expires_in.as_secs());
        let mut others: BTreeMap<_, _> = self.others.iter().map(|(name, value)| (*name, value.expose())).collect();
        others.extend(self.refresh_token().map(|token| ("refresh_token", token.expose())));
        others.extend((!self.scope.is_empty()).then(|| ("scope", self.scope.as_str())));
        // Enough room at once: growing would leave copies of the tokens behind. A code of the app may need escapes.
        let room = access_token.len() + others.values().map(|other| 2 * other.len()).sum::<usize>() + ROOM_FOR_THE_REST;
        let body = Body { access_token, token_type: "bearer", expires_in, others };
        let mut text = Zeroizing::new(Vec::with_capacity(room));
        // Writing strings and a number to memory cannot fail.
        let _ = serde_json::to_writer(&mut *text, &body);
        json_text(Bytes::from_owner(text))
    }
}

/// The `realm` of a challenge.
#[derive(Clone, Debug, Default)]
pub(crate) struct Realm(Option<String>);

impl Realm {
    pub(crate) fn new(realm: &str) -> Result<Self, InvalidConfig> {
        let is_text = realm.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
        let hint = format!("the realm {realm:?} may hold only printable ASCII without '\"' and '\\'");
        InvalidConfig::unless(is_text, hint).map(|()| Self(Some(realm.to_owned())))
    }

    pub(crate) fn challenge(&self, scheme: &str, default: &str) -> String {
        format!("{scheme} realm=\"{}\"", self.0.as_deref().unwrap_or(default))
    }
}

/// The JSON of RFC 6749, section 5.2.
pub(crate) fn render_error(error: &TokenError) -> Response<Bytes> {
    let mut body = error.fields().clone();
    if !error.code().is_empty() {
        body.insert("error".to_owned(), error.code().into());
    }
    body.insert("error_description".to_owned(), error.description().into());
    let mut response = json(&Value::Object(body));
    *response.status_mut() = error.status();
    response
}

/// Adds the headers that an error of an endpoint must have, however it was rendered.
pub(crate) fn complete_error(error: &TokenError, realm: &Realm, response: Response<Bytes>) -> Response<Bytes> {
    let response = if error.clears_cookie { cookie::clear(response) } else { response };
    complete(error, (error.status() == 401).then(|| realm.challenge("Basic", "token")), response)
}

/// Adds the headers that an error must have.
pub(crate) fn complete(error: &TokenError, challenge: Option<String>, response: Response<Bytes>) -> Response<Bytes> {
    let mut response = uncached(response);
    let headers = response.headers_mut();
    if let Some(seconds) = error.retry_after_seconds() {
        headers.entry(RETRY_AFTER).or_insert_with(|| HeaderValue::from(seconds));
    }
    if let Some(Ok(challenge)) = challenge.map(HeaderValue::try_from) {
        headers.entry(WWW_AUTHENTICATE).or_insert(challenge);
    }
    response
}

/// The members of a JSON object that are not null.
pub(super) fn members(object: Value) -> Map<String, Value> {
    let Value::Object(mut members) = object else { return Map::new() };
    members.retain(|_, value| !value.is_null());
    members
}

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

pub(crate) fn method_not_allowed(allowed: &'static str) -> Response<Bytes> {
    let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

pub(crate) fn json(body: &Value) -> Response<Bytes> {
    json_text(body.to_string().into())
}

pub(crate) fn json_text(json: Bytes) -> Response<Bytes> {
    let mut response = Response::new(json);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Adds the headers that a response with a token must have.
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
            subject: "alice".to_owned(),
            claims: Map::new(),
            refresh_token: refresh_token.map(|token| (token.into(), Duration::from_secs(60))),
            in_cookie: false,
            others: BTreeMap::new(),
        }
    }

    #[test]
    fn a_token_response_is_rendered_as_json() {
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
    fn an_error_keeps_the_headers_that_its_renderer_set() {
        let realm = Realm::new("token").unwrap();
        let bare = Response::new(Bytes::new());
        let complete = complete_error(&TokenError::invalid_client(), &realm, bare.clone());
        assert_eq!(complete.headers()[WWW_AUTHENTICATE], "Basic realm=\"token\"");
        assert_eq!(
            (&complete.headers()[CACHE_CONTROL], &complete.headers()[PRAGMA]),
            (&"no-store".parse().unwrap(), &"no-cache".parse().unwrap())
        );
        let later = TokenError::too_many_attempts(Duration::from_secs(7));
        let complete = complete_error(&later, &realm, bare);
        assert_eq!(complete.headers()[RETRY_AFTER], "7");
        assert!(!complete.headers().contains_key(WWW_AUTHENTICATE));

        let own =
            Response::builder().header(WWW_AUTHENTICATE, "Own").header(RETRY_AFTER, "3").body(Bytes::new()).unwrap();
        let error = TokenError::invalid_client().with_retry_after(Duration::from_secs(7));
        let complete = complete_error(&error, &realm, own);
        assert_eq!(complete.headers()[WWW_AUTHENTICATE], "Own");
        assert_eq!(complete.headers()[RETRY_AFTER], "3");
    }

    #[test]
    fn a_realm_is_printable_or_an_error_that_names_it() {
        assert_eq!(Realm::new(" members' ~ area").unwrap().challenge("Basic", ""), "Basic realm=\" members' ~ area\"");
        for realm in ["a\"b", "a\\b", "a\nb", "\u{1F}", "\u{7F}", "é"] {
            let error = Realm::new(realm).unwrap_err().to_string();
            assert!(error.contains(&format!("{realm:?}")), "{error}");
        }
    }
}
