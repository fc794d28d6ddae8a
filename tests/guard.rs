//! What the guard asks for beyond a valid token, what handlers ask of the guard, and what the app itself is asked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::{
    future::pending,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::FromRequestParts,
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use http::{HeaderMap, Method, Request, StatusCode, header::WWW_AUTHENTICATE, request::Parts};
use http_body::Frame;
use http_body_util::BodyExt;
use test_support::log::Log;
use tower::ServiceExt;
use tower_oauth2_password::{
    AccessToken, Asks, AuthorizationServer, BearerError, BearerLayer, BoxError, HandlerScope, Identity, InvalidToken,
    Jwt, Key, Login, RefreshTokens, RequiredScope, Scoped, Secret, TokenError, TokenValidator, Verdict, Verifier,
    store::{Denial, Denied, DenyList, MemoryDenyList, MemoryRefreshStore},
};

const READ: RequiredScope = RequiredScope::all_of("read");
const WRITE: RequiredScope = RequiredScope::all_of("write");

/// A token is its subject, a colon, and its scope.
fn token(text: &str) -> Result<AccessToken, InvalidToken> {
    let (subject, scope) = text.split_once('.').ok_or(InvalidToken::Malformed)?;
    let scope = scope.replace('.', " ").parse().map_err(|_| InvalidToken::Malformed)?;
    Ok(AccessToken::new(subject).with_id(text).with_scope(scope))
}

fn guard() -> BearerLayer {
    BearerLayer::new(token).with_realm("members").unwrap().with_error_response(|error| {
        let mut response = http::Response::new(format!("{} {}", error.status().as_u16(), error.code()).into());
        *response.status_mut() = error.status();
        response
    })
}

/// Status, body and challenge.
async fn ask(app: &Router, request: Request<Body>) -> (u16, String, String) {
    let reply = app.clone().oneshot(request).await.unwrap();
    let challenge = reply.headers().get(WWW_AUTHENTICATE).map_or("", |value| value.to_str().unwrap()).to_owned();
    let status = reply.status().as_u16();
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap(), challenge)
}

fn request(method: Method, authorization: &str) -> Request<Body> {
    let request = Request::builder().method(method);
    let request =
        if authorization.is_empty() { request } else { request.header("authorization", authorization.to_owned()) };
    request.body(Body::empty()).unwrap()
}

async fn status(app: &Router, method: Method, authorization: &str) -> u16 {
    ask(app, request(method, authorization)).await.0
}

async fn name(token: Option<AccessToken>) -> String {
    token.map_or("stranger".to_owned(), |token| token.subject().to_owned())
}

#[tokio::test]
async fn each_method_may_require_a_scope_of_its_own() {
    let guard = guard()
        .with_required_scope(READ)
        .with_required_scope_for(Method::POST, WRITE)
        .with_required_scope_for(Method::DELETE, RequiredScope::any_of("write admin"))
        .with_required_scope_for(Method::GET, "list".parse::<tower_oauth2_password::Scope>().unwrap());
    let app = Router::new().route("/", any(async || "in").layer(guard));
    for (method, scopes, expected) in [
        (Method::PUT, "read", 200),
        (Method::PUT, "write", 403),
        (Method::GET, "read.list", 200),
        (Method::GET, "read", 403),
        (Method::HEAD, "read", 403),
        (Method::HEAD, "read.list", 200),
        (Method::POST, "read", 403),
        (Method::POST, "read.write", 200),
        (Method::DELETE, "read.admin", 200),
        (Method::DELETE, "read.write", 200),
        (Method::DELETE, "read.list", 403),
    ] {
        let got = status(&app, method.clone(), &format!("Bearer alice.{scopes}")).await;
        assert_eq!(got, expected, "{method} {scopes}");
    }
    let refused = ask(&app, request(Method::DELETE, "Bearer alice.read")).await;
    assert!(refused.2.ends_with(", scope=\"write admin\""), "{refused:?}");
}

