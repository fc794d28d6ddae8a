//! What other servers learn about tokens.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, header, request::Parts};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn};
use tower_oauth2_password::{
    AccessToken, AttemptLimits, AuthorizationServer, BoxError, Client, EndpointLayer, Identity, InvalidToken,
    IssuedToken, Jwt, Key, Login, RefreshTokens, StaticClients, TokenIssuer, TokenRequest, TokenValidator,
    store::{MemoryAttemptStore, MemoryDenyList, MemoryRefreshStore},
};

use super::{ISSUER, issue, jwt};

const SERVER: &str = "client_id=items&client_secret=items-secret";

fn signer() -> Jwt {
    jwt(Key::hs256([7; 32]).unwrap())
}

fn server(tokens: impl TokenIssuer + TokenValidator) -> AuthorizationServer {
    let clients = StaticClients::new([Client::confidential("items", "items-secret"), Client::public("cli")]);
    AuthorizationServer::new(|login: Login| async move { Ok(Identity::new(login.username).into()) }, tokens)
        .with_introspection(clients)
}

fn layer(tokens: impl TokenIssuer + TokenValidator) -> EndpointLayer {
    server(tokens).introspection_endpoint()
}

fn request(uri: &str) -> http::request::Builder {
    Request::post(uri).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
}

async fn send(layer: &EndpointLayer, request: Request<Full<Bytes>>) -> (u16, HeaderMap, Value) {
    let (parts, body) = layer.clone().into_service().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status.as_u16(), parts.headers, serde_json::from_slice(&body).unwrap_or_default())
}

async fn ask(layer: &EndpointLayer, body: String) -> (u16, HeaderMap, Value) {
    let request = request("/introspect").body(Full::from(body)).unwrap();
    send(layer, request).await
}

#[tokio::test]
async fn a_valid_access_token_is_described() {
    let token = issue(&signer()).await;
    let (status, headers, answer) = ask(&layer(signer()), format!("token={token}&{SERVER}")).await;
    assert_eq!((status, headers["content-type"].as_bytes()), (200, b"application/json".as_slice()));
    assert_eq!(
        (headers["cache-control"].as_bytes(), headers["pragma"].as_bytes()),
        (&b"no-store"[..], &b"no-cache"[..])
    );
    let (exp, iat) = (answer["exp"].as_u64().unwrap(), answer["iat"].as_u64().unwrap());
    assert_eq!(exp - iat, 900);
    let id = signer().validate(&token).unwrap().id().unwrap().to_owned();
    let expected = json!({
        "active": true, "token_type": "bearer", "scope": "items:read", "sub": "alice", "client_id": "demo-web",
        "jti": id, "exp": exp, "iat": iat, "iss": ISSUER, "aud": "api",
    });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn everything_else_is_inactive_without_a_reason() {
    let auth = server(signer())
        .with_deny_list(MemoryDenyList::new())
        .with_refresh_tokens(RefreshTokens::new(MemoryRefreshStore::new()));
    let layer = auth.introspection_endpoint();
    let revoked = issue(&signer()).await;
    assert_eq!(ask(&layer, format!("token={revoked}&{SERVER}")).await.2["active"], true);
    let revocation = request("/revoke").body(Full::from(format!("token={revoked}"))).unwrap();
    assert_eq!(send(&auth.revocation_endpoint(), revocation).await.0, 200);

    let login = request("/token").body(Full::from("grant_type=password&username=alice&password=p")).unwrap();
    let (_, _, tokens) = send(&auth.token_endpoint(), login).await;
    let refresh = tokens["refresh_token"].as_str().unwrap().to_owned();

    let good = issue(&signer()).await;
    for (what, token) in [
        ("revoked", revoked),
        ("refresh", refresh),
        ("expired", issue(&signer().with_clock(|| 1_000)).await),
        ("forged", issue(&jwt(Key::hs256([8; 32]).unwrap())).await),
        ("cut", good[..good.len() - 1].to_owned()),
        ("unknown", "x".to_owned()),
        ("long", "x".repeat(10_000)),
    ] {
        for hint in ["", "&token_type_hint=access_token", "&token_type_hint=refresh_token", "&token_type_hint=x"] {
            let (status, headers, answer) = ask(&layer, format!("token={token}&{SERVER}{hint}")).await;
            assert_eq!((status, answer), (200, json!({ "active": false })), "{what}{hint}");
            assert_eq!(headers["cache-control"], "no-store", "{what}");
        }
    }
}

/// Counts the tokens that it validates.
struct Counted(Arc<AtomicUsize>);

impl TokenIssuer for Counted {
    async fn issue(&self, _: TokenRequest) -> Result<IssuedToken, BoxError> {
        Err("unused".into())
    }
}

impl TokenValidator for Counted {
    fn validate(&self, _: &str) -> Result<AccessToken, InvalidToken> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(AccessToken::new("alice"))
    }
}

