//! The errors that this crate returns, and the one that your own code returns to it.
//!
//! 1. A trait that you implement (a verifier, a table of users, a store) returns [`BoxError`], so `?` works with the errors
//!    of your database.
//! 2. The client gets a [`TokenError`]. Anything else becomes one: 503 `temporarily_unavailable`, with the cause in the log
//!    and never in the answer.
//! 3. A wrong setting is an [`InvalidConfig`] when it is set, before the first request.

use std::{borrow::Cow, error::Error, future::Future, pin::Pin, time::Duration};

use http::StatusCode;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::{observe, secret::debug_only, sync::timeout_at};

/// Any error. Your own verifier, users, clients, token issuer and stores return it.
///
/// ```
/// use tower_oauth2_password::BoxError;
///
/// fn port(text: &str) -> Result<u16, BoxError> {
///     Ok(text.parse()?)
/// }
///
/// assert!(port("many").is_err());
/// ```
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A boxed future, as traits return it that are used as `dyn`.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An invalid setting. The message says how to fix it.
///
/// ```
/// use tower_oauth2_password::Argon2Params;
///
/// let error = Argon2Params::new(1 << 30, 2, 1).unwrap_err();
/// assert!(error.to_string().contains("8*p to 262144"));
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidConfig(String);

impl InvalidConfig {
    /// For settings of your own stores and schemes. Say how to fix it.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    pub(crate) fn unless(valid: bool, message: impl Into<String>) -> Result<(), Self> {
        if valid { Ok(()) } else { Err(Self::new(message)) }
    }
}

/// A refusal by an endpoint or by the guard: a status, and the code and description of RFC 6749, section 5.2.
///
/// A verifier may return its own, which is sent as it is:
///
/// ```
/// use tower_oauth2_password::{BoxError, Login, TokenError, Verdict};
///
/// async fn verify(login: Login) -> Result<Verdict, BoxError> {
///     let error = TokenError::custom("mfa_required", "A second factor is needed").with_field("mfa_token", "f00");
///     assert_eq!((error.code(), error.status().as_u16()), ("mfa_required", 400));
///     Err(error.into())
/// }
/// # let error = tokio::runtime::Builder::new_current_thread().build()?.block_on(verify(Login::new("a", "p"))).unwrap_err();
/// # assert!(error.is::<TokenError>());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, thiserror::Error)]
#[error("{code}: {description}")]
#[must_use]
pub struct TokenError {
    status: StatusCode,
    code: Text,
    description: Text,
    retry_after: Option<Duration>,
    fields: Map<String, Value>,
    fault: Fault,
    /// The session in the client's cookie has ended.
    pub(crate) clears_cookie: bool,
}

/// Written in the code, or made for one error.
type Text = Cow<'static, str>;

/// What was wrong with the request, for custom error formats and the log.
#[derive(Clone)]
enum Fault {
    /// Why, for the log.
    Other(&'static str),
    Missing(Vec<&'static str>),
    GrantType(Box<str>),
}

impl TokenError {
    pub(crate) fn new(status: StatusCode, code: impl Into<Text>, description: impl Into<Text>) -> Self {
        let (code, description) = (code.into(), description.into());
        let (fields, fault) = (Map::new(), Fault::Other(""));
        Self { status, code, description, retry_after: None, fields, fault, clears_cookie: false }
    }

    /// Why, for the log: the client may learn less.
    pub(crate) fn because(self, reason: &'static str) -> Self {
        Self { fault: Fault::Other(reason), ..self }
    }

    pub(crate) fn with_cookie_cleared(self, clears_cookie: bool) -> Self {
        Self { clears_cookie, ..self }
    }

    pub(crate) fn reason(&self) -> &'static str {
        let Fault::Other(reason) = self.fault else { return "" };
        reason
    }

    /// A malformed request: 400 `invalid_request`.
    pub fn invalid_request(description: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", description)
    }

    /// A request that lacks parameters. The description names the first.
    pub(crate) fn missing(parameters: Vec<&'static str>) -> Self {
        let description = format!("The parameter {} is missing", parameters.first().copied().unwrap_or_default());
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", description).with_missing(parameters)
    }

    pub(crate) fn with_missing(self, parameters: Vec<&'static str>) -> Self {
        Self { fault: Fault::Missing(parameters), ..self }
    }

    /// A body over the limit: 413 `invalid_request`.
    pub fn body_too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request", "The request body is too large")
    }

