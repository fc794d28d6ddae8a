//! Usernames that are typed in several ways.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
};

use http::Request;
use test_support::oneshot::post_form;
use tower_oauth2_password::{
    AttemptLimits, AuthorizationServer, Identity, Jwt, Key, Login, Usernames, Verdict, store::MemoryAttemptStore,
};

type Asked = Arc<Mutex<Vec<String>>>;

/// A server where everybody has the password `right`, and the names that its verifier was asked about.
fn server(usernames: Option<Usernames>) -> (AuthorizationServer, Asked) {
    let asked = Asked::default();
    let names = Arc::clone(&asked);
    let verifier = move |login: Login| {
        names.lock().unwrap().push(login.username.clone());
        async move {
            let right = login.password.expose() == "right";
            Ok(if right { Identity::new(login.username).into() } else { Verdict::Denied })
        }
    };
    let jwt = Jwt::new(Key::hs256([7; 32]).unwrap(), "https://api.example", "api");
    let limits = AttemptLimits::new(MemoryAttemptStore::new(), |_: &http::request::Parts| {
        Some(IpAddr::from(Ipv4Addr::LOCALHOST))
    });
    let auth = AuthorizationServer::new(verifier, jwt).with_attempt_limits(limits);
    (usernames.into_iter().fold(auth, AuthorizationServer::with_usernames), asked)
}

async fn log_in(auth: &AuthorizationServer, name: &str, password: &str) -> u16 {
    let form = format!("grant_type=password&username={name}&password={password}");
    post_form(auth.token_endpoint().into_service(), Request::post("/token"), &form).await.0
}

fn lowercase() -> Usernames {
    Usernames::new(|typed| {
        assert!(typed != "panic", "a rule that panics");
        typed.bytes().all(|byte| byte.is_ascii_alphabetic()).then(|| typed.to_ascii_lowercase())
    })
}

#[tokio::test]
async fn the_verifier_gets_the_canonical_name() {
    for (usernames, name) in [(None, "Alice"), (Some(lowercase()), "alice")] {
        let (auth, asked) = server(usernames);
        assert_eq!(log_in(&auth, "Alice", "right").await, 200);
        assert_eq!(*asked.lock().unwrap(), [name]);
    }
}

#[tokio::test]
async fn spellings_of_one_name_share_their_limit() {
    let (auth, _) = server(Some(lowercase()));
    for name in ["alice", "ALICE", "Alice", "aLice", "alIce"] {
        assert_eq!(log_in(&auth, name, "wrong").await, 400);
        auth.reserve_attempt(name, &Request::new(()).into_parts().0).await.unwrap().failed().await.unwrap();
    }
    assert_eq!(log_in(&auth, "AlicE", "right").await, 429);
    assert_eq!(log_in(&auth, "bob", "right").await, 200);
}

/// The verifier is asked, so that such a login takes as long as any other.
#[tokio::test]
async fn a_name_without_a_canonical_form_belongs_to_nobody() {
    let (auth, asked) = server(Some(lowercase()));
    for name in ["al.ice", "panic"] {
        assert_eq!(log_in(&auth, name, "right").await, 400, "{name}");
    }
    assert_eq!(*asked.lock().unwrap(), ["", ""]);
}
