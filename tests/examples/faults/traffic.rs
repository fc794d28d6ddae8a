//! The ordinary traffic of a server.

use std::sync::atomic::{AtomicUsize, Ordering};

use test_support::{
    client::{attempt, get, log_in, post, refresh, request},
    example::Example,
    http::Reply,
};

/// Login, guarded routes, echo, refresh, a wrong password, revocation: each must work as promised.
pub async fn one_of_each(server: &Example) {
    let login = log_in(server).await;
    let (access, first) = (login.text("access_token"), login.text("refresh_token"));
    assert_eq!(get(server, "/users/me", &access).await.text("username"), "alice");
    assert_eq!(get(server, "/items", &access).await.status, 200);
    assert_eq!(get(server, "/items", "").await.status, 400);
    let echo = request(server, "POST", "/echo", &[], &"all day ".repeat(1_000)).await;
    assert_eq!((echo.status, echo.body.len()), (200, 8_000));

    let second = refresh(server, &first).await.text("refresh_token");
    assert_eq!(attempt(server, &nobody(), "guess").await.status, 400);
    // A user who revokes a hundred times loses all access tokens, those of others who log in as this user included.
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    if !CALLS.fetch_add(1, Ordering::Relaxed).is_multiple_of(10) {
        return;
    }
    assert_eq!(post(server, "/revoke", &format!("token={second}")).await.status, 200);
    assert_eq!(refresh(server, &second).await.text("error"), "invalid_grant");
    assert_eq!(post(server, "/revoke", &format!("token={access}")).await.status, 200);
    assert_eq!(get(server, "/users/me", &access).await.status, 401);
}

/// A login of a user who revokes and replays nothing. Alice may have used up her share of the deny list, and then each
/// further revocation ends all her access tokens.
pub async fn log_in_quietly(server: &Example) -> Reply {
    let reply = attempt(server, "bob", "builder456").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply
}

/// A name without counted attempts.
pub fn nobody() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("nobody-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Sends wrong passwords until the name is blocked.
pub async fn hold(server: &Example, name: &str) {
    for _ in 0..10 {
        assert_eq!(attempt(server, name, "guess").await.status, 400, "{name}");
    }
    assert_held(server, name).await;
}

pub async fn assert_held(server: &Example, name: &str) {
    let reply = attempt(server, name, "guess").await;
    assert_eq!(reply.status, 429, "{name}: {reply:?}");
    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{name} is held for {wait} s");
}
