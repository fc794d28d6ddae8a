//! gRPC and `/token` on one port, through tonic's own client.

use tonic::{Code, Request, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower_oauth2_password::RequiredScope;

use crate::{
    setup::in_memory,
    stacks::{self, Site, Stack},
};

async fn call(site: &Site, authorization: Option<&str>) -> Result<i32, tonic::Status> {
    let channel = Channel::from_shared(format!("http://{}", site.address)).unwrap().connect().await.unwrap();
    let mut request = Request::new(HealthCheckRequest { service: String::new() });
    if let Some(value) = authorization {
        request.metadata_mut().insert("authorization", value.parse().unwrap());
    }
    HealthClient::new(channel).check(request).await.map(|reply| reply.into_inner().status)
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_calls_have_a_grpc_status() {
    let site = stacks::start(Stack::Tonic, &in_memory()).await;
    let token = site.log_in("").await.text("access_token");
    let narrow = site.log_in("&scope=items:read").await.text("access_token");
    assert_eq!(call(&site, Some(&format!("Bearer {token}"))).await.unwrap(), 1);
    for (authorization, code) in [
        (None, Code::Unauthenticated),
        (Some("Basic eDp5".to_owned()), Code::Unauthenticated),
        (Some("Bearer".to_owned()), Code::Unauthenticated),
        (Some(format!("Bearer {token}x")), Code::Unauthenticated),
        (Some(format!("Bearer {narrow}")), Code::PermissionDenied),
    ] {
        let status = call(&site, authorization.as_deref()).await.unwrap_err();
        assert_eq!(status.code(), code, "{authorization:?}: {status:?}");
        assert!(!status.message().is_empty());
    }
}

/// gRPC's health check behind the guard, for gRPC-Web over HTTP/1.1. The guard is inside or outside the translation.
async fn web(inside: bool) -> String {
    use tonic::{service::LayerExt, transport::Server};

    let setup = in_memory();
    let guard = setup.auth.guard().with_required_scope(RequiredScope::all_of("items:write"));
    let (_, health) = tonic_health::server::health_reporter();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = Server::builder().accept_http1(true).layer(setup.auth.endpoints());
    if inside {
        let server = server.layer(tonic_web::GrpcWebLayer::new()).add_service(guard.named_layer(health));
        tokio::spawn(server.serve_with_incoming(incoming));
    } else {
        let server = server.layer(guard).layer(tonic_web::GrpcWebLayer::new()).add_service(health);
        tokio::spawn(server.serve_with_incoming(incoming));
    }
    url
}

/// The access token of a login with this scope.
async fn token(url: &str, scope: &str) -> String {
    let address = url.trim_start_matches("http://").parse().unwrap();
    let request = hyper::Request::post("/token").header("content-type", "application/x-www-form-urlencoded");
    let body = format!("grant_type=password&username=alice&password=wonderland123&scope={scope}");
    let request = request.body(http_body_util::Either::Left(http_body_util::Full::from(body))).unwrap();
    test_support::http::send(address, test_support::http::Http::One, request).await.text("access_token")
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_web_calls_have_a_grpc_status_in_tonics_client() {
    for inside in [true, false] {
        let url = web(inside).await;
        let narrow = token(&url, "items:read").await;
        for (token, code) in [
            (Some(token(&url, "items:write").await), Code::Ok),
            (None, Code::Unauthenticated),
            (Some("x".to_owned()), Code::Unauthenticated),
            (Some(narrow), Code::PermissionDenied),
        ] {
            let http = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
            let client = tower::ServiceBuilder::new().layer(tonic_web::GrpcWebClientLayer::new()).service(http);
            let mut request = Request::new(HealthCheckRequest { service: String::new() });
            if let Some(token) = token {
                request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
            }
            let reply = HealthClient::with_origin(client, url.parse().unwrap()).check(request).await;
            assert_eq!(reply.err().map_or(Code::Ok, |status| status.code()), code, "inside: {inside}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_web_calls_have_a_grpc_status_in_googles_client() {
    let clients = test_support::root().join("tests/clients");
    let installed = std::process::Command::new(clients.join("install")).status().unwrap();
    assert!(installed.success(), "tests/clients/install failed");
    for inside in [true, false] {
        let url = web(inside).await;
        let [wide, narrow] = [token(&url, "items:write").await, token(&url, "items:read").await];
        for (token, code) in [(wide.as_str(), 0), ("", 16), ("x", 16), (&narrow, 7)] {
            let mut node = tokio::process::Command::new("node");
            let output = node.arg(clients.join("js/grpc_web.mjs")).args([&url, token]).output().await.unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            let codes: Vec<_> =
                said.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(codes, [format!("binary {code}"), format!("text {code}")], "inside: {inside}: {said}{errors}");
        }
    }
}
