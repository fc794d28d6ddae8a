//! Whether a request came over TLS, as far as a layer can know.

use std::{fmt, net::IpAddr, sync::Arc};

use http::{request::Parts, uri::Scheme};

use crate::error::TokenError;

/// To be put into a request's extensions by whoever accepted it over TLS.
///
/// ```
/// use http::Request;
/// use tower_oauth2_password::OverTls;
///
/// let mut request = Request::post("/token").body(())?;
/// request.extensions_mut().insert(OverTls);
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverTls;

type Rule = dyn Fn(&Parts) -> bool + Send + Sync;

/// Refuses requests that are not known to have come over TLS (RFC 6749, section 3.2), before their body is read.
///
/// ```
/// use tower_oauth2_password::{Jwt, Key, Login, RequireHttps, TokenEndpointLayer, Verdict};
///
/// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
/// let layer = TokenEndpointLayer::new(|_: Login| async { Ok(Verdict::Denied) }, jwt)
///     .with_https_required(RequireHttps::new());
/// # Ok::<(), tower_oauth2_password::KeyError>(())
/// ```
#[derive(Clone)]
pub struct RequireHttps {
    is_secure: Arc<Rule>,
}

impl RequireHttps {
    /// Trusts the scheme of the request's URI and the extension [`OverTls`], and no header. The scheme is the client's
    /// word (HTTP/2, or HTTP/1 with an absolute URI): this catches who forgot TLS, not who lies about their own
    /// connection. For that, take [`by`](Self::by) with `OverTls` alone.
    #[must_use]
    pub fn new() -> Self {
        Self::by(|request| {
            request.uri.scheme() == Some(&Scheme::HTTPS) || request.extensions.get::<OverTls>().is_some()
        })
    }

    /// Lets a function decide: behind a proxy of your own, for instance by the header that this proxy always sets.
    #[must_use]
    pub fn by(is_secure: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        Self { is_secure: Arc::new(is_secure) }
    }

    /// Also lets requests of this machine itself through. `peer_address` must say who connected: where a proxy of this
    /// machine forwards to the server, everyone comes from loopback.
    #[must_use]
    pub fn with_loopback_allowed(
        self,
        peer_address: impl Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        Self::by(move |request| {
            (self.is_secure)(request)
                || peer_address(request).is_some_and(|address| address.to_canonical().is_loopback())
        })
    }

    pub(crate) fn check(&self, request: &Parts) -> Result<(), TokenError> {
        if (self.is_secure)(request) {
            Ok(())
        } else {
            Err(TokenError::invalid_request("This endpoint answers over HTTPS only"))
        }
    }
}

impl Default for RequireHttps {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RequireHttps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireHttps").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_to_be_secure() {
        let head = |uri: &str, peer: Option<&str>, over_tls: bool| {
            let mut request = http::Request::post(uri).header("x-forwarded-proto", "https").body(()).unwrap();
            if over_tls {
                request.extensions_mut().insert(OverTls);
            }
            if let Some(peer) = peer {
                request.extensions_mut().insert(peer.parse::<IpAddr>().unwrap());
            }
            request.into_parts().0
        };
        let strict = RequireHttps::new();
        assert_eq!(format!("{strict:?}"), "RequireHttps { .. }");
        let local = RequireHttps::new().with_loopback_allowed(|request| request.extensions.get().copied());
        for (request, by_strict, by_local) in [
            (head("/token", None, false), false, false),
            (head("http://api.example/token", None, false), false, false),
            (head("https://api.example/token", None, false), true, true),
            (head("/token", None, true), true, true),
            (head("/token", Some("192.0.2.1"), false), false, false),
            (head("/token", Some("127.0.0.1"), false), false, true),
            (head("/token", Some("::ffff:127.0.0.1"), false), false, true),
            (head("/token", Some("::1"), false), false, true),
        ] {
            assert_eq!(strict.check(&request).is_ok(), by_strict, "{request:?}");
            assert_eq!(RequireHttps::default().check(&request).is_ok(), by_strict, "{request:?}");
            assert_eq!(local.check(&request).is_ok(), by_local, "{request:?}");
        }
    }
}