#[tokio::test]
async fn an_optional_token_may_be_missing_and_must_not_be_bad() {
    let guard = guard().with_optional_token().with_required_scope_for(Method::DELETE, WRITE);
    let app = Router::new().route("/", any(name).layer(guard));
    for (method, authorization, expected) in [
        (Method::GET, "", (200, "stranger")),
        (Method::GET, "Basic eDp5", (200, "stranger")),
        (Method::GET, "Bearer alice.read", (200, "alice")),
        (Method::GET, "Bearer alice", (401, "401 invalid_token")),
        (Method::GET, "Bearer", (400, "400 invalid_request")),
        (Method::GET, "alice.read", (401, "401 ")),
        (Method::DELETE, "Bearer alice.read", (403, "403 insufficient_scope")),
        (Method::DELETE, "", (401, "401 ")),
        (Method::DELETE, "Bearer alice.write", (200, "alice")),
    ] {
        let (status, body, _) = ask(&app, request(method.clone(), authorization)).await;
        assert_eq!((status, body.as_str()), expected, "{method} {authorization}");
    }
    let mut stale = request(Method::GET, "");
    stale.extensions_mut().insert(token("mallory.write").unwrap());
    assert_eq!(ask(&app, stale).await.1, "stranger", "the guard has not seen that token");
}

#[tokio::test]
async fn a_test_of_an_app_says_in_one_line_who_is_logged_in() {
    let app = Router::new().route("/", get(name));
    // Without a guard, the request brings its token.
    let alice = Request::get("/").extension(AccessToken::new("alice")).body(Body::empty()).unwrap();
    assert_eq!(ask(&app, alice).await, (200, "alice".to_owned(), String::new()));
    // With this guard, each token is the name of its user. No password is hashed.
    let app = app.route_layer(BearerLayer::new(|name: &str| Ok(AccessToken::new(name))));
    assert_eq!(ask(&app, request(Method::GET, "Bearer bob")).await.1, "bob");
}

#[tokio::test]
async fn a_handler_that_needs_a_token_refuses_strangers_in_the_format_of_the_guard() {
    async fn me(token: AccessToken) -> String {
        token.subject().to_owned()
    }
    let app = Router::new().route("/", get(me).layer(guard().with_optional_token()));
    assert_eq!(status(&app, Method::GET, "Bearer alice.").await, 200);
    let refused = ask(&app, request(Method::GET, "")).await;
    assert_eq!(refused, (401, "401 ".to_owned(), "Bearer realm=\"members\"".to_owned()));
}

/// Everyone logs in, with a second factor if a code is sent.
struct Factors;

impl Verifier for Factors {
    async fn verify(&self, login: Login) -> Result<Verdict, BoxError> {
        let amr: &[&str] = if login.parameter("otp").is_some() { &["otp", "pwd"] } else { &["pwd"] };
        Ok(Identity::new(login.username).with_amr(amr.iter().copied()).with_claim("acr", "the app's own").into())
    }

    async fn verify_subject(&self, subject: &str) -> Result<Verdict, BoxError> {
        Ok(Identity::new(subject).with_claim("acr", "of a refresh").into())
    }
}