#[tokio::test]
async fn unknown_clients_are_rejected_before_the_token_is_read() {
    let looked = Arc::new(AtomicUsize::new(0));
    let layer = layer(Counted(Arc::clone(&looked)));
    for caller in [
        "",
        "&client_id=items",
        "&client_id=cli",
        "&client_id=cli&client_secret=",
        "&client_id=items&client_secret=wrong",
        "&client_id=nobody&client_secret=items-secret",
        "&client_secret=items-secret",
    ] {
        for token in ["token=x", "token=", "other=x"] {
            let (status, headers, answer) = ask(&layer, format!("{token}{caller}")).await;
            assert_eq!((status, &answer["error"]), (401, &json!("invalid_client")), "{token}{caller}");
            assert!(headers["www-authenticate"].to_str().unwrap().starts_with("Basic realm="), "{caller}");
            assert_eq!(headers["cache-control"], "no-store");
        }
    }
    let as_bearer = request("/introspect").header(header::AUTHORIZATION, "Bearer items-secret");
    assert_eq!(send(&layer, as_bearer.body(Full::from("token=x")).unwrap()).await.0, 401);
    let empty = request("/introspect").header(header::AUTHORIZATION, "Basic Og==");
    assert_eq!(send(&layer, empty.body(Full::from("token=x")).unwrap()).await.0, 401);
    assert_eq!(looked.load(Ordering::SeqCst), 0);

    let basic = format!("Basic {}", STANDARD.encode("items:items-secret"));
    let right = request("/introspect").header(header::AUTHORIZATION, basic);
    let (status, _, answer) = send(&layer, right.body(Full::from("token=x")).unwrap()).await;
    assert_eq!((status, &answer["active"], looked.load(Ordering::SeqCst)), (200, &json!(true), 1));
}

#[tokio::test]
async fn malformed_requests() {
    let layer = layer(signer());
    for (uri, body) in [
        ("/introspect", SERVER.to_owned()),
        ("/introspect", format!("token=&{SERVER}")),
        ("/introspect", format!("token=x&token=x&{SERVER}")),
        ("/introspect?token=x", format!("token=x&{SERVER}")),
        ("/introspect?client_secret=x", format!("token=x&{SERVER}")),
    ] {
        let (status, _, answer) = send(&layer, request(uri).body(Full::from(body.clone())).unwrap()).await;
        assert_eq!((status, &answer["error"]), (400, &json!("invalid_request")), "{uri} {body}");
    }
    let get = Request::get("/introspect?token=x").body(Full::default()).unwrap();
    let (status, headers, _) = send(&layer, get).await;
    assert_eq!((status, headers["allow"].as_bytes()), (405, b"POST".as_slice()));
}

#[tokio::test]
async fn guesses_at_a_client_secret_are_limited() {
    let limits = AttemptLimits::new(MemoryAttemptStore::new(), |_: &Parts| None);
    let layer = server(signer()).with_attempt_limits(limits).introspection_endpoint();
    for _ in 0..100 {
        assert_eq!(ask(&layer, "token=x&client_id=items&client_secret=wrong".to_owned()).await.0, 401);
    }
    assert_eq!(ask(&layer, format!("token=x&{SERVER}")).await.0, 429, "the right secret is blocked, too");
}

#[tokio::test]
async fn as_a_layer_at_its_own_path() {
    let inner = service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, std::convert::Infallible>(Response::builder().status(418).body(Full::<Bytes>::default()).unwrap())
    });
    let auth = server(signer()).with_introspection_path("/oauth/introspect").unwrap().with_error_response(|error| {
        Response::builder().status(error.status()).body(Bytes::from_static(b"no")).unwrap()
    });
    let layer = auth.introspection_endpoint();
    for (method, path, status) in [
        ("POST", "/oauth/introspect", 401),
        ("GET", "/oauth/introspect", 418),
        ("POST", "/introspect", 418),
        ("POST", "/oauth/introspect/", 418),
    ] {
        let request = request(path).method(method).body(Full::from("token=x")).unwrap();
        let response = layer.layer(inner).oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{method} {path}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, if status == 401 { "no" } else { "" });
    }
    assert!(server(signer()).with_introspection_path("introspect").is_err());
}
