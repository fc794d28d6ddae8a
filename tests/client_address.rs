//! The client's address through real sockets: what a client writes into a header does not evade the limit of ten attempts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::net::{Ipv4Addr, SocketAddr};

use axum::{Router, extract::ConnectInfo, http::request::Parts, routing::post};
use test_support::client::try_request;
use tokio::net::TcpListener;
use tower_oauth2_password::{
    AttemptLimits, AuthorizationServer, ClientAddress, ForwardedHeader, Jwt, Key, Login, Verdict,
    store::MemoryAttemptStore,
};

const PROXY: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ANYONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// `/token`, and `/password`, where a handler checks a password, too. It answers with the address that it sees.
async fn serve(header: ForwardedHeader) -> SocketAddr {
    let peer = ClientAddress::peer(|peer: &ConnectInfo<SocketAddr>| peer.0);
    let address = peer.behind_proxies(header, [PROXY.to_string()]).unwrap();
    let jwt = Jwt::new(Key::hs256([7; 32]).unwrap(), "https://api.example", "api");
    let auth = AuthorizationServer::new(|_: Login| async { Ok(Verdict::Denied) }, jwt)
        .with_attempt_limits(AttemptLimits::new(MemoryAttemptStore::new(), address));
    let endpoints = auth.endpoints();
    let change_password = async move |request: Parts| match auth.reserve_attempt("alice", &request).await {
        Ok(attempt) => {
            attempt.failed().await.unwrap();
            (axum::http::StatusCode::FORBIDDEN, format!("{:?}", auth.client_address(&request)))
        }
        Err(error) => (error.status(), String::new()),
    };
    let app = Router::new().route("/password", post(change_password)).layer(endpoints);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await });
    at
}

async fn guess(server: SocketAddr, from: Ipv4Addr, headers: &[(&str, &str)]) -> u16 {
    let form = ("content-type", "application/x-www-form-urlencoded");
    let headers = [&[form], headers].concat();
    let body = "grant_type=password&username=alice&password=wrong";
    try_request(server, from, "POST", "/token", &headers, body).await.unwrap().status
}

#[tokio::test]
async fn a_forged_header_does_not_evade_the_limit() {
    let server = serve(ForwardedHeader::XForwardedFor).await;
    for n in 0..=10 {
        let forged = format!("203.0.113.{n}");
        let expected = if n < 10 { 400 } else { 429 };
        // The proxy appends to the header of its client, or adds its own field.
        let appended = format!("{forged}, 198.51.100.1");
        let headers = if n % 2 == 0 {
            vec![("x-forwarded-for", appended.as_str())]
        } else {
            vec![("x-forwarded-for", forged.as_str()), ("x-forwarded-for", "198.51.100.1")]
        };
        assert_eq!(guess(server, PROXY, &headers).await, expected, "through the proxy, {n}");
        let itself = [("x-forwarded-for", forged.as_str()), ("forwarded", "for=198.51.100.9")];
        assert_eq!(guess(server, ANYONE, &itself).await, expected, "past the proxy, {n}");
    }
    assert_eq!(guess(server, PROXY, &[("x-forwarded-for", "203.0.113.1")]).await, 400, "another client");
}

#[tokio::test]
async fn a_handler_counts_by_the_same_address_as_the_endpoint() {
    let server = serve(ForwardedHeader::Forwarded).await;
    let through = [("forwarded", "for=203.0.113.9, for=\"[2001:db8::1]:4711\"")];
    for _ in 0..5 {
        assert_eq!(guess(server, PROXY, &through).await, 400);
        let reply = try_request(server, PROXY, "POST", "/password", &through, "").await.unwrap();
        assert_eq!((reply.status, &reply.body[..]), (403, b"Some(2001:db8::1)".as_slice()));
    }
    // The same /64.
    let neighbour = [("forwarded", "for=\"[2001:db8::2]\"")];
    assert_eq!(guess(server, PROXY, &neighbour).await, 429);
    assert_eq!(try_request(server, PROXY, "POST", "/password", &neighbour, "").await.unwrap().status, 429);
    assert_eq!(try_request(server, ANYONE, "POST", "/password", &through, "").await.unwrap().status, 403);
}