/// The member of a token response.
async fn granted(app: &Router, form: &str, member: &str) -> String {
    let request = Request::post("/token").header("content-type", "application/x-www-form-urlencoded");
    let (status, body, _) = ask(app, request.body(Body::from(form.to_owned())).unwrap()).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str::<serde_json::Value>(&body).unwrap()[member].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_login_with_the_factor_satisfies_the_challenge_and_refreshes_keep_it() {
    let jwt = Jwt::new(Key::hs256([7; 32]).unwrap(), "https://api.example", "api");
    let auth = AuthorizationServer::new(Factors, jwt)
        .with_login_parameter("otp")
        .unwrap()
        .with_acr("urn:example:mfa", ["pwd", "otp"])
        .unwrap();
    let app = |auth: &AuthorizationServer| {
        let guard = auth.guard().with_required_acr("urn:example:mfa").unwrap().with_max_age(Duration::from_secs(60));
        let me = async |token: AccessToken| format!("{:?} {:?}", token.acr(), token.amr().collect::<Vec<_>>());
        Router::new().route("/", get(me).layer(guard)).layer(auth.endpoints())
    };
    const LOGIN: &str = "grant_type=password&username=alice&password=p";
    const ADMITTED: &str = r#"Some("urn:example:mfa") ["otp", "pwd"]"#;
    let stateless = app(&auth);
    let weak = granted(&stateless, LOGIN, "access_token").await;
    let refused = ask(&stateless, request(Method::GET, &format!("Bearer {weak}"))).await;
    let challenge = "Bearer realm=\"api\", error=\"insufficient_user_authentication\", error_description=\"A newer or stronger \
                     login is required\", max_age=\"60\", acr_values=\"urn:example:mfa\"";
    assert_eq!((refused.0, refused.2.as_str()), (401, challenge));
    let strong = granted(&stateless, &format!("{LOGIN}&otp=123456"), "access_token").await;
    assert_eq!(ask(&stateless, request(Method::GET, &format!("Bearer {strong}"))).await.1, ADMITTED);

    let refreshed = app(&auth.with_refresh_tokens(RefreshTokens::new(MemoryRefreshStore::new())));
    for (login, expected) in [(LOGIN.to_owned(), 401), (format!("{LOGIN}&otp=123456"), 200)] {
        let refresh = granted(&refreshed, &login, "refresh_token").await;
        let refresh = format!("grant_type=refresh_token&refresh_token={refresh}");
        let token = granted(&refreshed, &refresh, "access_token").await;
        let (status, body, _) = ask(&refreshed, request(Method::GET, &format!("Bearer {token}"))).await;
        assert_eq!(status, expected, "{login}: {body}");
        assert!(status == 401 || body == ADMITTED, "{body}");
    }
}

#[tokio::test]
async fn the_last_acr_whose_factors_a_login_has_is_in_the_token() {
    let jwt = Jwt::new(Key::hs256([7; 32]).unwrap(), "https://api.example", "api");
    let auth = AuthorizationServer::new(Factors, jwt).with_login_parameter("otp").unwrap();
    let auth = auth.with_acr("urn:first", ["pwd"]).unwrap().with_acr("urn:mfa", ["otp", "pwd"]).unwrap();
    for (auth, otp, expected) in [
        (auth.clone(), "", "urn:first"),
        (auth.clone(), "&otp=1", "urn:mfa"),
        (auth.clone().with_acr("urn:last", ["pwd"]).unwrap(), "&otp=1", "urn:last"),
        (auth.with_acr("urn:key", ["pwd", "hwk"]).unwrap(), "&otp=1", "urn:mfa"),
    ] {
        let me = async |token: AccessToken| token.acr().unwrap().to_owned();
        let app = Router::new().route("/", get(me).layer(auth.guard())).layer(auth.endpoints());
        let form = format!("grant_type=password&username=alice&password=p{otp}");
        let token = granted(&app, &form, "access_token").await;
        assert_eq!(ask(&app, request(Method::GET, &format!("Bearer {token}"))).await.1, expected);
    }
}

#[tokio::test]
async fn claims_of_the_app_do_not_stand_for_a_stronger_or_newer_login() {
    let verifier = async |login: Login| -> Result<Verdict, BoxError> {
        let identity = Identity::new(login.username).with_amr(["pwd"]).with_claim("acr", "urn:example:mfa");
        let identity = identity.with_claim("auth_time", 4_000_000_000_u64).with_claim("tenant", "acme");
        Ok(identity.with_claim("amr", ["otp"].as_slice()).into())
    };
    let jwt = Jwt::new(Key::hs256([7; 32]).unwrap(), "https://api.example", "api");
    let auth = AuthorizationServer::new(verifier, jwt.clone());
    let with_acr = auth.clone().with_acr("urn:example:mfa", ["pwd", "otp"]).unwrap();
    for (auth, acr) in [(with_acr, None), (auth, Some("urn:example:mfa"))] {
        let app = Router::new().layer(auth.endpoints());
        let token = granted(&app, "grant_type=password&username=alice&password=p", "access_token").await;
        let token = jwt.validate(&token).unwrap();
        assert_eq!((token.acr(), token.amr().collect::<Vec<_>>()), (acr, vec!["pwd"]), "its own where none is set up");
        assert_eq!(token.claim("tenant"), Some(&"acme".into()));
        assert!(token.auth_time().unwrap() <= std::time::SystemTime::now());
    }
}

/// A token is the age of its login in seconds, or no number, and its scope.
fn aged(text: &str) -> AccessToken {
    let (age, scope) = text.split_once('.').unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = age.parse::<u64>().map(|age| ("auth_time".to_owned(), (now - age).into()));
    AccessToken::new("alice").with_scope(scope.parse().unwrap()).with_claims(claims.into_iter().collect())
}

#[tokio::test]
async fn each_kind_of_guard_refuses_an_old_login_and_then_a_missing_scope() {
    const MINUTE: Duration = Duration::from_secs(60);
    let validates = || BearerLayer::new(|text: &str| Ok(aged(text))).with_required_scope_for(Method::PUT, WRITE);
    let optional = any(name).layer(validates().with_max_age(MINUTE).with_optional_token());
    let asks = any(name).layer(validates().with_max_age(MINUTE).with_check(async |_| Ok(true)));
    let finds = BearerLayer::from_lookup(async |key: Secret| Ok(Some(aged(key.expose())))).with_max_age(MINUTE);
    let finds = any(name).layer(finds.with_required_scope_for(Method::PUT, WRITE).with_optional_token());
    for (kind, route) in [("optional", optional), ("asks", asks), ("finds", finds)] {
        let app = Router::new().route("/", route);
        for (method, authorization, expected, error) in [
            (Method::GET, "", 401, "Bearer realm=\"api\""),
            (Method::GET, "Basic eDp5", 401, "Bearer realm=\"api\""),
            (Method::GET, "Bearer 50.", 200, ""),
            (Method::GET, "Bearer 90.", 401, "required\", max_age=\"60\""),
            (Method::GET, "Bearer never.", 401, "required\", max_age=\"60\""),
            (Method::PUT, "Bearer 50.write", 200, ""),
            (Method::PUT, "Bearer 50.read", 403, "error=\"insufficient_scope\""),
            (Method::PUT, "Bearer 90.write", 401, "required\", max_age=\"60\""),
            (Method::PUT, "Bearer 90.read", 401, "required\", max_age=\"60\", scope=\"write\""),
        ] {
            let (status, _, challenge) = ask(&app, request(method.clone(), authorization)).await;
            assert_eq!(status, expected, "{kind}: {method} {authorization}");
            let is_named = challenge.ends_with(error) || (status == 403 && challenge.contains(error));
            assert!(is_named, "{kind}: {method} {authorization}: {challenge}");
        }
    }
}

struct Write;

impl HandlerScope for Write {
    const REQUIRED: RequiredScope = WRITE;
}

/// A body that must not be read.
struct Unread;

impl http_body::Body for Unread {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        panic!("the body was read")
    }
}

