//! One request to a service, without a socket.

use std::{
    convert::Infallible,
    fmt::Debug,
    future::{Ready, ready},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, Response, body::Body, http::request::Builder};
use serde_json::Value;
use tower::{
    Layer, Service, ServiceExt,
    util::{ServiceFn, service_fn},
};

/// Sends a form, and returns the status, the headers and the JSON of the answer.
pub async fn post_form<S, B>(service: S, request: Builder, form: &str) -> (u16, HeaderMap, Value)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Debug>,
    B: Body<Error: Debug>,
{
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let reply = service.oneshot(request.body(form.to_owned().into()).unwrap()).await.unwrap();
    let (parts, body) = reply.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status.as_u16(), parts.headers, serde_json::from_slice(&body).unwrap())
}

type Inner = ServiceFn<fn(Request<()>) -> Ready<Result<Response<String>, Infallible>>>;

/// The status of a request with this token to a service that a guard protects.
pub async fn guarded<L, B>(guard: L, token: &str) -> u16
where
    L: Layer<Inner, Service: Service<Request<()>, Response = Response<B>, Error: Debug>>,
{
    let inner: Inner = service_fn(|_| ready(Ok(Response::new(String::new()))));
    let request = Request::get("/").header("authorization", format!("Bearer {token}")).body(()).unwrap();
    guard.layer(inner).oneshot(request).await.unwrap().status().as_u16()
}
