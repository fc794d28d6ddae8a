use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::{
    error::BoxError,
    layer::endpoint::EndpointLayer,
    protocol::client::{Client, StaticClients},
    store::{Denial, MemoryDenyList, MemoryRefreshStore, StoreFuture, TokenRef},
    token::{AccessToken, InvalidToken, IssuedToken, Jwt, Key, TokenRequest},
    verifier::{Identity, Login, Verdict},
};

fn jwt() -> Jwt {
    Jwt::new(Key::hs256([7; 32]).unwrap(), "https://api.example", "api")
}

fn server() -> AuthorizationServer {
    AuthorizationServer::new(|login: Login| async move { Ok(Identity::new(login.username).into()) }, jwt())
}

fn refresh_tokens() -> RefreshTokens {
    RefreshTokens::new(MemoryRefreshStore::new())
}

async fn post(layer: EndpointLayer, uri: &str, body: &str) -> (u16, HeaderMap, String) {
    let request = Request::post(uri).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    send(layer, request.body(Full::from(body.to_owned())).unwrap()).await
}

async fn send(layer: EndpointLayer, request: Request<Full<Bytes>>) -> (u16, HeaderMap, String) {
    let (parts, body) = layer.into_service().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status.as_u16(), parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

const LOGIN: &str = "grant_type=password&username=alice&password=p";

#[tokio::test]
async fn a_token_is_rendered_as_configured_and_never_cached() {
    let auth = server().with_token_response(|token, _| {
        assert!(token.access_token().expose().split('.').count() == 3 && token.refresh_token().is_none());
        Response::new(Bytes::from(format!("{} s, {:?}", token.expires_in().as_secs(), token.scope().as_str())))
    });
    let (_, headers, body) = post(auth.token_endpoint(), "/token", LOGIN).await;
    assert_eq!(body, "900 s, \"\"");
    assert_eq!(
        (&headers[header::CACHE_CONTROL], &headers[header::PRAGMA]),
        (&"no-store".parse().unwrap(), &"no-cache".parse().unwrap())
    );
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413() {
    assert_eq!(post(server().with_body_limit(45).token_endpoint(), "/token", LOGIN).await.0, 200);
    assert_eq!(post(server().with_body_limit(44).token_endpoint(), "/token", LOGIN).await.0, 413);
}

#[tokio::test]
async fn a_login_without_a_token_is_a_503_that_does_not_name_the_cause() {
    struct Away;
    impl TokenIssuer for Away {
        async fn issue(&self, _: TokenRequest) -> Result<IssuedToken, BoxError> {
            Err("kms.internal refused".into())
        }
    }
    let verifier = |login: Login| async move { Ok(Identity::new(login.username).into()) };
    let (status, headers, body) = post(EndpointLayer::new(verifier, Away), "/token", LOGIN).await;
    assert!(status == 503 && body.contains("temporarily_unavailable") && !body.contains("kms"), "{body}");
    assert_eq!(headers[header::RETRY_AFTER], "1");
}

#[tokio::test]
async fn https_is_required_if_configured() {
    let strict = server().with_https_required(RequireHttps::new());
    let (_, _, body) = post(strict.token_endpoint(), "/token", LOGIN).await;
    assert!(body.contains("HTTPS only"), "{body}");
    assert_eq!(post(strict.token_endpoint(), "https://api.example/token", LOGIN).await.0, 200);
}

#[tokio::test]
async fn endpoints_and_guard_share_realm_and_error_format() {
    let auth = server().with_realm("members").unwrap().with_error_response(|error| {
        let mut response = Response::new(Bytes::from(format!("own format: {}", error.code())));
        *response.status_mut() = error.status();
        response
    });
    let (status, headers, body) = post(auth.token_endpoint(), "/token", &format!("{LOGIN}&client_id=x")).await;
    assert_eq!((status, body.as_str()), (401, "own format: invalid_client"));
    assert_eq!(headers[header::WWW_AUTHENTICATE], "Basic realm=\"members\"");
    let inner = tower::service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new(Full::<Bytes>::default())));
    let refused = tower::Layer::layer(&auth.guard(), inner).oneshot(Request::new(())).await.unwrap();
    assert_eq!(refused.headers()[header::WWW_AUTHENTICATE], "Bearer realm=\"members\"");
    assert_eq!(refused.into_body().collect().await.unwrap().to_bytes(), "own format: ");
    assert!(server().with_realm("a\"b").is_err());
}