#[tokio::test]
async fn a_handler_refuses_a_missing_scope_before_the_body_is_read() {
    async fn add(token: Scoped<Write>, body: Bytes) -> String {
        format!("{} {}", token.subject(), body.len())
    }
    let app = Router::new().route("/", post(add).layer(guard()));
    let unread = Request::post("/").header("authorization", "Bearer alice.read").body(Body::new(Unread)).unwrap();
    let (status, body, challenge) = ask(&app, unread).await;
    assert_eq!((status, body.as_str()), (403, "403 insufficient_scope"));
    assert!(challenge.starts_with("Bearer realm=\"members\"") && challenge.ends_with("scope=\"write\""), "{challenge}");
    let sent = Request::post("/").header("authorization", "Bearer alice.write").body(Body::from("four")).unwrap();
    assert_eq!(ask(&app, sent).await.1, "alice 4");
}

#[tokio::test]
async fn an_extractor_without_a_guard_is_a_500_and_names_the_mistake() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    async fn me(_: AccessToken) {}
    async fn write(_: Scoped<Write>) {}
    let app = Router::new().route("/me", get(me)).route("/optional", get(name)).route("/write", get(write));
    for path in ["/me", "/optional", "/write"] {
        let request = Request::get(path).header("authorization", "Bearer alice.write").body(Body::empty()).unwrap();
        let (status, body, _) = ask(&app, request).await;
        assert_eq!(status, 500, "{path}");
        assert!(body.contains("server_error"), "{body}");
    }
    assert!(log.text().contains("add `.route_layer(auth.guard())`"), "{}", log.text());
}

