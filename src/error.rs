//! The error of the token and revocation endpoints (RFC 6749, section 5.2).

use std::{borrow::Cow, error::Error, fmt, future::Future, pin::Pin, time::Duration};

use http::StatusCode;
use serde_json::{Map, Value};

/// What the token or revocation endpoint answers when it refuses: a status, the code and description of RFC 6749,
/// section 5.2, and what must go with them.
///
/// ```
/// use tower_oauth2_password::TokenError;
///
/// let error = TokenError::custom("mfa_required", "A second factor is needed").with_field("mfa_token", "f00");
/// assert_eq!(error.code(), "mfa_required");
/// assert_eq!(error.status(), 400);
/// ```
#[derive(Clone)]
pub struct TokenError {
    status: StatusCode,
    code: Cow<'static, str>,
    description: Cow<'static, str>,
    retry_after: Option<Duration>,
    fields: Map<String, Value>,
    cause: Cause,
}

/// What in the request was wrong, as far as a renderer may want to know.
#[derive(Clone, Debug)]
enum Cause {
    Other,
    Missing(Vec<&'static str>),
    GrantType(Box<str>),
}

impl TokenError {
    fn new(status: StatusCode, code: &'static str, description: &'static str) -> Self {
        Self {
            status,
            code: Cow::Borrowed(code),
            description: Cow::Borrowed(description),
            retry_after: None,
            fields: Map::new(),
            cause: Cause::Other,
        }
    }

    /// A malformed request: 400 `invalid_request`.
    #[must_use]
    pub fn invalid_request(description: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", description)
    }

    /// A request without parameters that it must have; the description names the first.
    pub(crate) fn missing(parameters: Vec<&'static str>) -> Self {
        let description = format!("The parameter {} is missing", parameters.first().copied().unwrap_or_default());
        let error = Self { description: Cow::Owned(description), ..Self::invalid_request("") };
        error.with_missing(parameters)
    }

    pub(crate) fn with_missing(mut self, parameters: Vec<&'static str>) -> Self {
        self.cause = Cause::Missing(parameters);
        self
    }

    /// A body over the limit: 413 `invalid_request`.
    #[must_use]
    pub fn body_too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request", "The request body is too large")
    }

    /// A client that is unknown or did not authenticate: 401 `invalid_client`, sent with a Basic challenge.
    #[must_use]
    pub fn invalid_client() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", "Client authentication failed")
    }

    /// Wrong username or password, or a refresh token that is not good: 400 `invalid_grant`.
    #[must_use]
    pub fn invalid_grant(description: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_grant", description)
    }

    /// The client may not use this grant: 400 `unauthorized_client`.
    #[must_use]
    pub fn unauthorized_client() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unauthorized_client", "The client may not use this grant type")
    }

    /// A grant type that this endpoint does not serve: 400 `unsupported_grant_type`.
    #[must_use]
    pub fn unsupported_grant_type() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unsupported_grant_type", "The grant type is not supported")
    }

    pub(crate) fn with_grant_type(mut self, grant_type: &str) -> Self {
        self.cause = Cause::GrantType(grant_type.into());
        self
    }

    /// A token of a kind that cannot be revoked here: 400 `unsupported_token_type` (RFC 7009, section 2.2.1).
    #[must_use]
    pub fn unsupported_token_type() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unsupported_token_type", "Tokens of this type cannot be revoked")
    }

    /// A scope that is malformed or not allowed: 400 `invalid_scope`.
    #[must_use]
    pub fn invalid_scope(description: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_scope", description)
    }

    /// Too many failed attempts: 429 with `retry-after`, code `invalid_request`.
    #[must_use]
    pub fn too_many_attempts(retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "invalid_request", "Too many failed attempts, try again later")
            .with_retry_after(retry_after)
    }

    /// No capacity, or something behind the endpoint is away: 503 `temporarily_unavailable` with `retry-after`.
    #[must_use]
    pub fn temporarily_unavailable(retry_after: Duration) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "temporarily_unavailable",
            "The server cannot handle the request now, try again later",
        )
        .with_retry_after(retry_after)
    }

    /// An error of one's own, for instance `mfa_required`: 400 unless [`with_status`](Self::with_status) says otherwise.
    ///
    /// Characters outside of RFC 6749, section 5.2 (printable ASCII without `"` and `\`) are replaced by `?`.
    #[must_use]
    pub fn custom(code: &str, description: &str) -> Self {
        Self {
            code: Cow::Owned(printable(code)),
            description: Cow::Owned(printable(description)),
            ..Self::new(StatusCode::BAD_REQUEST, "", "")
        }
    }

    /// Replaces the status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Adds a `retry-after` header, in whole seconds, rounded up, at least one.
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    /// Adds a member to the JSON object. `error` and `error_description` cannot be replaced.
    #[must_use]
    pub fn with_field(mut self, name: &str, value: impl Into<Value>) -> Self {
        if name != "error" && name != "error_description" {
            self.fields.insert(name.to_owned(), value.into());
        }
        self
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The value of `error`.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The value of `error_description`.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// How long the client should wait, as `retry-after` says it: whole seconds, at least one.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|wait| wait.as_secs_f64().ceil().max(1.0) as u64)
    }

    /// All the required parameters that the body does not have, where that is why a request was refused; a body that
    /// is no form has none. A parameter that was refused in the query string is listed, too: it does not count there.
    #[must_use]
    pub fn missing_parameters(&self) -> &[&'static str] {
        match &self.cause {
            Cause::Missing(parameters) => parameters,
            _ => &[],
        }
    }

    /// The `grant_type` that was asked for, where it is not supported. It is the client's text: escape it.
    #[must_use]
    pub fn grant_type(&self) -> Option<&str> {
        match &self.cause {
            Cause::GrantType(grant_type) => Some(grant_type),
            _ => None,
        }
    }

    /// The members beside `error` and `error_description`.
    #[must_use]
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if matches!(c, ' ' | '!' | '#'..='[' | ']'..='~') { c } else { '?' }).collect()
}

