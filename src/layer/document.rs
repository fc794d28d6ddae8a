//! A JSON document as a service.

use std::{
    convert::Infallible,
    fmt,
    future::Ready,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE},
};
use serde_json::Value;
use tower::Service;

use crate::layer::{body::ResponseBody, future::ResponseFuture};

/// A JSON document that everybody may read, as a service for `route_service`: whatever path leads here is answered,
/// `GET` and `HEAD` with the document, every other method with 405. Cheap to clone.
///
/// Browsers on other origins read it where tower-http's `CorsLayer` lies around it.
///
/// ```
/// use tower::ServiceExt;
/// use tower_oauth2_password::{JsonDocument, Jwt, Key};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
/// let request = http::Request::get("/.well-known/jwks.json").body(())?;
/// let response = JsonDocument::new(&jwt.jwks()).oneshot(request).await?;
/// assert_eq!(response.headers()["content-type"], "application/json");
/// assert_eq!(response.headers()["cache-control"], "public, max-age=300");
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone)]
pub struct JsonDocument {
    body: Arc<dyn Fn() -> Bytes + Send + Sync>,
    cache_control: HeaderValue,
}

impl JsonDocument {
    /// Always this document; caches may keep it for five minutes.
    #[must_use]
    pub fn new(document: &Value) -> Self {
        let body = Bytes::from(document.to_string());
        Self::over(move || body.clone())
    }

    /// What `document` returns at the time of the request, for keys that are rotated in the running server.
    ///
    /// ```
    /// use std::sync::{Arc, RwLock};
    /// use tower_oauth2_password::{JsonDocument, Jwt, Key};
    ///
    /// let current = Arc::new(RwLock::new(Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api")));
    /// let document = JsonDocument::computed(move || current.read().map(|jwt| jwt.jwks()).unwrap_or_default());
    /// # Ok::<(), tower_oauth2_password::KeyError>(())
    /// ```
    #[must_use]
    pub fn computed(document: impl Fn() -> Value + Send + Sync + 'static) -> Self {
        Self::over(move || Bytes::from(document().to_string()))
    }

    fn over(body: impl Fn() -> Bytes + Send + Sync + 'static) -> Self {
        Self { body: Arc::new(body), cache_control: HeaderValue::from_static("public, max-age=300") }
    }

    /// How long caches may keep the document, in whole seconds: five minutes unless set. A key should be listed for at
    /// least this long before the first token is signed with it; a long time therefore delays a rotation, a short one
    /// costs requests.
    #[must_use]
    pub fn with_max_age(mut self, max_age: Duration) -> Self {
        // RFC 9111, section 1.2.2: recipients may take no more than this for a number of seconds.
        let seconds = max_age.as_secs().min(1 << 31);
        if let Ok(value) = HeaderValue::from_str(&format!("public, max-age={seconds}")) {
            self.cache_control = value;
        }
        self
    }

    fn respond(&self, method: &Method) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        if *method != Method::GET && *method != Method::HEAD {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let body = (self.body)();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, self.cache_control.clone());
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        if *method == Method::GET {
            *response.body_mut() = body;
        }
        response
    }
}

impl fmt::Debug for JsonDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonDocument").field("cache_control", &self.cache_control).finish_non_exhaustive()
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
    use super::*;

    #[test]
    fn get_head_and_nothing_else() {
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
