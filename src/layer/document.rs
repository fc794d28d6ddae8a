//! A JSON document as a service.

use std::task::{Context, Poll};
use std::{convert::Infallible, future::Ready, sync::Arc, time::Duration};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use serde_json::Value;
use tower::Service;

use super::{body::ResponseBody, future::ResponseFuture};
use crate::protocol::metadata::AuthorizationServerMetadata;
use crate::protocol::response::{empty, json_text, method_not_allowed};
use crate::{secret::debug_only, sync::unwind_guarded};

/// A public JSON document as a service, for axum's `Router::route_service`. Cheap to clone.
///
/// It answers every path that leads to it: `GET` and `HEAD` with the document, every other method with a 405. For browsers on
/// other origins, wrap it in tower-http's `CorsLayer`.
///
/// ```
/// use tower::ServiceExt;
/// use tower_oauth2_password::JsonDocument;
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let document = JsonDocument::new(&serde_json::json!({ "keys": [] }));
/// let response = document.oneshot(http::Request::get("/.well-known/jwks.json").body(())?).await?;
/// assert_eq!(response.headers()["content-type"], "application/json");
/// assert_eq!(response.headers()["cache-control"], "public, max-age=300");
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct JsonDocument {
    body: Arc<dyn Fn() -> Bytes + Send + Sync>,
    cache_control: HeaderValue,
}

impl JsonDocument {
    /// Always the same document.
    pub fn new(document: &Value) -> Self {
        let body = Bytes::from(document.to_string());
        Self::over(move || body.clone())
    }

    /// The document that `body` returns at each request, as for keys that are rotated while the server runs.
    pub(super) fn over(body: impl Fn() -> Bytes + Send + Sync + 'static) -> Self {
        Self { body: Arc::new(body), cache_control: HeaderValue::from_static("public, max-age=300") }
    }

    /// Sets how long caches may keep the document, in whole seconds. The default is five minutes. List a key for at least this
    /// long before you sign with it: a long time delays rotations, and a short one costs requests.
    pub fn with_max_age(self, max_age: Duration) -> Self {
        // Recipients need not accept more (RFC 9111, section 1.2.2).
        let seconds = max_age.as_secs().min(1 << 31);
        let value = HeaderValue::try_from(format!("public, max-age={seconds}"));
        Self { cache_control: value.unwrap_or(self.cache_control), ..self }
    }

    fn respond(&self, method: &Method) -> Response<Bytes> {
        if *method != Method::GET && *method != Method::HEAD {
            return method_not_allowed("GET, HEAD");
        }
        let Some(body) = unwind_guarded(|| (self.body)()) else { return empty(StatusCode::SERVICE_UNAVAILABLE) };
        let length = HeaderValue::from(body.len());
        let mut response = json_text(if *method == Method::GET { body } else { Bytes::new() });
        response.headers_mut().insert(CACHE_CONTROL, self.cache_control.clone());
        response.headers_mut().insert(CONTENT_LENGTH, length);
        response
    }
}

debug_only!(JsonDocument { cache_control });

impl AuthorizationServerMetadata {
    /// The document as a service, for the route at [`path`](Self::path).
    pub fn into_service(self) -> JsonDocument {
        JsonDocument::new(&self.to_json())
    }
}

impl<B> Service<Request<B>> for JsonDocument {
    type Response = Response<ResponseBody<String>>;
    type Error = Infallible;
    type Future = ResponseFuture<Ready<Result<Response<String>, Infallible>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ResponseFuture::ready(self.respond(request.method()))
    }
}

#[cfg(test)]
mod tests {
    use http::header::ALLOW;

    use super::*;

    #[test]
    fn get_and_head_are_answered_and_nothing_else() {
        let document = JsonDocument::new(&serde_json::json!({ "keys": [] })).with_max_age(Duration::from_secs(60));
        let get = document.respond(&Method::GET);
        assert_eq!((get.status().as_u16(), get.body().as_ref()), (200, br#"{"keys":[]}"#.as_slice()));
        assert_eq!(get.headers()[CACHE_CONTROL], "public, max-age=60");
        let head = document.respond(&Method::HEAD);
        assert_eq!((head.headers(), head.body().len()), (get.headers(), 0));
        for method in [Method::POST, Method::OPTIONS, Method::DELETE] {
            let refused = document.respond(&method);
            assert_eq!((refused.status().as_u16(), &refused.headers()[ALLOW]), (405, &"GET, HEAD".parse().unwrap()));
        }
    }
}