impl fmt::Debug for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of the fields only the names: a value may be a token, as that of a second factor. What the client sent stays out.
        f.debug_struct("TokenError")
            .field("status", &self.status)
            .field("code", &self.code)
            .field("description", &self.description)
            .field("retry_after", &self.retry_after)
            .field("fields", &self.fields.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.description)
    }
}

impl std::error::Error for TokenError {}

/// Any error, as causes are kept in this crate.
pub type BoxError = Box<dyn Error + Send + Sync>;

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A store could not answer: what it needs is away, too slow, or full. The cause is logged, never shown.
#[derive(Debug)]
pub struct StoreError(BoxError);

impl StoreError {
    /// Wraps the cause.
    pub fn new(cause: impl Into<BoxError>) -> Self {
        Self(cause.into())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store is unavailable")
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.0.as_ref())
    }
}

/// A setting that cannot work; the message names the value and the mend.
#[derive(Clone, Debug)]
pub struct InvalidConfig(String);

impl InvalidConfig {
    pub(crate) fn new(message: String) -> Self {
        Self(message)
    }
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidConfig {}

/// What a request is told when a store that it needs failed; the cause goes to the log.
pub(crate) fn store_unavailable(error: &crate::error::StoreError) -> TokenError {
    crate::observe::store_failed(error);
    TokenError::temporarily_unavailable(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_its_cause_to_the_log_alone() {
        let error = StoreError::new("no route to 192.0.2.7");
        assert_eq!(error.to_string(), "the store is unavailable");
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("no route to 192.0.2.7"));
    }

    #[test]
    fn an_error_of_ones_own_holds_the_characters_of_the_rfc() {
        let error = TokenError::custom("a\"b\\c\n", " !#[]~\u{7F}é");
        assert_eq!((error.code(), error.description()), ("a?b?c?", " !#[]~??"));
        assert_eq!(error.to_string(), "a?b?c?:  !#[]~??");
        assert_eq!((error.status(), error.retry_after_seconds()), (StatusCode::BAD_REQUEST, None));
        assert_eq!(error.with_status(StatusCode::FORBIDDEN).status(), StatusCode::FORBIDDEN);
    }

    #[test]
    fn members_are_added_and_the_two_of_the_rfc_stay() {
        let error = TokenError::invalid_grant("no")
            .with_field("error", "x")
            .with_field("error_description", "x")
            .with_field("mfa_token", "f00");
        assert_eq!(error.fields().iter().collect::<Vec<_>>(), [(&"mfa_token".to_owned(), &Value::from("f00"))]);
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds_and_at_least_one() {
        for (milliseconds, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (60_000, 60)] {
            let error = TokenError::too_many_attempts(Duration::from_millis(milliseconds));
            assert_eq!(error.retry_after_seconds(), Some(seconds), "{milliseconds} ms");
        }
    }

    #[test]
    fn what_was_wrong_can_be_asked() {
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
        ] {
            assert_eq!((error.status().as_u16(), error.code()), (status, code));
            assert_eq!(error.retry_after_seconds(), (status > 413).then_some(1), "{code}");
        }
    }
}
