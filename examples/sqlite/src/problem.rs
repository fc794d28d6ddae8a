//! All errors of this app have one format: problem details (RFC 9457), with the member `error` of OAuth.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use tower_oauth2_password::{BearerError, BoxError, TokenError};

pub(crate) fn render(error: &TokenError) -> Response<Bytes> {
    let status = error.status();
    let body = json!({ "title": error.description(), "status": status.as_u16(), "error": error.code() });
    let mut response = Response::new(body.to_string().into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(wait) = error.retry_after_seconds() {
        response.headers_mut().insert(header::RETRY_AFTER, wait.into());
    }
    response
}

/// Why a handler refuses a request.
pub(crate) struct Problem(BoxError);

pub(crate) type Result<T, E = Problem> = std::result::Result<T, E>;

impl Problem {
    pub(crate) fn new(status: StatusCode, error: &str, title: &str) -> Self {
        TokenError::custom(error, title).with_status(status).into()
    }
}

impl<E: Into<BoxError>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let error = match self.0.downcast::<BearerError>() {
            // The guard has rendered it.
            Ok(refused) => return refused.into_response(),
            Err(error) => error,
        };
        let error = error.downcast::<TokenError>().unwrap_or_else(|cause| {
            tracing::warn!(%cause, "a request failed");
            Box::new(TokenError::temporarily_unavailable(Duration::from_secs(1)))
        });
        render(&error).map(Body::from)
    }
}
