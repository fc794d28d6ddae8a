//! What the layers cost a request that is not for them, and what the guard costs compared with a handwritten check.

#[path = "support/mod.rs"]
mod support;

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    hint::black_box,
    path::Path,
    pin::pin,
    process::Command,
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header::AUTHORIZATION};
use http_body_util::{Either, Empty, Full};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use support::median;
use tower::Layer;
use tower::Service;
use tower::util::MapResponseLayer;
use tower_oauth2_password::{
    AccessToken, AuthorizationServer, BearerLayer, Identity, Jwt, Key, Login, RefreshTokens, TokenIssuer, TokenRequest,
    TokenValidator, Verdict, store::MemoryRefreshStore,
};

const ROUNDS: usize = 101;
const CALLS: u32 = 10_000;
const SECRET: [u8; 32] = [7; 32];
const ISSUER: &str = "https://api.example";
/// `index:calls`: this process only makes these calls, so that its allocations can be counted from outside.
const COUNTED: &str = "PASS_THROUGH_COUNTED";
/// Counts calls of malloc, calloc and realloc: a counting allocator would need `unsafe`, which this package forbids.
const MEMUSAGE: &[&str] = &["/lib/x86_64-linux-gnu/libmemusage.so", "/lib/aarch64-linux-gnu/libmemusage.so"];

type Body = Empty<Bytes>;

/// The bare inner service.
#[derive(Clone)]
struct Inner;

impl Service<Request<Body>> for Inner {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        black_box(&request);
        ready(Ok(Response::new(Body::new())))
    }
}

/// The guard as people write it by hand, with keys made once.
struct Handwritten {
    inner: Inner,
    key: DecodingKey,
    validation: Validation,
}

#[derive(Clone, Deserialize)]
#[expect(dead_code, reason = "a handler would read them")]
struct Claims {
    sub: String,
    scope: String,
    jti: String,
    exp: u64,
}

impl Handwritten {
    fn new() -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&["api"]);
        validation.leeway = 0;
        Self { inner: Inner, key: DecodingKey::from_secret(&SECRET), validation }
    }

    fn check(&self, request: &Request<Body>) -> Option<Claims> {
        let token = request.headers().get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
        jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation).ok().map(|data| data.claims)
    }
}

impl Service<Request<Body>> for Handwritten {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match self.check(&request) {
            Some(claims) => {
                request.extensions_mut().insert(claims);
                self.inner.call(request)
            }
            None => {
                let mut response = Response::new(Body::new());
                *response.status_mut() = StatusCode::UNAUTHORIZED;
                ready(Ok(response))
            }
        }
    }
}

/// Something to measure, and the same case without it.
struct Case {
    name: &'static str,
    without: usize,
    run: Box<dyn FnMut(u32)>,
}

fn case<S, R>(name: &'static str, without: usize, mut service: S, request: impl Fn() -> Request<Body> + 'static) -> Case
where
    S: Service<Request<Body>, Response = Response<R>, Error = Infallible> + 'static,
    R: 'static,
{
    let run = move |calls| {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..calls {
            assert!(service.poll_ready(&mut cx).is_ready());
            let mut call = pin!(service.call(black_box(request())));
            let Poll::Ready(Ok(response)) = call.as_mut().poll(&mut cx) else { panic!("{name} is not ready") };
            assert_eq!(response.status(), StatusCode::OK);
            black_box(response);
        }
    };
    Case { name, without, run: Box::new(run) }
}

