//! A client of the example server.

use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::Request;

use crate::support::{
    example::Example,
    http::{Http, Reply, send},
};

/// The environment in which a whole group of servers accepts each other's tokens.
pub const SECRET: (&str, &str) = ("JWT_SECRET", "0123456789abcdef0123456789abcdef");

pub async fn request(server: &Example, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Either::Left(Full::from(body.to_owned()))).unwrap();
    let reply = send(server.address, Http::One, request);
    tokio::time::timeout(Duration::from_secs(15), reply).await.expect("no answer within 15 seconds")
}

pub async fn post(server: &Example, path: &str, form: &str) -> Reply {
    request(server, "POST", path, &[("content-type", "application/x-www-form-urlencoded")], form).await
}

pub async fn attempt(server: &Example, name: &str, password: &str) -> Reply {
    post(server, "/token", &format!("grant_type=password&username={name}&password={password}")).await
}

pub async fn log_in(server: &Example) -> Reply {
    let reply = attempt(server, "alice", "wonderland123").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply
}

pub async fn refresh(server: &Example, token: &str) -> Reply {
    post(server, "/token", &format!("grant_type=refresh_token&refresh_token={token}")).await
}

pub async fn get(server: &Example, path: &str, token: &str) -> Reply {
    request(server, "GET", path, &[("authorization", &format!("Bearer {token}"))], "").await
}
