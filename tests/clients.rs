//! What a client may do, and what a login may be told beside a username and a password.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderName, Request, header::USER_AGENT, request::Parts};
use serde_json::{Value, json};
use test_support::oneshot::post_form;
use tower_oauth2_password::{
    AuthorizationServer, BoxError, Client, Identity, Jwt, Key, Login, RefreshTokens, StaticClients, TokenResponse,
    TokenValidator, Verdict, Verifier, store::MemoryRefreshStore,
};

/// Remembers the last login. The parameter `remember` decides how long it lasts.
#[derive(Clone, Default)]
struct Users(Arc<Mutex<Option<Login>>>);

impl Users {
    fn identity(subject: &str) -> Identity {
        Identity::new(subject).with_scope("read write".parse().unwrap()).with_claim("tenant", "acme")
    }
}

impl Verifier for Users {
    async fn verify(&self, login: Login) -> Result<Verdict, BoxError> {
        *self.0.lock().unwrap() = Some(login.clone());
        let identity = Self::identity(&login.username);
        Ok(match login.parameter("remember").map(|value| value.expose()) {
            Some("month") => identity.with_session_ttl(Duration::from_secs(30 * 86_400)).into(),
            Some("never") => identity.without_refresh_token().into(),
            _ => identity.into(),
        })
    }

    async fn verify_subject(&self, subject: &str) -> Result<Verdict, BoxError> {
        Ok(Self::identity(subject).into())
    }
}

fn jwt() -> Jwt {
    Jwt::new(Key::hs256([7; 32]).unwrap(), "https://api.example", "api")
}

fn server(users: &Users) -> AuthorizationServer {
    let clients = StaticClients::new([
        Client::confidential("web", "old").with_secret("new"),
        Client::confidential("twice", "same").with_secret("same"),
        Client::public("cli").with_grants(["password"]),
        Client::public("reader").with_scope("read other".parse().unwrap()),
        Client::public("kiosk")
            .with_session_ttl(Duration::from_secs(600))
            .with_access_token_ttl(Duration::from_secs(60)),
        Client::public("long").with_access_token_ttl(Duration::from_secs(86_400)),
        Client::public("robot").with_grants(["refresh_token"]),
    ]);
    let refresh_tokens = RefreshTokens::new(MemoryRefreshStore::new());
    AuthorizationServer::new(users.clone(), jwt()).with_clients(clients).with_refresh_tokens(refresh_tokens)
}

async fn send(auth: &AuthorizationServer, path: &str, headers: &[(&str, &[u8])], body: &str) -> (u16, Value) {
    let add = |request: http::request::Builder, (name, value): &(&str, &[u8])| request.header(*name, *value);
    let request = headers.iter().fold(Request::post(path), add);
    let (status, _, body) = post_form(auth.endpoints().into_service(), request, body).await;
    (status, body)
}

async fn log_in(auth: &AuthorizationServer, more: &str) -> (u16, Value) {
    send(auth, "/token", &[], &format!("grant_type=password&username=alice&password=p{more}")).await
}

async fn refresh(auth: &AuthorizationServer, token: &Value, more: &str) -> (u16, Value) {
    let token = token["refresh_token"].as_str().unwrap();
    send(auth, "/token", &[], &format!("grant_type=refresh_token&refresh_token={token}{more}")).await
}

#[tokio::test]
async fn a_client_may_have_two_secrets_while_they_are_rotated() {
    let auth = server(&Users::default());
    for (secret, status) in [("old", 200), ("new", 200), ("", 401), ("ol", 401), ("oldnew", 401)] {
        let (got, _) = log_in(&auth, &format!("&client_id=web&client_secret={secret}")).await;
        assert_eq!(got, status, "{secret}");
    }
    assert_eq!(log_in(&auth, "&client_id=twice&client_secret=same").await.0, 200, "both may be the same");
}

#[tokio::test]
async fn a_client_uses_only_the_grants_that_it_may() {
    let auth = server(&Users::default());
    let (status, login) = log_in(&auth, "&client_id=cli").await;
    assert_eq!((status, login.get("refresh_token")), (200, None), "it could not use one");
    let (status, refused) = log_in(&auth, "&client_id=robot").await;
    assert_eq!((status, &refused["error"]), (400, &json!("unauthorized_client")));
    let (_, login) = log_in(&auth, "").await;
    let (status, refused) = refresh(&auth, &login, "&client_id=cli").await;
    assert_eq!((status, &refused["error"]), (400, &json!("unauthorized_client")));
    assert_eq!(refresh(&auth, &login, "").await.0, 200, "the token was not used up");
}

#[tokio::test]
async fn a_client_caps_the_scope_of_its_users() {
    let auth = server(&Users::default());
    let (_, login) = log_in(&auth, "&client_id=reader").await;
    assert_eq!(login["scope"], "read");
    assert_eq!(refresh(&auth, &login, "&client_id=reader").await.1["scope"], "read");
    let (status, refused) = log_in(&auth, "&client_id=reader&scope=write").await;
    assert_eq!((status, &refused["error"]), (400, &json!("invalid_scope")));
    assert_eq!(log_in(&auth, "").await.1["scope"], "read write");
}

