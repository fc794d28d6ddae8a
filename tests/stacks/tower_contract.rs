//! The contract of a tower layer, tested with a mock inner service.

use std::{
    convert::Infallible,
    future::{Future, pending, ready},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::{Request, Response};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_oauth2_password::{
    AccessToken, AttemptLimits, AuthorizationServer, BearerLayer, BearerService, EndpointLayer, EndpointService,
    HashingPool, Jwt, Login, MemoryUsers, PasswordVerifier, RefreshTokens, ResponseBody, ResponseFuture,
    StandaloneService, TokenEndpointLayer, TokenError, Verdict,
    store::{
        AttemptOutcome, AttemptStore, MemoryAttemptStore, MemoryDenyList, MemoryRefreshStore, Reservation, Slot,
        StoreFuture,
    },
};

use crate::setup::{in_memory, over};

const LOGIN: &str = "grant_type=password&username=alice&password=wonderland123";

fn login() -> Request<Full<Bytes>> {
    Request::post("/token").header("content-type", "application/x-www-form-urlencoded").body(Full::from(LOGIN)).unwrap()
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn types_cross_threads_and_are_cheap_to_clone() {
    fn all<T: Send + Sync + Clone + std::fmt::Debug + 'static>() {}
    fn sent<T: Send>() {}
    // The service is Send even if the inner service is not Sync.
    type Inner = std::cell::Cell<u8>;
    all::<AuthorizationServer>();
    all::<EndpointLayer>();
    all::<BearerLayer>();
    all::<StandaloneService>();
    all::<EndpointService<u8>>();
    all::<BearerService<u8>>();
    all::<AccessToken>();
    all::<Jwt>();
    all::<AttemptLimits>();
    all::<RefreshTokens>();
    all::<HashingPool>();
    all::<PasswordVerifier<MemoryUsers>>();
    all::<TokenError>();
    sent::<EndpointService<Inner>>();
    sent::<BearerService<Inner>>();
    sent::<ResponseBody<Full<Bytes>>>();
    sent::<ResponseFuture<std::future::Ready<()>>>();
    assert!(ResponseBody::<Full<Bytes>>::default().size_hint_is_empty());
}

trait Hint {
    fn size_hint_is_empty(&self) -> bool;
}

impl<B: hyper::body::Body> Hint for B {
    fn size_hint_is_empty(&self) -> bool {
        self.size_hint().exact() == Some(0) && self.is_end_stream()
    }
}

#[tokio::test]
async fn readiness_is_the_inner_services() {
    let auth = in_memory().auth;
    let (mock, mut handle) = tower_test::mock::pair::<Request<Full<Bytes>>, Response<Full<Bytes>>>();
    let mut service = auth.guard().layer(auth.endpoints().layer(mock));
    let mut poll_ready = |expected: bool| {
        assert_eq!(service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready(), expected);
    };
    handle.allow(0);
    poll_ready(false);
    handle.allow(1);
    poll_ready(true);

    handle.send_error("gone");
    let error = std::future::poll_fn(|cx| service.poll_ready(cx)).await.unwrap_err();
    assert_eq!(error.to_string(), "gone");
}

#[tokio::test]
async fn a_token_request_leaves_the_inner_service_unharmed() {
    let (mock, mut handle) = tower_test::mock::pair::<Request<Full<Bytes>>, Response<Full<Bytes>>>();
    handle.allow(1);
    let mut service = in_memory().auth.endpoints().layer(mock);
    let reply = service.ready().await.unwrap().call(login()).await.unwrap();
    assert_eq!(reply.status(), 200);
    // The login did not use up the one request that the mock allows.
    let other = service.ready().await.unwrap().call(Request::get("/token").body(Full::default()).unwrap());
    let (request, send) = handle.next_request().await.unwrap();
    assert_eq!(request.method(), "GET");
    send.send_response(Response::new(Full::from("inner")));
    let body = other.await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "inner");
}

/// Accepts a call only after `poll_ready` on the same clone, as a service may require.
#[derive(Default)]
struct Strict {
    ready: bool,
    calls: Arc<AtomicUsize>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ready: false, calls: Arc::clone(&self.calls) }
    }
}

impl Service<Request<Full<Bytes>>> for Strict {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        assert!(self.ready, "called on a clone that was never ready");
        self.ready = false;
        self.calls.fetch_add(1, Ordering::Relaxed);
        ready(Ok(Response::new(Empty::new())))
    }
}

#[tokio::test]
async fn inner_is_called_at_once_on_the_clone_that_was_ready() {
    let inner = Strict::default();
    let calls = Arc::clone(&inner.calls);
    let mut service = in_memory().auth.endpoints().layer(inner);
    service.ready().await.unwrap();
    let future = service.call(Request::get("/").body(Full::default()).unwrap());
    assert_eq!(calls.load(Ordering::Relaxed), 1, "in call, before the future is polled");
    drop(future);
    service.ready().await.unwrap().call(login()).await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[test]
fn a_service_without_send_or_clone_is_enough() {
    struct Bare(*const ());
    impl Service<Request<Full<Bytes>>> for Bare {
        type Response = Response<Empty<Bytes>>;
        type Error = &'static str;
        type Future = Pin<Box<dyn Future<Output = Result<Self::Response, &'static str>>>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
            assert!(self.0.is_null());
            Box::pin(ready(Err("inner")))
        }
    }
    let mut service = in_memory().auth.endpoints().layer(Bare(std::ptr::null()));
    let mut future = pin!(service.call(Request::get("/").body(Full::default()).unwrap()));
    assert!(matches!(poll(future.as_mut()), Poll::Ready(Err("inner"))), "errors pass as they are");
}

