//! Which pages may use a client that keeps its session in a cookie: the check of tower-http's `csrf`, and stricter.
//!
//! 1. `Sec-Fetch-Site: same-origin` passes.
//! 2. `same-site` and `cross-site` pass from an origin of the list. `none` and anything else is refused: it is no page's `fetch`.
//! 3. Browsers older than 2023 do not send it. Then `Origin` must be on the list, or the `https` origin of the request's host.
//! 4. `Origin: null`, one of these headers twice, and neither of them are refused.
//!
//! A proxy that rewrites `Host` makes the last resort of 3 fail, so list the server's own origin for such browsers.

use std::sync::Arc;

use http::header::{HOST, HeaderName, HeaderValue, ORIGIN};
use http::{StatusCode, request::Parts};

use super::{form::single, metadata::origin};
use crate::error::{InvalidConfig, TokenError};

static SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The origins that are allowed beside the server's own.
#[derive(Clone, Debug)]
pub(crate) struct Origins(Arc<[String]>);

impl Origins {
    pub(crate) fn new<'a>(origins: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidConfig> {
        let as_sent = |url: &str| {
            let is_whole = origin("origin of a page", url)? == url;
            let default = if url.starts_with("https") { ":443" } else { ":80" };
            let is_written = !url.contains(|c: char| c == '*' || c.is_ascii_uppercase()) && !url.ends_with(default);
            let hint = "write it as browsers send it: one host in lower case, no default port and no path";
            InvalidConfig::unless(is_whole && is_written, format!("no page has the origin {url:?}: {hint}"))
        };
        origins.into_iter().map(|url| as_sent(url).map(|()| url.to_owned())).collect::<Result<_, _>>().map(Self)
    }

    /// Refuses a request that no allowed page sent.
    pub(crate) fn check(&self, parts: &Parts) -> Result<(), TokenError> {
        let refused = |reason| {
            let error = TokenError::custom("access_denied", "The request does not come from an allowed page");
            error.with_status(StatusCode::FORBIDDEN).because(reason)
        };
        let field = |name| {
            let field = single(&parts.headers, name, refused("a header is given more than once"))?;
            Ok::<_, TokenError>(field.map(HeaderValue::as_bytes))
        };
        let (site, origin, host) = (field(&SITE)?, field(&ORIGIN)?, field(&HOST)?);
        let is_listed = origin.is_some_and(|origin| self.0.iter().any(|own| own.as_bytes() == origin));
        let host = parts.uri.authority().map(|authority| authority.as_str().as_bytes()).or(host);
        let own = origin.and_then(|origin| origin.strip_prefix(b"https://"));
        let is_own = || host.is_some_and(|host| own == Some(host));
        match (site, origin) {
            (_, Some(b"null")) => Err(refused("its Origin is null")),
            (Some(b"same-origin"), _) => Ok(()),
            (Some(b"same-site" | b"cross-site"), _) if is_listed => Ok(()),
            (Some(_), _) => Err(refused("its Sec-Fetch-Site is another than same-origin, and no listed Origin")),
            (None, None) => Err(refused("it has neither Sec-Fetch-Site nor Origin")),
            (None, Some(_)) if is_listed || is_own() => Ok(()),
            (None, Some(_)) => Err(refused("its Origin is neither listed nor that of the host")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_send_it() {
        assert!(Origins::new(["https://app.example", "https://app.example:8443", "http://localhost:5173"]).is_ok());
        for wrong in [
            "",
            "*",
            "null",
            "app.example",
            "https://app.example/",
            "https://app.example/path",
            "https://app.example?x",
            "https://App.example",
            "https://app.example:443",
            "http://localhost:80",
            "https://user@app.example",
            "https://*.example",
            "https://äpp.example",
            "http://app.example",
            "wss://app.example",
        ] {
            let error = Origins::new(["https://app.example", wrong]).unwrap_err().to_string();
            assert!(error.contains(&format!("{wrong:?}")), "{error}");
        }
    }

    #[test]
    fn a_request_passes_from_the_own_origin_and_from_listed_ones() {
        let origins = Origins::new(["https://app.example"]).unwrap();
        let (own, listed, other) = ("https://api.example", "https://app.example", "https://evil.example");
        for (site, origin, passes) in [
            (Some("same-origin"), Some(own), true),
            (Some("same-origin"), None, true),
            (Some("same-origin"), Some("null"), false),
            (Some("same-site"), Some(listed), true),
            (Some("cross-site"), Some(listed), true),
            (Some("same-site"), Some(other), false),
            (Some("same-site"), Some(own), false),
            (Some("same-site"), None, false),
            (Some("cross-site"), Some("null"), false),
            (Some("none"), Some(listed), false),
            (Some("none"), None, false),
            (Some("Same-Origin"), Some(own), false),
            (Some(""), Some(own), false),
            (None, Some(listed), true),
            (None, Some(own), true),
            (None, Some("http://api.example"), false),
            (None, Some("https://api.example:8443"), false),
            (None, Some("https://api.example.evil.example"), false),
            (None, Some("https://evil.api.example"), false),
            (None, Some(other), false),
            (None, Some("null"), false),
            (None, Some(""), false),
            (None, None, false),
        ] {
            for uri in ["/token", "https://api.example/token"] {
                let mut request = http::Request::post(uri);
                if uri.starts_with('/') {
                    request = request.header(HOST, "api.example");
                }
                for (name, value) in [(&SITE, site), (&ORIGIN, origin)] {
                    request = value.into_iter().fold(request, |request, value| request.header(name, value));
                }
                let (parts, ()) = request.body(()).unwrap().into_parts();
                let status = origins.check(&parts).map_err(|error| error.status().as_u16());
                assert_eq!(status, if passes { Ok(()) } else { Err(403) }, "{site:?} {origin:?} {uri}");
            }
        }
    }

    #[test]
    fn a_header_twice_or_no_host_is_refused() {
        let origins = Origins::new([]).unwrap();
        let refused =
            |request: http::request::Builder| origins.check(&request.body(()).unwrap().into_parts().0).is_err();
        let post = || http::Request::post("/token");
        assert!(refused(post().header(&SITE, "same-origin").header(&SITE, "same-origin")));
        assert!(refused(post().header(ORIGIN, "https://a.example").header(ORIGIN, "null").header(HOST, "a.example")));
        assert!(refused(
            post().header(ORIGIN, "https://a.example").header(HOST, "a.example").header(HOST, "b.example")
        ));
        assert!(refused(post().header(ORIGIN, "https://a.example")));
        assert!(refused(post().header(ORIGIN, "http://a.example")));
        assert!(refused(post().header(ORIGIN, "https://").header(HOST, "a.example")));
    }
}