    /// A client that is unknown or did not authenticate: 401 `invalid_client`, sent with a Basic challenge.
    pub fn invalid_client() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", "Client authentication failed")
    }

    /// A wrong username or password, or an invalid refresh token: 400 `invalid_grant`.
    pub fn invalid_grant(description: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_grant", description)
    }

    /// The client may not use this grant: 400 `unauthorized_client`.
    pub fn unauthorized_client() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unauthorized_client", "The client may not use this grant type")
    }

    /// A grant type that this endpoint does not serve: 400 `unsupported_grant_type`.
    pub fn unsupported_grant_type() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unsupported_grant_type", "The grant type is not supported")
    }

    pub(crate) fn with_grant_type(self, grant_type: &str) -> Self {
        Self { fault: Fault::GrantType(grant_type.into()), ..self }
    }

    /// A token of a kind that cannot be revoked here: 400 `unsupported_token_type` (RFC 7009, section 2.2.1).
    pub fn unsupported_token_type() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unsupported_token_type", "Tokens of this type cannot be revoked")
    }

    /// A scope that is malformed or not allowed: 400 `invalid_scope`.
    pub fn invalid_scope(description: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_scope", description)
    }

    /// Too many failed attempts: 429 with `retry-after`, code `invalid_request`.
    pub fn too_many_attempts(retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "invalid_request", "Too many failed attempts, try again later")
            .with_retry_after(retry_after)
    }

    /// No capacity, or an outage: 503 `temporarily_unavailable` with `retry-after`.
    pub fn temporarily_unavailable(retry_after: Duration) -> Self {
        let description = "The server cannot handle the request now, try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", description).with_retry_after(retry_after)
    }

    /// A body that did not arrive in time: 408 `invalid_request`.
    pub fn request_timeout() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "invalid_request", "The request body did not arrive in time")
    }

    /// A `TokenError` is sent as it is. The client learns nothing of any other cause, which is logged under `what`.
    pub(crate) fn from_cause(what: &str, cause: BoxError) -> Self {
        cause.downcast::<Self>().map(|own| *own).unwrap_or_else(|cause| {
            observe::failed(what, &*cause);
            Self::outage()
        })
    }

    pub(crate) fn outage() -> Self {
        Self::temporarily_unavailable(Duration::from_secs(1))
    }

    pub(crate) fn no_random(cause: getrandom::Error) -> Self {
        Self::from_cause("no random bytes", cause.into())
    }

    /// A fault of this server that will not pass: 500 `server_error`.
    pub fn server_error() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "The server cannot handle the request")
    }

    /// Your own error, for instance `mfa_required`: 400 unless you call [`with_status`](Self::with_status). Characters that
    /// RFC 6749, section 5.2 does not allow (all but printable ASCII, and `"` and `\`) are replaced by `?`.
    pub fn custom(code: &str, description: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, printable(code), printable(description))
    }

    /// Replaces the status.
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// Adds a `retry-after` header: whole seconds, rounded up, at least one.
    pub fn with_retry_after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    /// Adds a member to the JSON object. `error` and `error_description` cannot be replaced.
    pub fn with_field(mut self, name: &str, value: impl Into<Value>) -> Self {
        if name != "error" && name != "error_description" {
            self.fields.insert(name.to_owned(), value.into());
        }
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The value of `error`. It is empty if the guard found no token in the request (RFC 6750, section 3.1).
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The value of `error_description`.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The value of `retry-after`: whole seconds, rounded up, at least one.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|wait| wait.as_secs_f64().ceil().max(1.0) as u64)
    }

    /// All required parameters that the body lacks, if that is why the request was refused. A body that is not a form lacks
    /// all of them. A parameter that was sent in the query string counts as missing.
    pub fn missing_parameters(&self) -> &[&'static str] {
        let Fault::Missing(parameters) = &self.fault else { return &[] };
        parameters
    }

    /// The `grant_type` that was asked for, if it is not supported. It comes from the client: escape it.
    pub fn grant_type(&self) -> Option<&str> {
        let Fault::GrantType(grant_type) = &self.fault else { return None };
        Some(grant_type)
    }

    /// The additional members, beside `error` and `error_description`.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }
}

