//! Extractors and responses for axum.

use axum_core::body::Body;
use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::IntoResponse;
use bytes::Bytes;
use http::request::Parts;

use super::extract::{BearerError, HandlerScope, Scoped};
use crate::error::TokenError;
use crate::protocol::response::{complete, render_error};
use crate::token::AccessToken;

impl<S: Sync> FromRequestParts<S> for AccessToken {
    type Rejection = BearerError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, BearerError> {
        Self::from_parts(parts)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for AccessToken {
    type Rejection = BearerError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, BearerError> {
        Self::from_parts_if_any(parts)
    }
}

impl<S: Sync, R: HandlerScope> FromRequestParts<S> for Scoped<R> {
    type Rejection = BearerError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, BearerError> {
        Self::from_parts(parts)
    }
}

impl IntoResponse for BearerError {
    fn into_response(self) -> http::Response<Body> {
        http::Response::<Bytes>::from(self).map(Body::from)
    }
}

/// In the format of RFC 6749, section 5.2, and without a challenge: browsers open a dialog for one.
impl IntoResponse for TokenError {
    fn into_response(self) -> http::Response<Body> {
        complete(&self, None, render_error(&self)).map(Body::from)
    }
}
