//! The metadata of the authorization server (RFC 8414).

use std::net::IpAddr;

use http::uri::{Authority, Uri};
use serde_json::{Map, Value, json};

use super::response::members;
use crate::error::InvalidConfig;
use crate::scope::{InvalidScope, Scope};

const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";
const SECRETS: &[&str] = &["client_secret_basic", "client_secret_post"];
const CLIENT_AUTHENTICATION: &[&str] = &["none", "client_secret_basic", "client_secret_post"];

/// Authorization server metadata (RFC 8414): where the endpoints are and what they support.
/// [`AuthorizationServer::metadata`](crate::AuthorizationServer::metadata) returns it.
///
/// ```
/// use serde_json::json;
/// use tower_oauth2_password::{AuthorizationServer, Jwt, Key, Login, Verdict};
///
/// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
/// let auth = AuthorizationServer::new(|_: Login| async { Ok(Verdict::Denied) }, jwt);
/// let metadata = auth.metadata()?.with_scopes("items:read items:write")?;
/// assert_eq!(metadata.path(), "/.well-known/oauth-authorization-server");
/// assert_eq!(metadata.to_json()["token_endpoint"], "https://api.example/token");
/// assert_eq!(metadata.to_json()["grant_types_supported"], json!(["password"]));
/// assert_eq!(metadata.to_json()["scopes_supported"], json!(["items:read", "items:write"]));
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct AuthorizationServerMetadata {
    issuer: String,
    base_url: String,
    endpoints: Endpoints,
    jwks_uri: Option<String>,
    scopes: Option<Scope>,
    others: Map<String, Value>,
}

/// What a server serves.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    pub(crate) token_path: String,
    pub(crate) revocation_path: Option<String>,
    pub(crate) introspection_path: Option<String>,
    pub(crate) grant_types: Vec<String>,
    pub(crate) clients: bool,
    /// Empty if the server gives none.
    pub(crate) acr_values: Vec<String>,
}

impl AuthorizationServerMetadata {
    pub(crate) fn new(issuer: &str, endpoints: Endpoints) -> Result<Self, InvalidConfig> {
        let (issuer, base_url) = (issuer.to_owned(), origin("issuer", issuer)?.to_owned());
        Ok(Self { issuer, base_url, endpoints, jwks_uri: None, scopes: None, others: Map::new() })
    }

    /// Sets the URL that the paths of the endpoints follow, for a server behind a prefix. The default is the issuer's scheme
    /// and host.
    ///
    /// # Errors
    /// When it is not an `https` URL without query and fragment. On a loopback address `http` is allowed, too.
    pub fn with_base_url(self, url: &str) -> Result<Self, InvalidConfig> {
        origin("URL", url)?;
        Ok(Self { base_url: url.trim_end_matches('/').to_owned(), ..self })
    }

    /// Sets where [`AuthorizationServer::jwks`](crate::AuthorizationServer::jwks) is served: a path below the base URL, or an
    /// absolute URL.
    ///
    /// # Errors
    /// When it is neither.
    pub fn with_jwks_uri(self, uri: &str) -> Result<Self, InvalidConfig> {
        let url = if uri.starts_with('/') { format!("{}{uri}", self.base_url) } else { uri.to_owned() };
        origin("URL", &url)?;
        Ok(Self { jwks_uri: Some(url), ..self })
    }

    /// Sets the scopes that clients may ask for, separated by spaces.
    ///
    /// # Errors
    /// When the scope is malformed (RFC 6749, section 3.3).
    pub fn with_scopes(self, scopes: &str) -> Result<Self, InvalidScope> {
        Ok(Self { scopes: Some(scopes.parse()?), ..self })
    }

    /// Adds any other member, such as `service_documentation`. The members of this crate cannot be replaced.
    pub fn with_member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.others.insert(name.to_owned(), value.into());
        self
    }

    /// The path at which clients look for the document. An issuer's own path follows the well-known one (RFC 8414,
    /// section 3): for `https://api.example/tenant` it is `/.well-known/oauth-authorization-server/tenant`.
    pub fn path(&self) -> String {
        let path =
            origin("issuer", &self.issuer).map_or("", |origin| self.issuer.get(origin.len()..).unwrap_or_default());
        format!("{WELL_KNOWN}{}", path.strip_suffix('/').unwrap_or(path))
    }

    /// The document.
    pub fn to_json(&self) -> Value {
        let endpoints = &self.endpoints;
        let url = |path: &String| format!("{}{path}", self.base_url);
        let authentication: &[&str] = if endpoints.clients { CLIENT_AUTHENTICATION } else { &["none"] };
        let mut document = self.others.clone();
        document.extend(members(json!({
            "issuer": self.issuer,
            "token_endpoint": url(&endpoints.token_path),
            "token_endpoint_auth_methods_supported": authentication,
            "grant_types_supported": endpoints.grant_types,
            // Required, and empty without an authorization endpoint.
            "response_types_supported": [],
            "jwks_uri": self.jwks_uri,
            "scopes_supported": self.scopes.as_ref().map(|scopes| scopes.iter().collect::<Vec<_>>()),
            "acr_values_supported": (!endpoints.acr_values.is_empty()).then_some(&endpoints.acr_values),
            "revocation_endpoint": endpoints.revocation_path.as_ref().map(url),
            "revocation_endpoint_auth_methods_supported": endpoints.revocation_path.as_ref().map(|_| authentication),
            "introspection_endpoint": endpoints.introspection_path.as_ref().map(url),
            "introspection_endpoint_auth_methods_supported": endpoints.introspection_path.as_ref().map(|_| SECRETS),
        })));
        Value::Object(document)
    }
}

