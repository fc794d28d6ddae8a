use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{Request, Version};
use http_body_util::Full;
use tower::ServiceExt;

use super::*;
use crate::{
    error::BoxFuture,
    protocol::{
        request::{Parameters, Request as EndpointRequest},
        response::render_error,
    },
};

/// Answers with its own name.
struct Named(&'static str);

impl Endpoint for Named {
    fn parameters(&self) -> Parameters {
        Parameters {
            known: ["username"].as_slice().into(),
            required: &["password"],
            not_in_query: ["password"].as_slice().into(),
        }
    }

    fn decide<'a>(&'a self, _: &'a EndpointRequest) -> BoxFuture<'a, Result<Response<Bytes>, TokenError>> {
        Box::pin(async { Ok(Response::new(self.0.into())) })
    }
}

fn options() -> Options {
    Options {
        body_limit: 100,
        body_timeout: Duration::from_secs(10),
        store_budget: Duration::from_secs(1),
        https: None,
        realm: Realm::default(),
        render: Arc::new(render_error),
    }
}

fn route(path: &str, name: &'static str, options: &Options) -> Route {
    Route { path: path.into(), endpoint: Arc::new(Named(name)), options: Arc::new(options.clone()) }
}

fn post(path: &str, version: Version, length: usize) -> Request<Full<Bytes>> {
    let request = Request::post(path).version(version).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    request.body(Full::from("a".repeat(length))).unwrap()
}

async fn answer_of(layer: &EndpointLayer, request: Request<Full<Bytes>>) -> Response<ResponseBody<String>> {
    layer.clone().into_service().oneshot(request).await.unwrap()
}

async fn text<B: Body<Error: std::fmt::Debug>>(response: Response<B>) -> String {
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn each_path_is_answered_by_its_endpoint_and_others_pass() {
    let layer = EndpointLayer::over([route("/a", "first", &options()), route("/b", "second", &options())]);
    let inner =
        tower::service_fn(async |_: Request<Full<Bytes>>| Ok::<_, Infallible>(Response::new("inner".to_owned())));
    let app = layer.layer(inner);
    for (path, expected) in [("/a", "first"), ("/b", "second"), ("/c", "inner"), ("/a/", "inner"), ("/%61", "inner")] {
        let response = app.clone().oneshot(post(path, Version::HTTP_11, 1)).await.unwrap();
        assert_eq!(text(response).await, expected, "{path}");
    }
    let get = Request::get("/a").body(Full::default()).unwrap();
    assert_eq!(text(app.oneshot(get).await.unwrap()).await, "inner");
}

#[tokio::test]
async fn a_standalone_endpoint_answers_any_path_and_several_answer_their_own() {
    let one = EndpointLayer::over([route("/a", "first", &options())]);
    assert_eq!(text(answer_of(&one, post("/any", Version::HTTP_11, 1)).await).await, "first");
    let two = EndpointLayer::over([route("/a", "first", &options()), route("/b", "second", &options())]);
    assert_eq!(text(answer_of(&two, post("/b", Version::HTTP_11, 1)).await).await, "second");
    assert_eq!(answer_of(&two, post("/any", Version::HTTP_11, 1)).await.status(), 404);
    for layer in [one, two] {
        let refused = answer_of(&layer, Request::get("/a").body(Full::default()).unwrap()).await;
        assert_eq!((refused.status().as_u16(), &refused.headers()[ALLOW]), (405, &HeaderValue::from_static("POST")));
    }
}

#[tokio::test]
async fn a_connection_of_http_1_is_closed_if_a_body_is_left_unread() {
    let layer = EndpointLayer::over([route("/a", "first", &options())]);
    for (version, length, status, closed) in [
        (Version::HTTP_10, 101, 413, true),
        (Version::HTTP_11, 101, 413, true),
        (Version::HTTP_2, 101, 413, false),
        (Version::HTTP_11, 100, 200, false),
    ] {
        let response = answer_of(&layer, post("/a", version, length)).await;
        let seen = (response.status().as_u16(), response.headers().contains_key(CONNECTION));
        assert_eq!(seen, (status, closed), "{version:?}");
    }
}

#[tokio::test]
async fn parameters_that_were_not_read_are_missing() {
    let options =
        Options { render: Arc::new(|error| Response::new(error.missing_parameters().join(" ").into())), ..options() };
    let layer = EndpointLayer::over([route("/a", "first", &options)]);
    let json = Request::post("/a").header(CONTENT_TYPE, "application/json").body(Full::default()).unwrap();
    assert_eq!(text(answer_of(&layer, json).await).await, "password");
    assert_eq!(text(answer_of(&layer, post("/a?pass%77ord=p", Version::HTTP_11, 0)).await).await, "password");
}