/// Awaits the user's code for this long. That it fails or takes longer is logged under `what`, like any cause.
pub(crate) async fn answer_within<T>(
    longest: Duration,
    what: &str,
    answer: impl Future<Output = Result<T, BoxError>>,
) -> Result<T, TokenError> {
    let answer = timeout_at(Instant::now() + longest, answer).await;
    answer.map_err(BoxError::from).flatten().map_err(|cause| TokenError::from_cause(what, cause))
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if matches!(c, ' ' | '!' | '#'..='[' | ']'..='~') { c } else { '?' }).collect()
}

// Without the fields, as a value may be a token, and without anything that the client sent.
debug_only!(TokenError { status, code, description, retry_after });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_custom_error_holds_only_the_characters_of_the_rfc() {
        let error = TokenError::custom("a\"b\\c\n", " !#[]~\u{7F}é");
        assert_eq!((error.code(), error.description()), ("a?b?c?", " !#[]~??"));
        assert_eq!(error.to_string(), "a?b?c?:  !#[]~??");
        assert_eq!((error.status(), error.retry_after_seconds()), (StatusCode::BAD_REQUEST, None));
        assert_eq!(error.with_status(StatusCode::FORBIDDEN).status(), StatusCode::FORBIDDEN);
    }

    #[test]
    fn fields_cannot_replace_the_members_of_the_rfc() {
        let error = TokenError::invalid_grant("no")
            .with_field("error", "x")
            .with_field("error_description", "x")
            .with_field("mfa_token", "f00");
        assert_eq!(error.fields().iter().collect::<Vec<_>>(), [(&"mfa_token".to_owned(), &Value::from("f00"))]);
    }

    #[test]
    fn retry_after_is_at_least_one_second() {
        for (milliseconds, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (60_000, 60)] {
            let error = TokenError::too_many_attempts(Duration::from_millis(milliseconds));
            assert_eq!(error.retry_after_seconds(), Some(seconds), "{milliseconds} ms");
        }
    }

    #[test]
    fn a_renderer_can_ask_for_the_fault() {
        let missing = TokenError::missing(vec!["username", "password"]);
        assert_eq!(missing.description(), "The parameter username is missing");
        assert_eq!((missing.missing_parameters(), missing.grant_type()), (&["username", "password"][..], None));
        let grant = TokenError::unsupported_grant_type().with_grant_type("implicit");
        assert_eq!((grant.missing_parameters(), grant.grant_type()), (&[][..], Some("implicit")));
    }

    #[test]
    fn each_kind_has_its_status_and_code() {
        let second = Duration::from_secs(1);
        for (error, status, code) in [
            (TokenError::invalid_request("x"), 400, "invalid_request"),
            (TokenError::body_too_large(), 413, "invalid_request"),
            (TokenError::invalid_client(), 401, "invalid_client"),
            (TokenError::invalid_grant("x"), 400, "invalid_grant"),
            (TokenError::unauthorized_client(), 400, "unauthorized_client"),
            (TokenError::unsupported_grant_type(), 400, "unsupported_grant_type"),
            (TokenError::unsupported_token_type(), 400, "unsupported_token_type"),
            (TokenError::invalid_scope("x"), 400, "invalid_scope"),
            (TokenError::too_many_attempts(second), 429, "invalid_request"),
            (TokenError::temporarily_unavailable(second), 503, "temporarily_unavailable"),
            (TokenError::request_timeout(), 408, "invalid_request"),
        ] {
            assert_eq!((error.status().as_u16(), error.code()), (status, code));
            assert_eq!(error.retry_after_seconds(), (status > 413).then_some(1), "{code}");
        }
    }
}
