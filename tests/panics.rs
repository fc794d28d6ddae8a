//! If a user's verifier or client table panics, its request gets a 503, and no log or panic message holds a secret.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::request::Parts;
use http_body_util::{Either, Full};
use hyper::{Request, Response};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use test_support::{
    http::{Http, Reply, try_send},
    log::Log,
    secrets::Secrets,
};
use tokio::net::TcpListener;
use tower::{Layer, service_fn};
use tower_oauth2_password::{
    AttemptLimits, AuthorizationServer, BoxError, Client, Clients, EndpointLayer, Identity, Jwt, Key, Login,
    store::MemoryAttemptStore,
};

const PASSWORD: &str = "wonderland123";
const CLIENT_SECRET: &str = "a-secret-of-a-client";

struct PanickingClients;

impl Clients for PanickingClients {
    async fn find(&self, id: &str) -> Result<Option<Client>, BoxError> {
        if id == "unlucky" {
            panic!("no table of clients for {id}")
        } else {
            Ok(Some(Client::confidential(id, CLIENT_SECRET)))
        }
    }
}

fn endpoint() -> EndpointLayer {
    let verifier = |login: Login| async move {
        if login.username == "unlucky" {
            panic!("the database is away: {login:?}");
        }
        Ok(Identity::new(login.username).into())
    };
    let limits = AttemptLimits::new(MemoryAttemptStore::new(), |_: &Parts| Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    AuthorizationServer::new(verifier, Jwt::new(Key::hs256([7; 32]).unwrap(), "i", "a"))
        .with_clients(PanickingClients)
        .with_attempt_limits(limits)
        .token_endpoint()
}

/// A server that records how its connections ended.
async fn serve(told: Log) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let inner = service_fn(async |_: Request<hyper::body::Incoming>| Ok::<_, io::Error>(Response::new(String::new())));
    let service = TowerToHyperService::new(endpoint().layer(inner));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (service, told) = (service.clone(), told.clone());
            tokio::spawn(async move {
                let connection = tokio::spawn(async move {
                    Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await
                });
                match connection.await {
                    Ok(ended) => told.add(&format!("ended: {ended:?}\n")),
                    Err(error) => told.add(&format!("failed: {error} {error:?} {error:#?}\n")),
                }
            });
        }
    });
    address
}

async fn log_in(address: SocketAddr, http: Http, username: &str, client: &str) -> Option<Reply> {
    let request = Request::post("/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("authorization", format!("Basic {}", STANDARD.encode(format!("{client}:{CLIENT_SECRET}"))))
        .body(Either::Left(Full::from(format!("grant_type=password&username={username}&password={PASSWORD}"))))
        .unwrap();
    try_send(address, http, request).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_503_and_reveals_no_secret() {
    let told = Log::default();
    let writer = told.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let hooked = told.clone();
    std::panic::set_hook(Box::new(move |info| hooked.add(&format!("{info}\n{info:?}\n"))));

    let address = serve(told.clone()).await;
    for http in [Http::One, Http::Two] {
        // More panics than the limit on failures allows: each one gives its slot back.
        for _ in 0..12 {
            assert_eq!(log_in(address, http, "unlucky", "web").await.unwrap().status, 503);
            assert_eq!(log_in(address, http, "alice", "unlucky").await.unwrap().status, 503);
        }
        assert_eq!(log_in(address, http, "alice", "web").await.unwrap().status, 200);
    }
    let _ = std::panic::take_hook();
    let text = told.text();
    for expected in ["TRACE", "the database is away", "no table of clients", "[redacted]", "login"] {
        assert!(text.contains(expected), "{expected} was not told");
    }
    Secrets::of(&[PASSWORD, CLIENT_SECRET]).assert_none_in("what was told", text.as_bytes());
}