/// A user of the app's own table.
struct User(String);

impl<S: Sync> FromRequestParts<S> for User {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let token = AccessToken::from_parts(parts).map_err(BearerError::into_response)?;
        match token.subject() {
            "mallory" => Err((StatusCode::FORBIDDEN, "your account is disabled").into_response()),
            name => Ok(Self(name.to_owned())),
        }
    }
}

#[tokio::test]
async fn an_app_loads_its_own_user_and_refuses_in_its_own_words() {
    let app = Router::new().route("/", get(async |User(name): User| name).layer(guard()));
    assert_eq!(ask(&app, request(Method::GET, "Bearer alice.")).await.1, "alice");
    let refused = ask(&app, request(Method::GET, "Bearer mallory.")).await;
    assert_eq!(refused, (403, "your account is disabled".to_owned(), String::new()));
}

#[tokio::test]
async fn a_token_error_is_a_response() {
    let app = Router::new()
        .route("/", get(async || Err::<(), _>(TokenError::too_many_attempts(Duration::from_millis(1_500)))));
    let reply = app.oneshot(request(Method::GET, "")).await.unwrap();
    assert_eq!((reply.status().as_u16(), &reply.headers()["retry-after"]), (429, &"2".parse().unwrap()));
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    assert!(body.starts_with(b"{\"error\":\"invalid_request\""), "{body:?}");
    let unauthorized = IntoResponse::into_response(TokenError::invalid_client());
    assert!(!unauthorized.headers().contains_key(WWW_AUTHENTICATE), "browsers would open a dialog");
}

/// Answers by the subject of the token.
async fn is_active(token: AccessToken) -> Result<bool, BoxError> {
    match token.subject() {
        "mallory" => Ok(false),
        "disabled" => {
            let error = TokenError::custom("account_disabled", "Ask the administrator");
            Err(error.with_status(StatusCode::FORBIDDEN).into())
        }
        "away" => Err("the database is away".into()),
        "hangs" => pending().await,
        "panics" => panic!("a bug of the app"),
        _ => Ok(true),
    }
}

#[tokio::test(start_paused = true)]
async fn the_app_is_asked_about_each_user_and_has_five_seconds() {
    let guard = guard().with_required_scope(READ).with_check(is_active).with_required_scope_for(Method::PUT, WRITE);
    let app = Router::new().route("/", any(name).layer(guard));
    for (subject, expected) in [
        ("alice", (200, "alice")),
        ("mallory", (401, "401 invalid_token")),
        ("disabled", (403, "403 account_disabled")),
        ("away", (503, "503 temporarily_unavailable")),
        ("panics", (503, "503 temporarily_unavailable")),
    ] {
        let (status, body, challenge) = ask(&app, request(Method::GET, &format!("Bearer {subject}.read"))).await;
        assert_eq!((status, body.as_str()), expected, "{subject}");
        assert_eq!(challenge.is_empty(), status != 401, "{subject}: {challenge}");
    }
    let begun = tokio::time::Instant::now();
    assert_eq!(status(&app, Method::GET, "Bearer hangs.read").await, 503);
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    for (method, authorization, expected) in [
        (Method::GET, "", 401),
        (Method::GET, "Bearer hangs.write", 403),
        (Method::GET, "Bearer hangs", 401),
        (Method::PUT, "Bearer hangs.read", 403),
    ] {
        assert_eq!(status(&app, method, authorization).await, expected, "{authorization}: not asked");
    }
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
}