/// Polls a login up to its nth await and drops it there.
async fn leave_at(await_number: usize, service: &mut StandaloneService) -> bool {
    let mut future = Box::pin(service.call(login()));
    for _ in 0..await_number {
        let before_next = std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await;
        if before_next {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    false
}

#[derive(Clone, Default)]
struct CountedAttempts {
    store: Arc<MemoryAttemptStore>,
    open: Arc<AtomicUsize>,
}

impl AttemptStore for CountedAttempts {
    fn reserve(&self, slot: Slot, deadline: Instant) -> StoreFuture<'_, Reservation> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let answer = self.store.reserve(slot, deadline).await;
            tokio::task::yield_now().await;
            answer
        })
    }

    fn settle(&self, slot: Slot, outcome: AttemptOutcome, deadline: Instant) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.store.settle(slot, outcome, deadline).await
        })
    }

    fn abandon(&self, slot: Slot) {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.store.abandon(slot);
    }
}

#[tokio::test]
async fn a_client_that_leaves_at_any_await_leaves_nothing_behind() {
    let attempts = CountedAttempts::default();
    let setup = over(MemoryRefreshStore::new(), attempts.clone(), MemoryDenyList::new(), |tokens| tokens);
    let mut service = setup.auth.token_endpoint().into_service();
    let mut await_number = 0;
    while !leave_at(await_number, &mut service).await {
        await_number += 1;
        assert!(await_number < 1_000, "the login never ends");
    }
    assert!(await_number >= 4, "too few awaits to say anything: {await_number}");
    assert!(attempts.open.load(Ordering::Relaxed) > 0, "no reservation was ever given up");
    // If each dropped login had lost a slot, ten logins at once would not find ten slots.
    let logins =
        futures_util::future::join_all((0..10).map(|_| setup.auth.token_endpoint().into_service().oneshot(login())));
    assert!(logins.await.into_iter().all(|reply| reply.unwrap().status() == 200));
}

#[tokio::test]
async fn closures_and_arcs_are_verifiers_and_may_return_token_errors() {
    let jwt = Jwt::new(tower_oauth2_password::Key::hs256([7; 32]).unwrap(), "https://api.example", "api");
    let closure = |login: Login| async move {
        match login.username.as_str() {
            "alice" => Err(TokenError::custom("mfa_required", "A second factor is needed")
                .with_field("mfa_token", "f00")
                .into()),
            _ => Ok(Verdict::Denied),
        }
    };
    let layer = TokenEndpointLayer::new(Arc::new(closure), jwt);
    let reply = layer.into_service().oneshot(login()).await.unwrap();
    assert_eq!(reply.status(), 400);
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&json["error"], &json["mfa_token"]), (&"mfa_required".into(), &"f00".into()));
}

#[tokio::test]
async fn a_custom_error_format_keeps_the_required_headers() {
    let auth = in_memory().auth.with_error_response(|error| {
        let mut response = Response::new(Bytes::from(format!("{{\"detail\":\"{}\"}}", error.code())));
        *response.status_mut() = error.status();
        response
    });
    let wrong = Request::post("/token").header("content-type", "application/x-www-form-urlencoded");
    let wrong = wrong.body(Full::<Bytes>::from(format!("{LOGIN}&client_id=nobody"))).unwrap();
    let reply = auth.token_endpoint().into_service().oneshot(wrong).await.unwrap();
    assert_eq!(reply.headers()["cache-control"], "no-store");
    assert_eq!(reply.headers()["www-authenticate"], "Basic realm=\"token\"");
    assert_eq!(reply.into_body().collect().await.unwrap().to_bytes(), r#"{"detail":"invalid_client"}"#);
}

#[tokio::test]
async fn the_guard_refuses_before_the_handler_and_the_body() {
    let inner =
        service_fn(|_: Request<Full<Bytes>>| async { pending::<Result<Response<Full<Bytes>>, Infallible>>().await });
    let mut service = in_memory().auth.guard().layer(inner);
    let mut future = pin!(service.call(Request::post("/").body(Full::from("secret plans")).unwrap()));
    let Poll::Ready(Ok(reply)) = poll(future.as_mut()) else { panic!("the guard waited") };
    assert_eq!(reply.status(), 401);
}

#[tokio::test]
async fn without_a_store_refresh_tokens_are_off() {
    let jwt = Jwt::new(tower_oauth2_password::Key::hs256([7; 32]).unwrap(), "https://api.example", "api");
    let verifier = |_: Login| async { Ok(tower_oauth2_password::Identity::new("alice").into()) };
    let layer = AuthorizationServer::new(verifier, jwt).with_optional_grant_type().token_endpoint();
    let json = async |body: &'static str| {
        let request = Request::post("/token").header("content-type", "application/x-www-form-urlencoded");
        let reply =
            layer.clone().into_service().oneshot(request.body(Full::<Bytes>::from(body)).unwrap()).await.unwrap();
        let body = reply.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice::<serde_json::Value>(&body).unwrap()
    };
    assert!(json(LOGIN).await.get("refresh_token").is_none());
    assert_eq!(json("grant_type=refresh_token&refresh_token=x").await["error"], "unsupported_grant_type");
    assert_eq!(json("username=alice&password=x").await["token_type"], "bearer", "FastAPI's leniency");
    assert_eq!(json("grant_type=&username=alice&password=x").await["token_type"], "bearer");
    assert_eq!(json("grant_type=Password&username=alice&password=x").await["error"], "unsupported_grant_type");
}
