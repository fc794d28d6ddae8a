//! The endpoints of a server as OpenAPI describes them.

use utoipa::openapi::{
    ContentBuilder, HttpMethod, ObjectBuilder, PathItem, Paths, PathsBuilder, Required, ResponseBuilder, Type,
    path::OperationBuilder,
    request_body::{RequestBody, RequestBodyBuilder},
    security::{Flow, OAuth2, Password, Scopes, SecurityScheme},
};

use super::authorization_server::AuthorizationServer;

impl AuthorizationServer {
    /// The OpenAPI security scheme of this server: the password flow with the path of the token endpoint, and these scopes
    /// with their descriptions.
    ///
    /// The paths are those that the layer matches. Behind a prefix (`nest`, a proxy), prepend it.
    ///
    /// ```
    /// use tower_oauth2_password::{AuthorizationServer, Jwt, Key, Login, Verdict};
    ///
    /// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
    /// let auth = AuthorizationServer::new(|_: Login| async { Ok(Verdict::Denied) }, jwt).with_token_path("/login")?;
    /// let scheme = serde_json::to_value(auth.security_scheme([("items:read", "Read items")]))?;
    /// assert_eq!(scheme["type"], "oauth2");
    /// assert_eq!(scheme["flows"]["password"]["tokenUrl"], "/login");
    /// assert_eq!(scheme["flows"]["password"]["scopes"]["items:read"], "Read items");
    /// # Ok::<(), tower_oauth2_password::BoxError>(())
    /// ```
    pub fn security_scheme<'a>(&self, scopes: impl IntoIterator<Item = (&'a str, &'a str)>) -> SecurityScheme {
        let (served, scopes) = (self.served(), Scopes::from_iter(scopes));
        let path = served.token_path;
        let flow = if served.grant_types.iter().any(|grant| grant == "refresh_token") {
            Password::with_refresh_url(path.clone(), scopes, path)
        } else {
            Password::new(path, scopes)
        };
        SecurityScheme::OAuth2(OAuth2::new([Flow::Password(flow)]))
    }

    /// The OpenAPI paths of the token endpoint and, if it is served, the revocation endpoint.
    ///
    /// ```
    /// use tower_oauth2_password::{AuthorizationServer, Jwt, Key, Login, Verdict, store::MemoryDenyList};
    ///
    /// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
    /// let auth = AuthorizationServer::new(|_: Login| async { Ok(Verdict::Denied) }, jwt)
    ///     .with_deny_list(MemoryDenyList::new());
    /// let paths = auth.openapi_paths();
    /// assert!(paths.paths["/token"].post.is_some() && paths.paths["/revoke"].post.is_some());
    /// # Ok::<(), tower_oauth2_password::KeyError>(())
    /// ```
    pub fn openapi_paths(&self) -> Paths {
        let (served, mut paths) = (self.served(), PathsBuilder::new());
        let request = form(&["grant_type", "username", "password"], &["refresh_token", "scope"]);
        let texts = ["access_token", "token_type", "refresh_token", "scope"];
        let tokens = json("The tokens", &texts, &["expires_in"]);
        paths = paths.path(served.token_path, operation("Issues an access token", request, tokens));
        if let Some(path) = served.revocation_path {
            let request = form(&["token"], &["token_type_hint"]);
            let revoked = json("The token is not valid any more", &[], &[]);
            paths = paths.path(path, operation("Revokes a token", request, revoked));
        }
        paths.build()
    }
}

/// All endpoints have the same errors.
fn operation(summary: &str, request: Option<RequestBody>, success: ResponseBuilder) -> PathItem {
    let errors =
        [("400", "A bad request"), ("401", "A wrong client"), ("429", "Too many attempts"), ("503", "Overloaded")];
    let operation = OperationBuilder::new().summary(Some(summary)).tag("oauth2").request_body(request);
    let operation = errors.into_iter().fold(operation.response("200", success), |operation, (status, description)| {
        operation.response(status, json(description, &["error", "error_description"], &[]))
    });
    PathItem::new(HttpMethod::Post, operation)
}

fn form(required: &[&str], optional: &[&str]) -> Option<RequestBody> {
    let schema = members(ObjectBuilder::new(), &[required, optional].concat(), &Type::String);
    let schema = required.iter().fold(schema, |schema, name| schema.required(*name));
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let body = RequestBodyBuilder::new().required(Some(Required::True));
    Some(body.content("application/x-www-form-urlencoded", content).build())
}

fn json(description: &str, texts: &[&str], numbers: &[&str]) -> ResponseBuilder {
    let schema = members(members(ObjectBuilder::new(), texts, &Type::String), numbers, &Type::Integer);
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new().description(description).content("application/json", content)
}

fn members(schema: ObjectBuilder, names: &[&str], of: &Type) -> ObjectBuilder {
    let member = || ObjectBuilder::new().schema_type(of.clone());
    names.iter().fold(schema, |schema, name| schema.property(*name, member()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json, to_value};

    use crate::{
        layer::authorization_server::AuthorizationServer,
        protocol::refresh_token::RefreshTokens,
        store::MemoryRefreshStore,
        token::{Jwt, Key},
        verifier::{Login, Verdict},
    };

    fn server() -> AuthorizationServer {
        let jwt = Jwt::new(Key::hs256([7; 32]).unwrap(), "i", "a");
        AuthorizationServer::new(|_: Login| async { Ok(Verdict::Denied) }, jwt)
    }

    #[test]
    fn the_refresh_url_is_there_if_there_are_refresh_tokens() {
        let flow = |auth: &AuthorizationServer| -> Value {
            to_value(auth.security_scheme([("a", "All")])).unwrap()["flows"]["password"].take()
        };
        assert_eq!(flow(&server()), json!({ "tokenUrl": "/token", "scopes": { "a": "All" } }));
        let flow = flow(&server().with_refresh_tokens(RefreshTokens::new(MemoryRefreshStore::new())));
        assert_eq!(flow["refreshUrl"], "/token");
    }

    #[test]
    fn paths_have_typed_bodies() {
        let paths = to_value(server().openapi_paths()).unwrap();
        let post = &paths["/token"]["post"];
        let form = &post["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"];
        assert_eq!(form["required"], json!(["grant_type", "username", "password"]));
        assert_eq!(form["properties"]["scope"]["type"], "string");
        let tokens = &post["responses"]["200"]["content"]["application/json"]["schema"];
        assert_eq!(tokens["properties"]["expires_in"]["type"], "integer");
        assert!(paths.get("/revoke").is_none(), "nothing can be revoked");
    }
}