#[tokio::test]
async fn a_client_and_a_login_have_lifetimes_of_their_own() {
    let lifetimes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&lifetimes);
    let auth = server(&Users::default()).with_login_parameter("remember").unwrap().with_token_response(
        move |response: &TokenResponse, request: &Parts| {
            assert_eq!((response.subject(), &response.claims()["tenant"]), ("alice", &json!("acme")));
            assert_eq!(request.uri.path(), "/token");
            let refresh = response.refresh_token_expires_in().map(|ttl| ttl.as_secs());
            seen.lock().unwrap().push((response.expires_in().as_secs(), refresh));
            let refresh_token = response.refresh_token().map(|token| token.expose());
            let access_token = response.access_token().expose();
            let body = json!({ "refresh_token": refresh_token, "access_token": access_token });
            http::Response::new(body.to_string().into())
        },
    );
    for (more, expected) in [
        ("", (900, Some(86_400))),
        ("&client_id=kiosk", (60, Some(600))),
        ("&client_id=long", (900, Some(86_400))),
        ("&remember=month", (900, Some(30 * 86_400))),
        ("&remember=month&client_id=kiosk", (60, Some(30 * 86_400))),
        ("&remember=never", (900, None)),
    ] {
        let (_, login) = log_in(&auth, more).await;
        assert_eq!(lifetimes.lock().unwrap().pop(), Some(expected), "{more}");
        let token = jwt().validate(login["access_token"].as_str().unwrap()).unwrap();
        let left = token.expires_at().unwrap().duration_since(token.issued_at().unwrap()).unwrap();
        assert_eq!(left.as_secs(), expected.0, "{more}");
    }
    let now = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&now);
    let store = MemoryRefreshStore::new().with_clock(move || Duration::from_secs(clock.load(Ordering::Relaxed)));
    let auth = auth.with_refresh_tokens(RefreshTokens::new(store));
    let (_, login) = log_in(&auth, "&client_id=kiosk").await;
    now.store(200, Ordering::Relaxed);
    assert_eq!(refresh(&auth, &login, "&client_id=kiosk").await.0, 200);
    assert_eq!(lifetimes.lock().unwrap().pop(), Some((60, Some(400))), "a refresh extends nothing");
}

#[tokio::test]
async fn a_required_client_may_not_be_left_out() {
    let auth = server(&Users::default()).with_client_required();
    let (status, refused) = log_in(&auth, "").await;
    assert_eq!((status, &refused["error"]), (401, &json!("invalid_client")));
    assert_eq!(log_in(&auth, "&client_id=cli").await.0, 200);
    assert_eq!(send(&auth, "/revoke", &[], "token=x").await.0, 401);
}

#[tokio::test]
async fn declared_parameters_and_headers_reach_the_verifier() {
    let users = Users::default();
    let device = HeaderName::from_static("x-device");
    let auth = server(&users).with_login_parameter("tenant").unwrap().with_login_header(device.clone()).unwrap();
    let ask = async |headers: &[(&str, &[u8])], more: &str| {
        let form = format!("grant_type=password&username=alice&password=p{more}");
        let status = send(&auth, "/token", headers, &form).await.0;
        (status, users.0.lock().unwrap().take())
    };
    let (status, login) =
        ask(&[("x-device", "téléphone".as_bytes()), ("user-agent", b"curl")], "&tenant=ac%20me&more=x").await;
    let login = login.unwrap();
    assert_eq!((status, login.parameter("tenant").unwrap().expose()), (200, "ac me"));
    assert_eq!((login.header(&device), login.header(&USER_AGENT)), (Some("téléphone"), None), "only what is declared");
    assert!(login.parameter("more").is_none());
    assert!(!format!("{login:?}").contains("ac me"), "{login:?}");
    let login = ask(&[], "&tenant=").await.1.unwrap();
    assert!(login.parameter("tenant").is_none() && login.header(&device).is_none(), "an empty one counts as omitted");
    let twice: &[(&str, &[u8])] = &[("x-device", b"a"), ("x-device", b"a")];
    for (headers, more) in [
        (&[][..], "&tenant=a&tenant=a"),
        (&[], "&tenant=%FF"),
        (&[], "&tenant=a%0A"),
        (twice, ""),
        (&[("x-device", b"\xFF")], ""),
    ] {
        let (status, login) = ask(headers, more).await;
        assert_eq!((status, login.is_none()), (400, true), "{headers:?} {more}");
    }
    let in_query = send(&auth, "/token?tenant=a", &[], "grant_type=password&username=alice&password=p").await;
    assert_eq!(in_query.0, 400);
}

#[tokio::test]
async fn ignored_credentials_may_be_any_unless_a_client_is_required() {
    let auth = server(&Users::default()).with_client_credentials_ignored();
    for more in ["", "&client_id=web&client_secret=wrong", "&client_id=nobody", "&client_secret=x"] {
        let (status, login) = log_in(&auth, more).await;
        assert_eq!(status, 200, "{more}");
        assert_eq!(refresh(&auth, &login, "").await.0, 200, "the token is bound to no client");
    }
    let required = auth.with_client_required();
    for (more, status) in [("", 401), ("&client_id=nobody", 401), ("&client_id=web&client_secret=new", 200)] {
        assert_eq!(log_in(&required, more).await.0, status, "{more}");
    }
}

#[test]
fn what_is_not_the_apps_own_cannot_be_declared() {
    let auth = || server(&Users::default());
    for name in ["password", "client_id", "scope", "", "naïve", "a\n"] {
        let error = auth().with_login_parameter(name).unwrap_err().to_string();
        assert!(error.contains("cannot be your own"), "{error}");
    }
    for name in ["authorization", "cookie"] {
        let error = auth().with_login_header(HeaderName::from_static(name)).unwrap_err().to_string();
        assert!(error.contains("`cookie`"), "{error}");
    }
}
