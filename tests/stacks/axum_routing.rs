//! Where the layer can sit in an axum router, and which requests reach it there.

use axum::{
    Router,
    http::{Method, header::ACCESS_CONTROL_ALLOW_ORIGIN},
    routing::get,
};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use tower::ServiceExt;
use tower_http::cors::CorsLayer;

use crate::setup::in_memory;

fn login(path: &str) -> Request<axum::body::Body> {
    Request::post(path)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("origin", "https://app.example")
        .body("grant_type=password&username=alice&password=wonderland123".into())
        .unwrap()
}

async fn status(app: Router, path: &str) -> u16 {
    app.oneshot(login(path)).await.unwrap().status().as_u16()
}

fn site() -> Router {
    Router::new().route("/", get(|| async { "" })).route("/other", get(|| async { "" }))
}

#[tokio::test]
async fn layer_on_the_whole_router() {
    assert_eq!(status(site().layer(in_memory().auth.endpoints()), "/token").await, 200);
}

#[tokio::test]
async fn a_fallback_added_before_the_layer_is_behind_it() {
    let app = site().fallback(|| async { StatusCode::IM_A_TEAPOT }).layer(in_memory().auth.endpoints());
    assert_eq!(status(app.clone(), "/token").await, 200);
    assert_eq!(status(app, "/tokens").await, 418);
}

#[tokio::test]
async fn a_fallback_added_after_the_layer_hides_it() {
    let app = site().layer(in_memory().auth.endpoints()).fallback(|| async { StatusCode::IM_A_TEAPOT });
    assert_eq!(status(app, "/token").await, 418);
    let standalone = site()
        .route_service("/token", in_memory().auth.token_endpoint().into_service())
        .fallback(|| async { StatusCode::IM_A_TEAPOT });
    assert_eq!(status(standalone, "/token").await, 200);
}

#[tokio::test]
async fn route_layer_sees_only_routes_that_exist() {
    assert_eq!(status(site().route_layer(in_memory().auth.endpoints()), "/token").await, 404);
    let standalone = site()
        .route_service("/token", in_memory().auth.token_endpoint().into_service())
        .route_layer(in_memory().auth.guard());
    assert_eq!(status(standalone, "/token").await, 401, "a guard that is added later guards the login, too");
}

#[tokio::test]
async fn merge_may_lose_the_layers_fallback() {
    let with_layer = site().layer(in_memory().auth.endpoints());
    let other = Router::new().route("/third", get(|| async { "" }));
    let merged = [with_layer.clone().merge(other.clone()), other.clone().merge(with_layer)];
    let [first, second] = merged.map(|app| status(app, "/token"));
    assert!(first.await == 404 || second.await == 404, "then the docs need no warning");
    assert_eq!(status(site().merge(other.clone()).layer(in_memory().auth.endpoints()), "/token").await, 200);
    let standalone = site().route_service("/token", in_memory().auth.token_endpoint().into_service());
    assert_eq!(status(standalone.merge(other), "/token").await, 200);
}

#[tokio::test]
async fn nest_strips_its_prefix() {
    let nested = Router::new().nest("/api", site().layer(in_memory().auth.endpoints()));
    assert_eq!(status(nested.clone(), "/api/token").await, 404, "the nested router has no fallback of its own");
    assert_eq!(status(nested, "/token").await, 404);
    let with_fallback = site().fallback(|| async { StatusCode::NOT_FOUND }).layer(in_memory().auth.endpoints());
    assert_eq!(status(Router::new().nest("/api", with_fallback), "/api/token").await, 200);
    let outside =
        Router::new().nest("/api", site()).layer(in_memory().auth.with_token_path("/api/token").unwrap().endpoints());
    assert_eq!(status(outside, "/api/token").await, 200);
    let standalone =
        Router::new().nest("/api", site().route_service("/token", in_memory().auth.token_endpoint().into_service()));
    assert_eq!(status(standalone, "/api/token").await, 200);
}

#[tokio::test]
async fn cors_belongs_outside() {
    let inside = site().layer(CorsLayer::permissive()).layer(in_memory().auth.endpoints());
    let reply = inside.oneshot(login("/token")).await.unwrap();
    assert_eq!(reply.status(), 200);
    assert!(!reply.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));

    let outside = site().layer(in_memory().auth.endpoints()).layer(CorsLayer::permissive());
    let reply = outside.clone().oneshot(login("/token")).await.unwrap();
    assert_eq!(reply.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    let preflight = Request::builder()
        .method(Method::OPTIONS)
        .uri("/token")
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
        .body(axum::body::Body::empty())
        .unwrap();
    assert_eq!(outside.oneshot(preflight).await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_standalone_service_answers_other_methods_with_405() {
    let standalone = in_memory().auth.token_endpoint().into_service();
    let reply = standalone.oneshot(Request::get("/token").body(Full::<Bytes>::default()).unwrap()).await.unwrap();
    assert_eq!((reply.status().as_u16(), &reply.headers()["allow"]), (405, &"POST".parse().unwrap()));
}

#[tokio::test]
async fn a_body_limit_outside_is_a_413() {
    let app = site()
        .layer(in_memory().auth.with_body_limit(1 << 20).endpoints())
        .layer(tower_http::limit::RequestBodyLimitLayer::new(100));
    let mut request = login("/token");
    *request.body_mut() = axum::body::Body::from_stream(futures_util::stream::iter([
        Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 90])),
        Ok(Bytes::from(vec![b'x'; 90])),
    ]));
    let reply = app.oneshot(request).await.unwrap();
    assert_eq!(reply.status(), 413);
    assert_eq!(reply.headers()["content-type"], "application/json");
}
