//! What a server tells of itself (RFC 8414).

use std::net::IpAddr;

use crate::layer::document::JsonDocument;
use http::Uri;
use serde_json::{Map, Value, json};

use crate::{
    error::InvalidConfig,
    scope::{InvalidScope, Scope},
};

const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";
const SECRETS: &[&str] = &["client_secret_basic", "client_secret_post"];

/// Authorization server metadata (RFC 8414): where the endpoints are and what they do, for clients and for servers that
/// check tokens.
///
/// Endpoints are given as a path beginning with `/` on the issuer's host, or as an absolute URL.
///
/// ```
/// use tower_oauth2_password::AuthorizationServerMetadata;
///
/// let metadata = AuthorizationServerMetadata::new("https://api.example")?
///     .with_refresh_tokens()
///     .with_jwks_uri("/.well-known/jwks.json")?
///     .with_scopes("items:read items:write")?;
/// assert_eq!(metadata.path(), "/.well-known/oauth-authorization-server");
/// assert_eq!(metadata.to_json()["token_endpoint"], "https://api.example/token");
/// assert_eq!(metadata.to_json()["grant_types_supported"], serde_json::json!(["password", "refresh_token"]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// With axum: `.route_service(&metadata.path(), metadata.into_service())`.
#[derive(Clone, Debug)]
pub struct AuthorizationServerMetadata {
    issuer: String,
    origin: String,
    token_endpoint: String,
    revocation_endpoint: Option<String>,
    introspection_endpoint: Option<String>,
    jwks_uri: Option<String>,
    refresh_tokens: bool,
    clients: bool,
    scopes: Option<Scope>,
    others: Map<String, Value>,
}

impl AuthorizationServerMetadata {
    /// A server that serves the password grant at `/token`, without clients. The issuer is what tokens carry as `iss`,
    /// letter by letter.
    ///
    /// # Errors
    /// When the issuer is not an `https` URL without query and fragment (RFC 8414, section 2). On a loopback address
    /// `http` will do, for trials.
    ///
    /// ```
    /// use tower_oauth2_password::AuthorizationServerMetadata;
    ///
    /// assert!(AuthorizationServerMetadata::new("http://127.0.0.1:8000").is_ok());
    /// let error = AuthorizationServerMetadata::new("http://api.example").unwrap_err();
    /// assert!(error.to_string().contains("https"));
    /// ```
    pub fn new(issuer: &str) -> Result<Self, InvalidConfig> {
        let origin = origin(issuer)
            .map_err(|why| InvalidConfig::new(format!("the issuer {issuer:?} {why}, such as https://api.example")))?;
        Ok(Self {
            issuer: issuer.to_owned(),
            token_endpoint: format!("{origin}/token"),
            origin,
            revocation_endpoint: None,
            introspection_endpoint: None,
            jwks_uri: None,
            refresh_tokens: false,
            clients: false,
            scopes: None,
            others: Map::new(),
        })
    }

    fn resolve(&self, endpoint: &str) -> Result<String, InvalidConfig> {
        let url = if endpoint.starts_with('/') { format!("{}{endpoint}", self.origin) } else { endpoint.to_owned() };
        match origin(&url) {
            Ok(_) => Ok(url),
            Err(why) => Err(InvalidConfig::new(format!(
                "the endpoint {endpoint:?} {why}; or give its path on the issuer's host, beginning with '/'"
            ))),
        }
    }

    /// The token endpoint: `/token` unless set.
    ///
    /// # Errors
    /// When it is neither a path nor an `https` URL.
    pub fn with_token_endpoint(mut self, endpoint: &str) -> Result<Self, InvalidConfig> {
        self.token_endpoint = self.resolve(endpoint)?;
        Ok(self)
    }

    /// The revocation endpoint, as [`RevocationLayer`](crate::RevocationLayer) serves it.
    ///
    /// # Errors
    /// When it is neither a path nor an `https` URL.
    pub fn with_revocation_endpoint(mut self, endpoint: &str) -> Result<Self, InvalidConfig> {
        self.revocation_endpoint = Some(self.resolve(endpoint)?);
        Ok(self)
    }

    /// The introspection endpoint, as [`IntrospectionLayer`](crate::IntrospectionLayer) serves it.
    ///
    /// # Errors
    /// When it is neither a path nor an `https` URL.
    pub fn with_introspection_endpoint(mut self, endpoint: &str) -> Result<Self, InvalidConfig> {
        self.introspection_endpoint = Some(self.resolve(endpoint)?);
        Ok(self)
    }

    /// Where [`Jwt::jwks`](crate::Jwt::jwks) is served.
    ///
    /// # Errors
    /// When it is neither a path nor an `https` URL.
    pub fn with_jwks_uri(mut self, uri: &str) -> Result<Self, InvalidConfig> {
        self.jwks_uri = Some(self.resolve(uri)?);
        Ok(self)
    }

    /// The token endpoint also serves `refresh_token`.
    #[must_use]
    pub fn with_refresh_tokens(mut self) -> Self {
        self.refresh_tokens = true;
        self
    }

