//! Each useless setting is logged once in a process, with its fix, and a right one is not. That is why this test has a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use http::{Request, request::Parts};
use serde_json::Value;
use test_support::log::Log;
use test_support::oneshot::{guarded, post_form};
use tower_oauth2_password::{
    AccessToken, AttemptLimits, AuthorizationServer, BoxError, Client, Identity, InvalidToken, IssuedToken, Jwt, Key,
    Login, RefreshTokens, StaticClients, TokenIssuer, TokenRequest, TokenValidator, Verdict,
    store::{MemoryAttemptStore, MemoryRefreshStore},
};

fn server() -> AuthorizationServer {
    let jwt = Jwt::new(Key::hs256([7; 32]).unwrap(), "https://api.example", "api");
    AuthorizationServer::new(async |login: Login| Ok::<Verdict, BoxError>(Identity::new(login.username).into()), jwt)
}

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// An issuer whose tokens name neither issuer nor audience.
struct Nameless;

impl TokenIssuer for Nameless {
    async fn issue(&self, _: TokenRequest) -> Result<IssuedToken, BoxError> {
        Ok(IssuedToken::new("opaque", Duration::from_secs(60)))
    }
}

impl TokenValidator for Nameless {
    fn validate(&self, _: &str) -> Result<AccessToken, InvalidToken> {
        Err(InvalidToken::Malformed)
    }
}

fn nameless() -> AuthorizationServer {
    AuthorizationServer::new(async |_: Login| Ok::<Verdict, BoxError>(Verdict::Denied), Nameless)
}

fn limits(address: Option<IpAddr>) -> AttemptLimits {
    AttemptLimits::new(MemoryAttemptStore::new(), move |_: &Parts| address)
}

async fn post(auth: &AuthorizationServer, body: &str) -> Value {
    post_form(auth.token_endpoint().into_service(), Request::post("/token"), body).await.2
}

#[tokio::test]
async fn a_useless_setting_is_logged_once_with_its_fix() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    let login = "grant_type=password&username=alice&password=right";
    let tokens = || RefreshTokens::new(MemoryRefreshStore::new());
    let with_cookie = || tokens().with_cookie([]).unwrap();
    let page = || StaticClients::new([Client::public("spa").with_cookie()]);
    for right in [
        nameless().with_server_id("one"),
        server().with_refresh_tokens(tokens()).with_client_credentials_ignored(),
        server().with_refresh_tokens(with_cookie()).with_clients(page()),
    ] {
        post(&right.with_attempt_limits(limits(Some(CLIENT))), login).await;
    }
    let auth = server().with_attempt_limits(limits(Some(CLIENT)));
    let token = post(&auth, login).await["access_token"].as_str().unwrap().to_owned();
    assert_eq!(guarded(auth.guard(), &token).await, 200, "of no session");
    assert!(!log.text().contains(" WARN "), "{}", log.text());
    let limited = server().with_attempt_limits(limits(None));
    let auth = server().with_refresh_tokens(tokens());
    let ignored = server().with_refresh_tokens(with_cookie()).with_client_credentials_ignored();
    let nameless = nameless().with_attempt_limits(limits(Some(CLIENT)));
    let page = server().with_clients(page());
    for _ in 0..2 {
        post(&limited, login).await;
        post(&ignored, login).await;
        post(&nameless, login).await;
        assert_eq!(post(&page, &format!("{login}&client_id=spa")).await["error"], "server_error");
        let body = post(&auth, login).await;
        assert_eq!(guarded(auth.guard(), body["access_token"].as_str().unwrap()).await, 200);
        let token = body["refresh_token"].as_str().unwrap();
        assert_eq!(
            post(&auth, &format!("grant_type=refresh_token&refresh_token={token}")).await["error"],
            "invalid_grant"
        );
    }
    let log = log.text();
    for fix in [
        "with_attempt_limits",
        "Verifier::verify_subject",
        "with_deny_list",
        "into_make_service_with_connect_info",
        "with_client_credentials_ignored",
        "RefreshTokens::with_cookie",
        "AuthorizationServer::with_server_id",
    ] {
        let lines = log.lines().filter(|line| line.contains(" WARN ") && line.contains(fix));
        assert_eq!(lines.count(), 1, "{fix}: {log}");
    }
}
