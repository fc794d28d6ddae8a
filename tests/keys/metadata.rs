//! The documents under `/.well-known/`, through axum and a socket.

use axum::Router;
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::Request;
use serde_json::{Value, json};
use tower_oauth2_password::{
    AuthorizationServer, Identity, Jwt, Login, RefreshTokens, StaticClients, TokenIssuer, store::MemoryRefreshStore,
};

use super::{ISSUER, jwt, keys};
use test_support::http::{Http, Reply, send};

fn server(issuer: &str) -> AuthorizationServer {
    let jwt = Jwt::new(keys()[0].1.clone(), issuer, "api");
    AuthorizationServer::new(|login: Login| async move { Ok(Identity::new(login.username).into()) }, jwt)
}

async fn ask(app: Router, http: Http, method: &str, path: &str) -> Reply {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let request = Request::builder().method(method).uri(path);
    let reply = send(address, http, request.body(Either::Left(Full::<Bytes>::default())).unwrap()).await;
    server.abort();
    reply
}

#[tokio::test]
async fn get_head_and_405_over_both_protocols() {
    let set = jwt(keys()[0].1.clone()).jwks();
    let app = Router::new().route_service("/.well-known/jwks.json", server(ISSUER).jwks());
    for http in [Http::One, Http::Two] {
        let get = ask(app.clone(), http, "GET", "/.well-known/jwks.json").await;
        assert_eq!((get.status, get.json()), (200, set.clone()));
        assert_eq!(get.header("content-type"), Some("application/json"));
        assert_eq!(get.header("cache-control"), Some("public, max-age=300"));
        let head = ask(app.clone(), http, "HEAD", "/.well-known/jwks.json").await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), Some(get.body.len().to_string().as_str()));
        let post = ask(app.clone(), http, "POST", "/.well-known/jwks.json").await;
        assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD")));
    }
}

#[tokio::test]
async fn metadata_has_the_members_that_rfc_8414_requires() {
    let issuer = "https://api.example/tenant";
    let metadata = server(issuer)
        .with_refresh_tokens(RefreshTokens::new(MemoryRefreshStore::new()))
        .with_clients(StaticClients::default())
        .with_introspection(StaticClients::default())
        .metadata()
        .unwrap()
        .with_jwks_uri("/.well-known/jwks.json")
        .unwrap()
        .with_scopes("items:read items:write")
        .unwrap();
    assert_eq!(metadata.path(), "/.well-known/oauth-authorization-server/tenant");
    let path = metadata.path();
    let app = Router::new().route_service(&path, metadata.into_service());
    let reply = ask(app, Http::One, "GET", &path).await;
    assert_eq!(reply.header("content-type"), Some("application/json"), "section 3.2");
    let document = reply.json();
    assert_eq!(document["issuer"], issuer, "section 3.3: identical to the one the URL was made of");
    let secrets = json!(["client_secret_basic", "client_secret_post"]);
    let any = json!(["none", "client_secret_basic", "client_secret_post"]);
    let expected = json!({
        "issuer": issuer,
        "token_endpoint": "https://api.example/token",
        "token_endpoint_auth_methods_supported": any,
        "revocation_endpoint": "https://api.example/revoke",
        "revocation_endpoint_auth_methods_supported": any,
        "introspection_endpoint": "https://api.example/introspect",
        "introspection_endpoint_auth_methods_supported": secrets,
        "jwks_uri": "https://api.example/.well-known/jwks.json",
        "grant_types_supported": ["password", "refresh_token"],
        "response_types_supported": [],
        "scopes_supported": ["items:read", "items:write"],
    });
    assert_eq!(document, expected);
}

#[test]
fn metadata_names_only_what_is_configured() {
    let document = server(ISSUER).metadata().unwrap().to_json();
    let expected = json!({
        "issuer": ISSUER,
        "token_endpoint": "https://api.example/token",
        "token_endpoint_auth_methods_supported": ["none"],
        "grant_types_supported": ["password"],
        "response_types_supported": [],
    });
    assert_eq!(document, expected);
    assert!(document.as_object().unwrap().values().all(|value| *value != Value::Null), "section 3.2");
}
