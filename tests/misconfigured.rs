//! Each useless setting is logged once in a process, with its fix. That is why this test has a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use http::{Request, request::Parts};
use serde_json::Value;
use test_support::log::Log;
use test_support::oneshot::{guarded, post_form};
use tower_oauth2_password::{
    AttemptLimits, AuthorizationServer, BoxError, Client, Identity, Jwt, Key, Login, RefreshTokens, StaticClients,
    Verdict,
    store::{MemoryAttemptStore, MemoryRefreshStore},
};

fn server() -> AuthorizationServer {
    let jwt = Jwt::new(Key::hs256([7; 32]).unwrap(), "https://api.example", "api");
    AuthorizationServer::new(async |login: Login| Ok::<Verdict, BoxError>(Identity::new(login.username).into()), jwt)
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
    let limited = server().with_attempt_limits(AttemptLimits::new(MemoryAttemptStore::new(), |_: &Parts| None));
    let tokens = || RefreshTokens::new(MemoryRefreshStore::new());
    let auth = server().with_refresh_tokens(tokens());
    let ignored = server().with_refresh_tokens(tokens().with_cookie([]).unwrap()).with_client_credentials_ignored();
    let page = server().with_clients(StaticClients::new([Client::public("spa").with_cookie()]));
    for _ in 0..2 {
        post(&limited, login).await;
        post(&ignored, login).await;
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
    ] {
        let lines = log.lines().filter(|line| line.contains(" WARN ") && line.contains(fix));
        assert_eq!(lines.count(), 1, "{fix}: {log}");
    }
}