#[tokio::test]
async fn a_revoked_token_is_rejected_by_the_guard_and_not_active() {
    let servers = StaticClients::new([Client::confidential("items", "secret")]);
    let auth = server().with_deny_list(MemoryDenyList::new()).with_introspection(servers);
    let (_, _, body) = post(auth.endpoints(), "/token", LOGIN).await;
    let token = serde_json::from_str::<Value>(&body).unwrap()["access_token"].as_str().unwrap().to_owned();
    let introspect = format!("token={token}&client_id=items&client_secret=secret");
    let guarded = async || {
        let inner = tower::service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new(String::new())));
        let request = Request::get("/").header(header::AUTHORIZATION, format!("Bearer {token}")).body(()).unwrap();
        tower::Layer::layer(&auth.guard(), inner).oneshot(request).await.unwrap().status().as_u16()
    };
    assert_eq!(guarded().await, 200);
    assert!(post(auth.endpoints(), "/introspect", &introspect).await.2.contains("\"active\":true"));
    assert_eq!(post(auth.endpoints(), "/revoke", &format!("token={token}")).await.0, 200);
    assert_eq!(guarded().await, 401);
    assert_eq!(post(auth.endpoints(), "/introspect", &introspect).await.2, "{\"active\":false}");
}

#[tokio::test]
async fn introspection_knows_its_own_clients_only() {
    let apps = StaticClients::new([Client::confidential("app", "secret")]);
    let servers = StaticClients::new([Client::confidential("items", "secret"), Client::public("open")]);
    let auth = server().with_clients(apps).with_introspection(servers).with_client_credentials_ignored();
    for (client, status) in [("items", 200), ("app", 401), ("open", 401)] {
        let body = format!("token=x&client_id={client}&client_secret=secret");
        assert_eq!(post(auth.introspection_endpoint(), "/introspect", &body).await.0, status, "{client}");
    }
    assert_eq!(post(auth.introspection_endpoint(), "/introspect", "token=x").await.0, 401);
}

#[test]
fn endpoints_and_metadata_name_what_is_configured() {
    let paths = |auth: &AuthorizationServer| {
        let document = auth.metadata().unwrap().to_json();
        let names = ["token_endpoint", "revocation_endpoint", "introspection_endpoint"];
        (
            format!("{:?}", auth.endpoints()),
            names.map(|name| document.get(name).cloned()),
            document["grant_types_supported"].clone(),
        )
    };
    let (layer, urls, grants) = paths(&server());
    assert!(layer.contains("/token") && !layer.contains("/revoke") && !layer.contains("/introspect"), "{layer}");
    assert_eq!(urls, [Some(json!("https://api.example/token")), None, None]);
    assert_eq!(grants, json!(["password"]));
    let all = server()
        .with_refresh_tokens(refresh_tokens())
        .with_introspection(StaticClients::default())
        .with_token_path("/a")
        .unwrap()
        .with_revocation_path("/b")
        .unwrap()
        .with_introspection_path("/c")
        .unwrap();
    let (layer, urls, grants) = paths(&all);
    assert!(["/a", "/b", "/c"].iter().all(|path| layer.contains(path)), "{layer}");
    assert_eq!(urls, ["a", "b", "c"].map(|path| Some(json!(format!("https://api.example/{path}")))));
    assert_eq!(grants, json!(["password", "refresh_token"]));
}

#[test]
fn metadata_lists_the_acr_values_that_the_server_gives() {
    let supported =
        |auth: &AuthorizationServer| auth.metadata().unwrap().to_json().get("acr_values_supported").cloned();
    assert_eq!(supported(&server()), None);
    let auth = server().with_acr("urn:pwd", ["pwd"]).unwrap().with_acr("urn:mfa", ["pwd", "otp"]).unwrap();
    assert_eq!(supported(&auth), Some(json!(["urn:pwd", "urn:mfa"])));
}

#[test]
fn an_acr_is_one_value_with_factors_or_an_error_that_names_it() {
    for acr in ["", "a b", " a", "a\"b", "a\\b", "a\nb", "é"] {
        let error = server().with_acr(acr, ["pwd"]).err().unwrap().to_string();
        assert!(error.contains(&format!("{acr:?}")), "{error}");
    }
    assert!(server().with_acr("urn:mfa", [""; 0]).is_err(), "no factors are no second factor");
}

#[test]
fn metadata_without_an_issuer_is_an_error_with_the_fix() {
    struct Opaque;
    impl TokenIssuer for Opaque {
        async fn issue(&self, _: TokenRequest) -> Result<IssuedToken, BoxError> {
            Err("unused".into())
        }
    }
    impl TokenValidator for Opaque {
        fn validate(&self, _: &str) -> Result<AccessToken, InvalidToken> {
            Err(InvalidToken::Malformed)
        }
    }
    let auth = AuthorizationServer::new(|_: Login| async { Ok(Verdict::Denied) }, Opaque);
    assert!(auth.metadata().unwrap_err().to_string().contains("TokenIssuer::issuer"));
    assert_eq!(TokenIssuer::jwks(&Opaque), json!({ "keys": [] }));
}

#[test]
fn a_path_that_no_request_has_is_an_error_that_names_it() {
    for path in ["", "token", "/a b", "/a?b", "/a?", "/a#b", "*"] {
        let error = server().with_token_path(path).unwrap_err().to_string();
        assert!(error.contains(&format!("{path:?}")), "{error}");
    }
    for path in ["/", "/login", "/a/b%20c"] {
        assert!(format!("{:?}", server().with_token_path(path).unwrap().token_endpoint()).contains(path));
    }
}

