//! Whether a request came over TLS, as far as a layer can know.

use std::sync::Arc;

use http::{request::Parts, uri::Scheme};

use crate::{error::TokenError, secret::debug_only};

/// A request extension: this request came over TLS. The code that accepts connections inserts it.
///
/// ```
/// use tower_oauth2_password::OverTls;
///
/// let mut request = http::Request::post("/token").body(())?;
/// request.extensions_mut().insert(OverTls);
/// assert!(request.extensions().get::<OverTls>().is_some());
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverTls;

/// Rejects requests that are not known to have come over TLS (RFC 6749, section 3.2), before their body is read: 400
/// `invalid_request`.
///
/// ```
/// use tower::ServiceExt;
/// use tower_oauth2_password::{AuthorizationServer, Jwt, Key, Login, RequireHttps, Verdict};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
/// let auth = AuthorizationServer::new(|_: Login| async { Ok(Verdict::Denied) }, jwt)
///     .with_https_required(RequireHttps::new());
/// let response = auth.token_endpoint().into_service().oneshot(http::Request::post("/token").body(String::new())?).await?;
/// assert_eq!(response.status(), 400);
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct RequireHttps(Arc<dyn Fn(&Parts) -> bool + Send + Sync>);

impl RequireHttps {
    /// Trusts the scheme of the request's URI and the extension [`OverTls`], and no header. A client may send any scheme
    /// (HTTP/2, or HTTP/1 with an absolute URI): this catches a forgotten TLS, not a client that lies about its own
    /// connection. For that, use [`by`](Self::by) with `OverTls` alone.
    pub fn new() -> Self {
        Self::by(|request| {
            request.uri.scheme() == Some(&Scheme::HTTPS) || request.extensions.get::<OverTls>().is_some()
        })
    }

    /// Lets a function decide: behind your own proxy, for instance by the header that this proxy always sets.
    pub fn by(is_secure: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_secure))
    }

    pub(crate) fn check(&self, request: &Parts) -> Result<(), TokenError> {
        let refused = TokenError::invalid_request("This endpoint answers over HTTPS only");
        if (self.0)(request) { Ok(()) } else { Err(refused) }
    }
}

impl Default for RequireHttps {
    fn default() -> Self {
        Self::new()
    }
}

debug_only!(RequireHttps {});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_scheme_and_the_extension_are_trusted() {
        let head = |uri: &str, over_tls: bool| {
            let mut request = http::Request::post(uri).header("x-forwarded-proto", "https").body(()).unwrap();
            if over_tls {
                request.extensions_mut().insert(OverTls);
            }
            request.into_parts().0
        };
        let proxy = RequireHttps::by(|request| request.headers.contains_key("x-forwarded-proto"));
        assert_eq!(format!("{proxy:?}"), "RequireHttps { .. }");
        for (request, expected) in [
            (head("/token", false), false),
            (head("http://api.example/token", false), false),
            (head("https://api.example/token", false), true),
            (head("/token", true), true),
        ] {
            assert_eq!(RequireHttps::new().check(&request).is_ok(), expected, "{request:?}");
            assert_eq!(RequireHttps::default().check(&request).is_ok(), expected, "{request:?}");
            assert!(proxy.check(&request).is_ok());
        }
    }
}