fn request(method: Method, uri: &'static str, bearer: Option<&str>) -> impl Fn() -> Request<Body> + 'static {
    let uri = Uri::from_static(uri);
    let bearer = bearer.map(|token| HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    move || {
        let mut request = Request::new(Body::new());
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri.clone();
        if let Some(bearer) = &bearer {
            request.headers_mut().insert(AUTHORIZATION, bearer.clone());
        }
        request
    }
}

/// The output of a future that never waits.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let Poll::Ready(value) = pin!(future).poll(&mut Context::from_waker(Waker::noop())) else { panic!("it waits") };
    value
}

fn cases() -> Vec<Case> {
    let jwt = Jwt::new(Key::hs256(SECRET).unwrap(), ISSUER, "api");
    let mut wanted = TokenRequest::new("alice");
    wanted.scope = "items:read items:write".parse().unwrap();
    let token = at_once(jwt.issue(wanted)).unwrap().token.expose().to_owned();
    let known: AccessToken = jwt.validate(&token).unwrap();

    let verifier = |login: Login| async move { Ok(Verdict::from(Identity::new(login.username))) };
    let auth = AuthorizationServer::new(verifier, jwt.clone())
        .with_refresh_tokens(RefreshTokens::new(MemoryRefreshStore::new()));
    let (endpoint, endpoints) = (auth.token_endpoint(), auth.endpoints());
    let any = BearerLayer::new(move |_: &str| Ok(known.clone()));
    let guard = BearerLayer::new(jwt);

    // Any layer that may respond instead of the inner service has to wrap its responses.
    let either = MapResponseLayer::new(|response: Response<Body>| response.map(Either::<Body, Full<Bytes>>::Left));

    let get = || request(Method::GET, "/users/me", None);
    let post = || request(Method::POST, "/items", None);
    let guarded = || request(Method::GET, "/users/me", Some(&token));
    vec![
        case("GET /users/me, bare", 0, Inner, get()),
        case("  tower's MapResponse, body Either", 0, either.layer(Inner), get()),
        case("  token endpoint", 0, endpoint.layer(Inner), get()),
        case("  token and revocation endpoint", 0, endpoints.layer(Inner), get()),
        case("POST /items, bare", 4, Inner, post()),
        case("  token endpoint", 4, endpoint.layer(Inner), post()),
        case("  token and revocation endpoint", 4, endpoints.layer(Inner), post()),
        case("GET with a bearer token, bare", 7, Inner, guarded()),
        case("  guard that accepts any token", 7, any.layer(Inner), guarded()),
        case("  hand-written jsonwebtoken::decode", 7, Handwritten::new(), guarded()),
        case("  guard with Jwt, HS256", 7, guard.layer(Inner), guarded()),
    ]
}

/// Allocations per call, from the difference between two processes of which one makes more calls.
fn allocations(index: usize) -> Option<f64> {
    let library = MEMUSAGE.iter().find(|path| Path::new(path).exists())?;
    let count = |calls: u32| {
        let program = std::env::current_exe().unwrap();
        let counted = format!("{index}:{calls}");
        let output = Command::new(program).env(COUNTED, counted).env("LD_PRELOAD", library).output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        // "malloc|<colour>  1701  106839  0": the first number after the bar and its colour is the number of calls.
        let calls = ["malloc|", "realloc|", "calloc|"].map(|name| {
            let row = text.lines().find_map(|line| line.split_once(name));
            let (_, row) = row.unwrap_or_else(|| panic!("libmemusage did not count {name}: {text}"));
            row.split_whitespace().find_map(|word| word.parse::<u64>().ok()).unwrap()
        });
        calls.iter().sum::<u64>()
    };
    Some((count(11_000) as f64 - count(1_000) as f64) / 10_000.0)
}

/// Instructions per call as callgrind counts them, in the same way.
fn instructions(index: usize) -> Option<f64> {
    let count = |calls: u32| {
        let program = std::env::current_exe().unwrap();
        let counted = format!("{index}:{calls}");
        let arguments = ["--tool=callgrind", "--callgrind-out-file=/dev/null"];
        let output = Command::new("valgrind").args(arguments).arg(program).env(COUNTED, counted).output().ok()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let row = text.lines().find_map(|line| line.split_once("Collected : "));
        row.and_then(|(_, count)| count.trim().parse::<u64>().ok())
    };
    Some((count(11_000)? as f64 - count(1_000)? as f64) / 10_000.0)
}

fn main() {
    let mut cases = cases();
    if let Ok(counted) = std::env::var(COUNTED) {
        let (index, calls) = counted.split_once(':').unwrap();
        (cases[index.parse::<usize>().unwrap()].run)(calls.parse().unwrap());
        return;
    }
    cases.iter_mut().for_each(|case| (case.run)(CALLS));
    let mut nanos = vec![Vec::new(); cases.len()];
    for _ in 0..ROUNDS {
        for (case, nanos) in cases.iter_mut().zip(&mut nanos) {
            let started = Instant::now();
            (case.run)(CALLS);
            nanos.push(started.elapsed().as_nanos() as f64 / f64::from(CALLS));
        }
    }
    // The median of the differences within each round: a slow moment hits neighbours alike.
    let over = |index: usize| {
        let pairs = nanos[index].iter().zip(&nanos[cases[index].without]);
        median(&pairs.map(|(with, without)| with - without).collect::<Vec<_>>())
    };
    let columns = ["ns a call", "over bare", "allocations", "over bare", "instructions", "over bare"];
    println!("{:<36}{}", "", columns.map(|column| format!("{column:>13}")).concat());
    let counts: Vec<_> = (0..cases.len()).map(|index| [allocations(index), instructions(index)]).collect();
    for (index, case) in cases.iter().enumerate() {
        print!("{:<36}{:>13.1}{:>13.1}", case.name, median(&nanos[index]), over(index));
        for (count, bare) in counts[index].iter().zip(counts[case.without]) {
            match count.zip(bare) {
                Some((count, bare)) => print!("{count:>13.1}{:>13.1}", count - bare),
                None => print!("{:>13}{:>13}", "-", "-"),
            }
        }
        println!();
    }
    println!("Allocations are counted by glibc's libmemusage.so, instructions by valgrind; - where it is not here.");
    let last = cases.len() - 1;
    println!("\nBearerLayer with Jwt takes {:.2} of the hand-written check (over bare).", over(last) / over(last - 1));
}