fn with_clock() -> (MemoryDenyList, Arc<AtomicU64>) {
    let now = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&now);
    (MemoryDenyList::new().with_clock(move || Duration::from_secs(clock.load(Ordering::Relaxed))), now)
}

/// Every text is a valid token that never expires.
struct Endless;

impl TokenIssuer for Endless {
    async fn issue(&self, request: TokenRequest) -> Result<IssuedToken, BoxError> {
        Ok(IssuedToken::new(request.subject, Duration::from_secs(1)))
    }
}

impl TokenValidator for Endless {
    fn validate(&self, token: &str) -> Result<AccessToken, InvalidToken> {
        Ok(AccessToken::new("alice").with_id(token))
    }
}

fn endless() -> AuthorizationServer {
    AuthorizationServer::new(|_: Login| async { Ok(Verdict::Denied) }, Endless)
}

#[tokio::test]
async fn a_token_stays_denied_for_its_lifetime_and_five_minutes_of_leeway() {
    let (list, now) = with_clock();
    let issued = TokenIssuer::issue(&jwt(), TokenRequest::new("alice")).await.unwrap();
    let token = issued.token.expose();
    let id = jwt().validate(token).unwrap().id().unwrap().to_owned();
    let auth = server().with_deny_list(list.clone());
    assert_eq!(post(auth.revocation_endpoint(), "/revoke", &format!("token={token}")).await.0, 200);
    for (second, denied) in [(1_190, true), (1_201, false)] {
        now.store(second, Ordering::Relaxed);
        assert_eq!(denies(&list, &id), denied, "{second}");
    }
}

fn denies(list: &MemoryDenyList, id: &str) -> bool {
    let mut token = TokenRef::new("another subject");
    token.id = Some(id);
    list.is_denied(token)
}

#[tokio::test]
async fn a_token_that_never_expires_stays_denied() {
    let (list, now) = with_clock();
    let auth = endless().with_deny_list(list.clone());
    assert_eq!(post(auth.revocation_endpoint(), "/revoke", "token=opaque").await.0, 200);
    now.store(90 * 365 * 86_400, Ordering::Relaxed);
    assert!(denies(&list, "opaque"));
}

#[tokio::test]
async fn a_revocation_that_no_store_recorded_is_a_503() {
    struct Away;
    impl DenyList for Away {
        fn deny<'a>(&'a self, _: Denial<'a>, _: std::time::Instant) -> StoreFuture<'a, bool> {
            Box::pin(async { Err("away".into()) })
        }

        fn is_denied(&self, _: TokenRef<'_>) -> bool {
            false
        }
    }
    let auth = endless().with_deny_list(Away);
    assert_eq!(post(auth.revocation_endpoint(), "/revoke", "token=opaque").await.0, 503);
}

#[tokio::test]
async fn an_access_token_in_the_form_of_a_refresh_token_is_revoked_all_the_same() {
    let opaque = "0123456789abcdef".repeat(4);
    let list = MemoryDenyList::new();
    let auth = endless().with_refresh_tokens(refresh_tokens()).with_deny_list(list.clone());
    assert_eq!(post(auth.revocation_endpoint(), "/revoke", &format!("token={opaque}")).await.0, 200);
    assert!(denies(&list, &opaque), "RFC 7009, section 2.1: the search goes on");
}

#[tokio::test]
async fn a_valid_access_token_that_cannot_be_revoked_is_a_400() {
    let issued = TokenIssuer::issue(&jwt(), TokenRequest::new("alice")).await.unwrap();
    let auth = server().with_refresh_tokens(refresh_tokens());
    for (token, status) in [(issued.token.expose(), 400), ("eyJh.eyJp.c2ln", 200), ("unknown", 200)] {
        let (answered, _, body) = post(auth.revocation_endpoint(), "/revoke", &format!("token={token}")).await;
        assert_eq!(answered, status, "{token}");
        assert_eq!(status == 400, body.starts_with(r#"{"error":"unsupported_token_type""#), "{body}");
    }
}

#[tokio::test]
async fn jwks_follow_the_issuer() {
    use std::sync::RwLock;
    struct Rotating(RwLock<u8>);
    impl TokenIssuer for Rotating {
        async fn issue(&self, _: TokenRequest) -> Result<IssuedToken, BoxError> {
            Err("unused".into())
        }

        fn jwks(&self) -> Value {
            json!({ "keys": [{ "kid": *self.0.read().unwrap() }] })
        }
    }
    impl TokenValidator for Rotating {
        fn validate(&self, _: &str) -> Result<AccessToken, InvalidToken> {
            Err(InvalidToken::Malformed)
        }
    }
    let keys = Arc::new(Rotating(RwLock::new(1)));
    let document = AuthorizationServer::new(|_: Login| async { Ok(Verdict::Denied) }, Arc::clone(&keys)).jwks();
    for kid in [1, 2] {
        *keys.0.write().unwrap() = kid;
        let body = document.clone().oneshot(Request::new(())).await.unwrap().into_body();
        let set: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
        assert_eq!(set["keys"][0]["kid"], kid);
    }
}
