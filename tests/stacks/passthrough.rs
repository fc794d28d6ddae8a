//! Requests for the inner service pass untouched: streams, trailers, errors, upgrades. A body that is cut short is
//! never processed.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::{
    HeaderMap, Request, Response,
    body::{Frame, Incoming},
    server::conn::http1,
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::{Layer, ServiceExt, service_fn};

use crate::{
    setup::in_memory,
    stacks::{self, Stack},
};
use test_support::http::{chunked, open};

#[tokio::test(flavor = "multi_thread")]
async fn bodies_stream_through_both_ways() {
    for stack in stacks::HTTP {
        let site = stacks::start(stack, &in_memory()).await;
        let body: Vec<u8> = (0..1_000_000u32).map(|n| n as u8).collect();
        let reply = site.send(Request::post("/echo").body(chunked(&body)).unwrap()).await;
        assert_eq!((reply.status, reply.body.len()), (200, body.len()), "{stack:?}");
        assert_eq!(reply.body, body);
        assert!(!reply.headers.contains_key("cache-control") && !reply.headers.contains_key("pragma"));
    }
}

#[tokio::test]
async fn frames_trailers_hints_and_errors_of_the_inner_body_pass() {
    type Frames = Vec<Result<Frame<Bytes>, &'static str>>;
    let inner = service_fn(|request: Request<Full<Bytes>>| async move {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let mut frames: Frames = vec![Ok(Frame::data("a".into())), Ok(Frame::data("b".into()))];
        frames.push(if request.uri().path() == "/broken" { Err("inner") } else { Ok(Frame::trailers(trailers)) });
        Ok::<_, Infallible>(Response::new(StreamBody::new(futures_util::stream::iter(frames))))
    });
    let auth = in_memory().auth;
    let service = auth.token_endpoint().layer(auth.revocation_endpoint().layer(inner));
    let get = |path: &str| Request::get(path).body(Full::<Bytes>::default()).unwrap();
    let collected = service.clone().oneshot(get("/")).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(collected.to_bytes(), "ab");
    let broken = service.oneshot(get("/broken")).await.unwrap().into_body().collect().await;
    assert_eq!(broken.unwrap_err(), "inner");
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_pass() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let inner = service_fn(|mut request: Request<Incoming>| async move {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgrade.await.unwrap());
            let mut word = [0; 4];
            io.read_exact(&mut word).await.unwrap();
            io.write_all(&word).await.unwrap();
        });
        let response = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "echo");
        Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).unwrap())
    });
    let service = TowerToHyperService::new(in_memory().auth.endpoints().layer(inner));
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await.unwrap();
    });
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /up HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    stream.write_all(b"ping").await.unwrap();
    let mut word = [0; 4];
    stream.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"ping");
}

const HEAD: &str = "POST /token HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n";
const FORM: &str = "grant_type=password&username=alice&password=wonderland123";

async fn raw(address: std::net::SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_cut_short_is_never_processed() {
    let setup = in_memory();
    let site = stacks::start(Stack::Axum, &setup).await;
    let chunk = format!("{:x}\r\n{FORM}\r\n", FORM.len());
    for (what, request) in [
        ("Content-Length not filled", format!("{HEAD}content-length: {}\r\n\r\n{FORM}", FORM.len() + 5)),
        ("the last chunk missing", format!("{HEAD}transfer-encoding: chunked\r\n\r\n{chunk}")),
    ] {
        let mut stream = raw(site.address, &request).await;
        stream.shutdown().await.unwrap();
        let mut reply = String::new();
        let _ = stream.read_to_string(&mut reply).await;
        assert!(!reply.contains("access_token") && !reply.contains(" 500 "), "R2.13, {what}: {reply}");
    }
    assert_eq!(setup.pool.stats().hashed, 0, "no password was checked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_413_comes_before_the_body_is_sent() {
    let site = stacks::start(Stack::Axum, &in_memory()).await;
    let whole = "x".repeat(16_385);
    for (what, request) in [
        ("announced", format!("{HEAD}content-length: 1000000000\r\n\r\n")),
        ("chunked", format!("{HEAD}transfer-encoding: chunked\r\n\r\n{:x}\r\n{whole}\r\n", whole.len())),
    ] {
        let mut stream = raw(site.address, &request).await;
        let mut reply = vec![0; 12];
        stream.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply, b"HTTP/1.1 413", "R2.11, {what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expect_100_continue_is_answered() {
    let site = stacks::start(Stack::Axum, &in_memory()).await;
    let head = format!("{HEAD}expect: 100-continue\r\n");
    let mut stream = raw(site.address, &format!("{head}content-length: {}\r\n\r\n", FORM.len())).await;
    let mut interim = vec![0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(interim, b"HTTP/1.1 100 Continue\r\n\r\n", "R12.4");
    stream.write_all(FORM.as_bytes()).await.unwrap();
    let mut status = vec![0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(status, b"HTTP/1.1 200");
    let mut stream = raw(site.address, &format!("{head}content-length: 20000\r\n\r\n")).await;
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(status, b"HTTP/1.1 413", "a final status instead");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_absolute_form_is_accepted() {
    let site = stacks::start(Stack::Axum, &in_memory()).await;
    let head = HEAD.replace("/token", "http://other.example/token");
    let mut stream = raw(site.address, &format!("{head}content-length: {}\r\n\r\n{FORM}", FORM.len())).await;
    let mut status = vec![0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(status, b"HTTP/1.1 200", "R12.3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_http2_request_gets_its_response() {
    let site = stacks::start(Stack::HyperHttp2, &in_memory()).await;
    let request = Request::post("/token").body(Either::Left(Full::from("x"))).unwrap();
    let reply = tokio::time::timeout(Duration::from_secs(5), open(site.address, site.http, request)).await;
    assert_eq!(reply.unwrap().unwrap().status(), 400);
}