    /// Clients are registered and may authenticate by their secrets.
    #[must_use]
    pub fn with_clients(mut self) -> Self {
        self.clients = true;
        self
    }

    /// The scopes that may be asked for, separated by spaces.
    ///
    /// # Errors
    /// When it is not a scope (RFC 6749, section 3.3).
    pub fn with_scopes(mut self, scopes: &str) -> Result<Self, InvalidScope> {
        self.scopes = Some(scopes.parse()?);
        Ok(self)
    }

    /// Any other member, such as `service_documentation`. Those that this builder sets itself cannot be replaced.
    #[must_use]
    pub fn with_member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.others.insert(name.to_owned(), value.into());
        self
    }

    /// The path at which clients look for the document: an issuer's own path comes after the well-known one (RFC 8414,
    /// section 3).
    ///
    /// ```
    /// use tower_oauth2_password::AuthorizationServerMetadata;
    ///
    /// let metadata = AuthorizationServerMetadata::new("https://api.example/tenant")?;
    /// assert_eq!(metadata.path(), "/.well-known/oauth-authorization-server/tenant");
    /// # Ok::<(), tower_oauth2_password::InvalidConfig>(())
    /// ```
    #[must_use]
    pub fn path(&self) -> String {
        let path = self.issuer.strip_prefix(&self.origin).unwrap_or_default();
        format!("{WELL_KNOWN}{}", path.strip_suffix('/').unwrap_or(path))
    }

    /// The document.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let any_client: Vec<&str> =
            ["none"].into_iter().chain(SECRETS.iter().copied().filter(|_| self.clients)).collect();
        let mut document = self.others.clone();
        let mut set = |name: &str, value: Value| document.insert(name.to_owned(), value);
        set("issuer", json!(self.issuer));
        set("token_endpoint", json!(self.token_endpoint));
        set("token_endpoint_auth_methods_supported", json!(any_client));
        let grants: &[&str] = if self.refresh_tokens { &["password", "refresh_token"] } else { &["password"] };
        set("grant_types_supported", json!(grants));
        // Required, though without an authorization endpoint there is none.
        set("response_types_supported", json!([]));
        if let Some(uri) = &self.jwks_uri {
            set("jwks_uri", json!(uri));
        }
        if let Some(scopes) = &self.scopes {
            set("scopes_supported", json!(scopes.iter().collect::<Vec<_>>()));
        }
        if let Some(endpoint) = &self.revocation_endpoint {
            set("revocation_endpoint", json!(endpoint));
            set("revocation_endpoint_auth_methods_supported", json!(any_client));
        }
        if let Some(endpoint) = &self.introspection_endpoint {
            set("introspection_endpoint", json!(endpoint));
            set("introspection_endpoint_auth_methods_supported", json!(SECRETS));
        }
        Value::Object(document)
    }

    /// The document as a service, for `Router::route_service`.
    #[must_use]
    pub fn into_service(self) -> JsonDocument {
        JsonDocument::new(&self.to_json())
    }
}

/// Scheme and authority of a URL that RFC 8414 allows, or what is wrong with it.
fn origin(url: &str) -> Result<String, &'static str> {
    if url.contains(['?', '#']) {
        return Err("must have no query and no fragment");
    }
    let uri: Uri = url.parse().map_err(|_| "is not an absolute URL")?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("is not an absolute URL");
    };
    if authority.as_str().contains('@') {
        return Err("must hold no user name");
    }
    if scheme != "https" && !(scheme == "http" && is_loopback(authority.host())) {
        return Err("must be an https URL");
    }
    // As written: an issuer is compared letter by letter, and so must what is built from it be.
    let end = url.find("://").map_or(0, |at| at + 3) + authority.as_str().len();
    url.get(..end).map(str::to_owned).ok_or("is not an absolute URL")
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_that_rfc_8414_allows() {
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
            let metadata = AuthorizationServerMetadata::new(issuer).unwrap();
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
            assert!(AuthorizationServerMetadata::new(issuer).is_err(), "{issuer}");
        }
    }

    #[test]
    fn endpoints_are_paths_on_the_issuers_host_or_urls() {
        let metadata = || AuthorizationServerMetadata::new("https://api.example/tenant").unwrap();
        let set = metadata().with_token_endpoint("/login").unwrap().to_json();
        assert_eq!(set["token_endpoint"], "https://api.example/login");
        let set = metadata().with_jwks_uri("https://keys.example/jwks").unwrap().to_json();
        assert_eq!(set["jwks_uri"], "https://keys.example/jwks");
        for wrong in ["login", "", "http://keys.example/", "/a b", "/a?b"] {
            assert!(metadata().with_revocation_endpoint(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_member_of_ones_own_replaces_none_of_ours() {
        let metadata = AuthorizationServerMetadata::new("https://api.example").unwrap();
        let set = metadata.with_member("issuer", "x").with_member("ui_locales_supported", json!(["en"])).to_json();
        assert_eq!(set["issuer"], "https://api.example");
        assert_eq!(set["ui_locales_supported"], json!(["en"]));
    }
}
