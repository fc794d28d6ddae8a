//! What a handler asks of the guard in front of it: the token, and the scope that it needs itself.

use std::{fmt, marker::PhantomData, ops::Deref, sync::Arc};

use bytes::Bytes;
use http::{Response, request::Parts};

use crate::error::TokenError;
use crate::protocol::bearer::{Anonymous, Guard};
use crate::protocol::response::render_error;
use crate::token::{AccessToken, InvalidToken, RefuseHandler};
use crate::{observe, scope::RequiredScope};

/// Why a handler gets no token: the response of the guard in front of it, in its realm and its error format. With the feature
/// `axum` it is the rejection of the extractors.
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use tower_oauth2_password::{AccessToken, BearerError};
///
/// let (unguarded, ()) = Request::new(()).into_parts();
/// let error: BearerError = AccessToken::from_parts(&unguarded).unwrap_err();
/// let response: Response<Bytes> = error.into();
/// assert_eq!(response.status(), 500, "no guard: the log says how to add one");
/// ```
#[derive(Debug, thiserror::Error)]
#[error("the guard refused the request: {}", .0.status())]
pub struct BearerError(Box<Response<Bytes>>);

impl From<BearerError> for Response<Bytes> {
    fn from(error: BearerError) -> Self {
        *error.0
    }
}

impl AccessToken {
    /// The token that the guard accepted. With the feature `axum`, `AccessToken` is an extractor, which does this.
    ///
    /// # Errors
    /// 401 if the guard [let the request pass](crate::BearerLayer::with_optional_token) without a token, 500 if there is no guard.
    ///
    /// ```
    /// use tower_oauth2_password::AccessToken;
    ///
    /// // A test of a handler needs no guard.
    /// let (parts, ()) = http::Request::builder().extension(AccessToken::new("alice")).body(())?.into_parts();
    /// assert_eq!(AccessToken::from_parts(&parts)?.subject(), "alice");
    /// # Ok::<(), tower_oauth2_password::BoxError>(())
    /// ```
    pub fn from_parts(parts: &Parts) -> Result<Self, BearerError> {
        let anonymous = parts.extensions.get::<Anonymous>();
        let refused = |Anonymous(guard): &Anonymous| BearerError(guard.refuse_for(parts, None));
        parts.extensions.get::<Self>().cloned().ok_or_else(|| anonymous.map_or_else(no_guard, refused))
    }

    /// The token, if there is one. With the feature `axum`, the extractor `Option<AccessToken>` does this.
    ///
    /// # Errors
    /// 500 if there is no guard. It is never taken for a request without a token.
    pub fn from_parts_if_any(parts: &Parts) -> Result<Option<Self>, BearerError> {
        let token = parts.extensions.get::<Self>().cloned();
        if token.is_some() || parts.extensions.get::<Anonymous>().is_some() { Ok(token) } else { Err(no_guard()) }
    }
}

fn no_guard() -> BearerError {
    observe::misconfigured(
        "a handler asks for an `AccessToken`, and no guard is in front of it: add `.route_layer(auth.guard())` to its route",
    );
    BearerError(Box::new(render_error(&TokenError::server_error())))
}

/// The scope that a handler requires, as a type for [`Scoped`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` names no scope",
    label = "implement `HandlerScope` for it: `const REQUIRED: RequiredScope = RequiredScope::all_of(\"items:read\");`"
)]
pub trait HandlerScope {
    /// The scope. If it is malformed, the handler does not compile.
    const REQUIRED: RequiredScope;
}

/// An access token with the scope that a handler requires. With the feature `axum` it is an extractor: put it before the body,
/// and a request without the scope gets a 403 before its body is read.
///
/// ```
/// use tower_oauth2_password::{AccessToken, HandlerScope, RequiredScope, Scoped};
///
/// struct ReadItems;
///
/// impl HandlerScope for ReadItems {
///     const REQUIRED: RequiredScope = RequiredScope::all_of("items:read");
/// }
///
/// async fn items(token: Scoped<ReadItems>) -> String {
///     format!("the items of {}", token.subject())
/// }
///
/// let (parts, ()) = http::Request::builder().extension(AccessToken::new("alice")).body(())?.into_parts();
/// assert!(Scoped::<ReadItems>::from_parts(&parts).is_err(), "alice may not read items");
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
pub struct Scoped<S> {
    token: AccessToken,
    scope: PhantomData<fn() -> S>,
}

impl<S: HandlerScope> Scoped<S> {
    /// The token of a request, if it has the scope.
    ///
    /// # Errors
    /// As [`AccessToken::from_parts`], and 403 `insufficient_scope`.
    pub fn from_parts(parts: &Parts) -> Result<Self, BearerError> {
        let (token, required) = (AccessToken::from_parts(parts)?, S::REQUIRED);
        if required.is_met_by(token.scope()) {
            return Ok(Self { token, scope: PhantomData });
        }
        let by_hand = Guard::new(Arc::new(|_: &str| Err(InvalidToken::Refused)));
        Err(BearerError(token.guard().unwrap_or(&by_hand).refuse_for(parts, Some(&required))))
    }
}

impl<S> Deref for Scoped<S> {
    type Target = AccessToken;

    fn deref(&self) -> &AccessToken {
        &self.token
    }
}

impl<S> fmt::Debug for Scoped<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scoped").field(&self.token).finish()
    }
}
