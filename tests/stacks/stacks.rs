//! One site on each stack: the endpoints as layers, `/guarded` and `/step-up` behind guards, an echo, and nothing else.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use axum::{Extension, Router, body::Body, routing::any};
use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response,
    body::Incoming,
    server::conn::{http1, http2},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_oauth2_password::{AccessToken, BearerLayer, RequiredScope};

use crate::setup::{ADDRESS, Setup};
use test_support::http::{Http, Reply, TestBody, send};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    Axum,
    HyperHttp1,
    HyperHttp2,
    Tonic,
}

pub const ALL: [Stack; 4] = [Stack::Axum, Stack::HyperHttp1, Stack::HyperHttp2, Stack::Tonic];
/// The stacks whose inner service speaks plain HTTP.
pub const HTTP: [Stack; 3] = [Stack::Axum, Stack::HyperHttp1, Stack::HyperHttp2];

pub struct Site {
    pub address: SocketAddr,
    pub http: Http,
    stack: Stack,
}

pub async fn start(stack: Stack, setup: &Setup) -> Site {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let endpoints = setup.auth.endpoints();
    const WRITE: RequiredScope = RequiredScope::all_of("items:write");
    let guard = setup.auth.guard().with_required_scope(WRITE);
    let step_up = setup.auth.guard().with_required_acr("urn:example:mfa").unwrap();
    let step_up = step_up.with_max_age(Duration::from_secs(300)).with_required_scope_for(Method::PUT, WRITE);
    let mut http = Http::Two;
    match stack {
        Stack::Axum => {
            http = Http::One;
            let app = Router::new()
                .route("/guarded", any(guarded).layer(guard))
                .route("/step-up", any(guarded).layer(step_up))
                .route("/echo", any(|body: Body| async { body }))
                .layer(endpoints);
            spawn(async { axum::serve(listener, app).await });
        }
        Stack::HyperHttp1 | Stack::HyperHttp2 => {
            if stack == Stack::HyperHttp1 {
                http = Http::One;
            }
            let service = ServiceBuilder::new()
                .layer(endpoints)
                .service(service_fn(move |request| plain(request, guard.clone(), step_up.clone())));
            spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await?;
                    stream.set_nodelay(true)?;
                    let (io, service) = (TokioIo::new(stream), TowerToHyperService::new(service.clone()));
                    if stack == Stack::HyperHttp1 {
                        spawn(http1::Builder::new().serve_connection(io, service));
                    } else {
                        spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(io, service));
                    }
                }
                #[allow(unreachable_code)]
                Ok::<(), std::io::Error>(())
            });
        }
        Stack::Tonic => {
            let (_, health) = tonic_health::server::health_reporter();
            let health = tonic::service::LayerExt::named_layer(&guard, health);
            let server = tonic::transport::Server::builder().accept_http1(true).layer(endpoints).add_service(health);
            let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
            spawn(server.serve_with_incoming(incoming));
        }
    }
    Site { address, http, stack }
}

fn spawn<T, E>(task: impl Future<Output = Result<T, E>> + Send + 'static)
where
    T: Send + 'static,
    E: Send + 'static,
{
    tokio::spawn(task);
}

async fn guarded(Extension(token): Extension<AccessToken>) -> String {
    token.subject().to_owned()
}

type PlainBody = UnsyncBoxBody<Bytes, hyper::Error>;

async fn plain(
    request: Request<Incoming>,
    guard: BearerLayer,
    step_up: BearerLayer,
) -> Result<Response<PlainBody>, Infallible> {
    let full = |text: String| Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
    match request.uri().path() {
        path @ ("/guarded" | "/step-up") => {
            let guard = if path == "/guarded" { guard } else { step_up };
            let inner = service_fn(|request: Request<Incoming>| async move {
                let token = request.extensions().get::<AccessToken>().unwrap().subject().to_owned();
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(token))))
            });
            let response = guard.layer(inner).oneshot(request).await?;
            Ok(response.map(|body| body.map_err(|never| match never {}).boxed_unsync()))
        }
        "/echo" => Ok(Response::new(request.into_body().boxed_unsync())),
        _ => {
            let mut response = Response::new(full(String::new()));
            *response.status_mut() = hyper::StatusCode::NOT_FOUND;
            Ok(response)
        }
    }
}

/// An address that no other request uses.
pub fn fresh_address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    std::net::Ipv4Addr::from(0x0a00_0000 + NEXT.fetch_add(1, Ordering::Relaxed)).to_string()
}

impl Site {
    /// Whether this stack has `/guarded`.
    pub fn is_http(&self) -> bool {
        HTTP.contains(&self.stack)
    }

    pub async fn send(&self, request: Request<TestBody>) -> Reply {
        send(self.address, self.http, request).await
    }

    /// Posts a form from an address that no other request uses.
    pub async fn post(&self, path: &str, form: &str) -> Reply {
        self.post_from(&fresh_address(), path, form).await
    }

    pub async fn post_from(&self, address: &str, path: &str, form: &str) -> Reply {
        let request = Request::post(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .header(ADDRESS, address)
            .body(Either::Left(Full::from(form.to_owned())))
            .unwrap();
        self.send(request).await
    }

    pub async fn log_in(&self, more: &str) -> Reply {
        let reply =
            self.post("/token", &format!("grant_type=password&username=alice&password=wonderland123{more}")).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply
    }

    pub async fn refresh(&self, token: &str, more: &str) -> Reply {
        self.post("/token", &format!("grant_type=refresh_token&refresh_token={token}{more}")).await
    }

    pub async fn guarded(&self, token: &str) -> u16 {
        let request = Request::get("/guarded").header("authorization", format!("Bearer {token}"));
        self.send(request.body(Either::Left(Full::default())).unwrap()).await.status
    }
}