fn keys() -> BearerLayer<Asks> {
    BearerLayer::from_lookup(async |key: Secret| match key.expose() {
        "hangs" => pending().await,
        "panics" => panic!("a bug of the app"),
        "away" => Err("the database is away".into()),
        "old" => Ok(Some(AccessToken::new("robot").with_expires_at(1))),
        key => Ok(token(key).ok()),
    })
}

#[tokio::test(start_paused = true)]
async fn api_keys_are_looked_up_and_then_checked_like_any_token() {
    let list = MemoryDenyList::new();
    let denial = Denial::new(Denied::Token("revoked.read"), None, "revoked", Duration::from_secs(60));
    assert!(list.deny(denial, std::time::Instant::now() + Duration::from_secs(1)).await.unwrap());
    let guard = keys().with_required_scope_for(Method::PUT, READ).with_deny_list(list).with_optional_token();
    let app = Router::new().route("/", any(name).layer(guard));
    let long = format!("Bearer {}.read", "a".repeat(4_096));
    for (authorization, expected) in [
        ("", 200),
        ("Bearer robot.read", 200),
        ("Bearer old", 401),
        ("Bearer unknown", 401),
        ("Bearer revoked.read", 401),
        ("Bearer away", 503),
        ("Bearer panics", 503),
        ("Bearer hangs", 503),
        (&long, 401),
    ] {
        assert_eq!(status(&app, Method::GET, authorization).await, expected, "{authorization}");
    }
    assert_eq!(ask(&app, request(Method::GET, "Bearer robot.read")).await.1, "robot");
    for (authorization, expected) in [("", 401), ("Bearer robot.write", 403), ("Bearer robot.read", 200)] {
        assert_eq!(status(&app, Method::PUT, authorization).await, expected, "{authorization}");
    }
    let away = app.oneshot(request(Method::GET, "Bearer away")).await.unwrap();
    assert_eq!(away.headers()["retry-after"], "1");
}

#[tokio::test]
async fn a_guard_that_asks_calls_the_service_that_was_ready() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    /// Ready once, and only the one that was asked.
    struct Once(bool);
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    impl Clone for Once {
        fn clone(&self) -> Self {
            Self(false)
        }
    }
    impl tower::Service<Request<Body>> for Once {
        type Response = Response;
        type Error = BoxError;
        type Future = std::future::Ready<Result<Response, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            self.0 = true;
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            assert!(self.0, "called without being ready");
            CALLS.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Ok(Response::new(Body::empty())))
        }
    }
    let mut service = tower::Layer::layer(&keys(), Once(false));
    for (authorization, calls) in [("Bearer robot.read", 1), ("Bearer unknown", 1), ("Bearer robot.", 2)] {
        let ready = service.ready().await.unwrap();
        tower::Service::call(ready, request(Method::GET, authorization)).await.unwrap();
        assert_eq!(CALLS.load(Ordering::Relaxed), calls, "{authorization}");
    }
}

#[test]
fn a_request_made_by_hand_needs_no_guard() {
    let mut parts = Request::new(()).into_parts().0;
    parts.extensions.insert(token("alice.read").unwrap());
    assert_eq!(AccessToken::from_parts_if_any(&parts).unwrap().unwrap().subject(), "alice");
    let error = Scoped::<Write>::from_parts(&parts).unwrap_err();
    assert_eq!(error.to_string(), "the guard refused the request: 403 Forbidden");
    let response: http::Response<Bytes> = error.into();
    let headers: &HeaderMap = response.headers();
    assert_eq!(headers["cache-control"], "no-store");
    parts.extensions.insert(token("alice.write").unwrap());
    assert!(format!("{:?}", Scoped::<Write>::from_parts(&parts).unwrap()).contains("alice"));
}