/// Scheme and authority of a URL that RFC 8414 allows.
pub(super) fn origin<'a>(name: &str, url: &'a str) -> Result<&'a str, InvalidConfig> {
    let hint = |why| format!("the {name} {url:?} {why}, such as https://api.example");
    let require = |valid, why| InvalidConfig::unless(valid, hint(why));
    require(!url.contains(['?', '#']), "must have no query and no fragment")?;
    let uri: Uri = url.parse().unwrap_or_default();
    let (scheme, authority) = (uri.scheme_str().unwrap_or_default(), uri.authority().map_or("", Authority::as_str));
    require(!scheme.is_empty() && !authority.is_empty(), "is not an absolute URL")?;
    require(!authority.contains('@'), "must have no user name")?;
    let is_local = scheme == "http" && uri.host().is_some_and(is_loopback);
    require(scheme == "https" || is_local, "must be an https URL")?;
    // As written: clients compare issuers character by character.
    let end = url.find("://").map_or(0, |at| at + 3) + authority.len();
    Ok(url.get(..end).unwrap_or(url))
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(issuer: &str) -> Result<AuthorizationServerMetadata, InvalidConfig> {
        let endpoints = Endpoints {
            token_path: "/token".to_owned(),
            revocation_path: Some("/revoke".to_owned()),
            introspection_path: None,
            grant_types: Vec::new(),
            clients: true,
            acr_values: Vec::new(),
        };
        AuthorizationServerMetadata::new(issuer, endpoints)
    }

    #[test]
    fn issuers_are_those_that_rfc_8414_allows() {
        for (issuer, path) in [
            ("https://api.example", ""),
            ("https://api.example/", ""),
            ("https://api.example:8443/a/b", "/a/b"),
            ("https://api.example/a/", "/a"),
            ("HTTPS://API.example/a", "/a"),
            ("http://127.0.0.1:8000", ""),
            ("http://[::1]:8000", ""),
            ("http://localhost", ""),
        ] {
            let metadata = metadata(issuer).unwrap();
            assert_eq!(metadata.path(), format!("{WELL_KNOWN}{path}"), "{issuer}");
            assert_eq!(metadata.to_json()["issuer"], issuer);
        }
        for issuer in [
            "",
            "api.example",
            "/path",
            "http://api.example",
            "http://127.0.0.1.example",
            "ftp://127.0.0.1",
            "https://",
            "https://api.example?",
            "https://api.example/#a",
            "https://alice@api.example",
            "https://api example",
        ] {
            assert!(metadata(issuer).is_err(), "{issuer}");
        }
        assert!(metadata("api.example").unwrap_err().to_string().contains("is not an absolute URL"));
    }

    #[test]
    fn endpoints_follow_the_base_url() {
        let metadata = metadata("https://api.example/tenant").unwrap();
        let document = metadata.clone().with_jwks_uri("https://keys.example/jwks").unwrap().to_json();
        assert_eq!(document["token_endpoint"], "https://api.example/token");
        assert_eq!(document["jwks_uri"], "https://keys.example/jwks");
        for base in ["https://api.example/auth", "https://api.example/auth/"] {
            let metadata = metadata.clone().with_base_url(base).unwrap().with_jwks_uri("/jwks").unwrap();
            let document = metadata.to_json();
            assert_eq!(document["revocation_endpoint"], "https://api.example/auth/revoke");
            assert_eq!(document["jwks_uri"], "https://api.example/auth/jwks");
            assert_eq!(metadata.path(), format!("{WELL_KNOWN}/tenant"), "it follows the issuer");
        }
        for wrong in ["login", "", "http://keys.example/", "/a b", "/a?b"] {
            assert!(metadata.clone().with_jwks_uri(wrong).is_err(), "{wrong}");
            assert!(metadata.clone().with_base_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_added_member_does_not_replace_ours() {
        let metadata = metadata("https://api.example").unwrap();
        let document = metadata.with_member("issuer", "x").with_member("ui_locales_supported", json!(["en"])).to_json();
        assert_eq!(document["issuer"], "https://api.example");
        assert_eq!(document["ui_locales_supported"], json!(["en"]));
    }
}
