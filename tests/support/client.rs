//! A client of the example server.

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    time::{Duration, Instant},
};

use http_body_util::{Either, Full};
use hyper::Request;

use super::{
    example::Example,
    http::{Http, Reply, connect, send_on},
    tally::TALLY,
};

/// The environment variable with which a group of servers accepts each other's tokens.
pub const SECRET: (&str, &str) = ("JWT_SECRET", "0123456789abcdef0123456789abcdef");

pub const ALICE: &str = "grant_type=password&username=alice&password=wonderland123";
pub const BOB: &str = "grant_type=password&username=bob&password=builder456";

const PATIENCE: Duration = Duration::from_secs(15);

pub async fn request(server: &Example, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let reply = try_request(server.address, Ipv4Addr::LOCALHOST, method, path, headers, body).await;
    reply.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

/// Sends a request from any address in 127.0.0.0/8; to the server, each address is a different client. If there is no
/// reply, the error says what happened.
pub async fn try_request(
    server: SocketAddr,
    from: Ipv4Addr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Reply, String> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Either::Left(Full::from(body.to_owned()))).unwrap();
    let begun = Instant::now();
    let reply = tokio::time::timeout(PATIENCE, async {
        let stream = connect(server, from).await.map_err(|error| format!("no connection: {error}"))?;
        send_on(stream, Http::One, request).await.map_err(|error| format!("no answer: {error:?}"))
    });
    let reply = reply.await.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))?;
    TALLY.count(reply.status, begun.elapsed());
    assert_ne!(reply.status, 500, "{method} {path}: {reply:?}");
    Ok(reply)
}

pub async fn post(server: &Example, path: &str, form: &str) -> Reply {
    request(server, "POST", path, &[FORM], form).await
}

pub async fn try_post(server: SocketAddr, from: Ipv4Addr, path: &str, form: &str) -> Result<Reply, String> {
    try_request(server, from, "POST", path, &[FORM], form).await
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

pub async fn attempt(server: &Example, name: &str, password: &str) -> Reply {
    post(server, "/token", &format!("grant_type=password&username={name}&password={password}")).await
}

pub async fn log_in(server: &Example) -> Reply {
    let reply = attempt(server, "alice", "wonderland123").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply
}

/// What an authenticator app with this secret (base32) shows at a time, such as `now`.
pub fn otp(secret: &str, time: &str) -> String {
    let arguments = ["--totp", "-b", secret, "--now", time];
    let output = Command::new("oathtool").args(arguments).output();
    let output = output.expect("oathtool is not installed: apt-get install oathtool");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub async fn refresh(server: &Example, token: &str) -> Reply {
    post(server, "/token", &refresh_form(token)).await
}

pub fn refresh_form(token: &str) -> String {
    format!("grant_type=refresh_token&refresh_token={token}")
}

pub async fn get(server: &Example, path: &str, token: &str) -> Reply {
    request(server, "GET", path, &[("authorization", &format!("Bearer {token}"))], "").await
}

/// Waits until `done` returns true, which may take up to five seconds.
pub async fn eventually(what: &str, done: impl AsyncFnMut() -> bool) {
    within(Duration::from_secs(5), what, done).await;
}

pub async fn within(limit: Duration, what: &str, mut done: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !done().await {
        assert!(begun.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Asks up to ten times until one answer comes in time: on a busy machine most may be late.
pub async fn within_once(limit: Duration, what: &str, ask: impl AsyncFn()) {
    let mut times = Vec::new();
    while times.last().is_none_or(|took| *took >= limit) {
        assert!(times.len() < 10, "{what} took {times:?}");
        // Long enough that a store that has just failed is asked again.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let begun = Instant::now();
        ask().await;
        times.push(begun.elapsed());
    }
}

/// Fails the test if `work` hangs.
pub async fn in_time<T>(limit: Duration, what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| panic!("{what}: not done after {limit:?}"))
}
