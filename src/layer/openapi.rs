//! The token endpoint as OpenAPI describes it.

use utoipa::openapi::security::{Flow, OAuth2, Password, Scopes, SecurityScheme};

use super::token::TokenEndpointLayer;

impl TokenEndpointLayer {
    /// The OpenAPI security scheme of this endpoint: the password flow with its path as `tokenUrl`, the same as
    /// `refreshUrl` where refresh tokens are handed out, and these scopes with their descriptions.
    ///
    /// The path is the one that this layer matches; behind a prefix (`nest`, a proxy) the document needs it prepended.
    ///
    /// ```
    /// use tower_oauth2_password::{Jwt, Key, Login, TokenEndpointLayer, Verdict};
    ///
    /// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
    /// let layer = TokenEndpointLayer::new(|_: Login| async { Ok(Verdict::Denied) }, jwt).with_path("/login")?;
    /// let scheme = serde_json::to_value(layer.security_scheme([("items:read", "Read items")]))?;
    /// assert_eq!(scheme["type"], "oauth2");
    /// assert_eq!(scheme["flows"]["password"]["tokenUrl"], "/login");
    /// assert_eq!(scheme["flows"]["password"]["scopes"]["items:read"], "Read items");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn security_scheme<'a>(&self, scopes: impl IntoIterator<Item = (&'a str, &'a str)>) -> SecurityScheme {
        let path = self.endpoint.common.path.as_str();
        let scopes = Scopes::from_iter(scopes);
        let flow = match self.endpoint.exchange.refresh {
            Some(_) => Password::with_refresh_url(path, scopes, path),
            None => Password::new(path, scopes),
        };
        SecurityScheme::OAuth2(OAuth2::new([Flow::Password(flow)]))
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        layer::token::TokenEndpointLayer,
        protocol::refresh_token::RefreshTokens,
        store::MemoryRefreshStore,
        token::{jwt::Jwt, key::Key},
        verifier::{Login, Verdict},
    };

    #[test]
    fn where_tokens_are_refreshed_is_told_where_they_are() {
        let jwt = Jwt::new(Key::hs256([7; 32]).unwrap(), "i", "a");
        let layer = TokenEndpointLayer::new(|_: Login| async { Ok(Verdict::Denied) }, jwt);
        let flow = |layer: &TokenEndpointLayer| {
            serde_json::to_value(layer.security_scheme([("a", "All")])).unwrap()["flows"]["password"].take()
        };
        assert_eq!(flow(&layer), serde_json::json!({ "tokenUrl": "/token", "scopes": { "a": "All" } }));
        let flow = flow(&layer.with_refresh_tokens(RefreshTokens::new(MemoryRefreshStore::new())));
        assert_eq!(flow["refreshUrl"], "/token");
    }
}
