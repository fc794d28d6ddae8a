//! No secret that went in comes out in a log, at the most talkative level.

use http_body_util::{Either, Full};
use hyper::Request;

use crate::{
    client::{SECRET, attempt, get, log_in, post, refresh, request},
    support::{
        example::Example,
        http::{Http, send},
    },
};

#[tokio::test]
async fn no_secret_is_logged_at_trace_level() {
    let server = Example::start("server", &[SECRET]);
    let login = log_in(&server).await;
    let (access, first) = (login.text("access_token"), login.text("refresh_token"));
    get(&server, "/users/me", &access).await;
    get(&server, "/users/me", &format!("{access}x")).await;
    let second = refresh(&server, &first).await.text("refresh_token");
    refresh(&server, &first).await;
    attempt(&server, "alice", "wrong-horse-battery").await;
    post(&server, "/token", "grant_type=password&username=alice&password=broken-%FF-secret").await;
    post(&server, "/token?password=query-secret", "").await;
    post(&server, "/revoke", &format!("token={access}")).await;
    let basic = "Basic ZGVtby13ZWI6Z3Vlc3NlZC1zZWNyZXQ=";
    let headers = [("authorization", basic), ("content-type", "application/x-www-form-urlencoded")];
    request(&server, "POST", "/token", &headers, "grant_type=password&username=bob&password=builder456").await;

    // HTTP/2 is the part that logs most.
    let http2 = Request::post("/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("authorization", basic)
        .body(Either::Left(Full::from("grant_type=password&username=bob&password=builder456")))
        .unwrap();
    assert_eq!(send(server.address, Http::Two, http2).await.status, 401);
    let http2 = Request::get("/users/me").header("authorization", format!("Bearer {access}"));
    send(server.address, Http::Two, http2.body(Either::Left(Full::default())).unwrap()).await;

    let log = server.log();
    for event in ["login", "denied", "refresh", "reuse", "revoke"] {
        assert!(log.contains(event), "the log says nothing of {event}: {log}");
    }
    assert!(log.contains("TRACE"), "not at trace level");
    for secret in [
        "wonderland123",
        "builder456",
        "wrong-horse-battery",
        "broken-",
        "query-secret",
        "guessed-secret",
        "demo-web-secret",
        "Z3Vlc3NlZC1zZWNyZXQ",
        SECRET.1,
        access.rsplit('.').next().unwrap(),
        access.as_str(),
        first.as_str(),
        second.as_str(),
        "argon2id$",
    ] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
