//! The server of FastAPI's tutorial page "OAuth2 scopes", with the same answers, in Rust.
//!
//! ```text
//! cargo run --example fastapi_tutorial
//! curl -d 'username=johndoe&password=secret' -d 'scope=me items' http://127.0.0.1:8000/token
//! curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8000/users/me/items/
//! ```
//!
//! Users: `johndoe` / `secret`, and `alice` / `secretalice`, a disabled one. `ADDR` is the address to listen on, and
//! `SECRET_KEY` the key to sign with, as text. `src/manual/from_fastapi.md` has the two programs side by side.
//!
//! Like the tutorial, it limits no attempts: add `with_attempt_limits`.
#![allow(missing_docs, unreachable_pub)]

use std::{env, error::Error, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{FromRequestParts, OriginalUri},
    http::{
        HeaderMap, HeaderValue, Response, StatusCode, Uri,
        header::{ALLOW, CONTENT_TYPE, HOST, LOCATION, WWW_AUTHENTICATE},
        request::Parts,
    },
    response::IntoResponse,
    routing::{get, post_service},
};
use serde::Serialize;
use serde_json::{Value, json};
use tower_oauth2_password::{
    AccessToken, Argon2Params, Asks, AuthorizationServer, BearerLayer, HashingPool, Jwt, JwtValidator, Key, KeyError,
    Login, MemoryUsers, PasswordVerifier, RequiredScope, TokenError, TokenResponse, Verdict, Verifier,
};

/// For trying only: it is public.
const DEFAULT_SECRET_KEY: &str = "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7";
const ISSUER: &str = "https://api.example";
const AUDIENCE: &str = "fastapi-tutorial";
const ACCESS_TOKEN_EXPIRES: Duration = Duration::from_secs(30 * 60);

#[derive(Serialize)]
struct User {
    username: &'static str,
    email: &'static str,
    full_name: &'static str,
    disabled: bool,
    /// Made by `pwdlib`.
    #[serde(skip)]
    hashed_password: &'static str,
}

static USERS: [User; 2] = [
    User {
        username: "johndoe",
        email: "johndoe@example.com",
        full_name: "John Doe",
        disabled: false,
        hashed_password: "$argon2id$v=19$m=65536,t=3,p=4$wagCPXjifgvUFBzq4hqe3w$CYaIb8sB+wtD+Vu/P4uod1+Qof8h+1g7bbDlBID48Rc",
    },
    User {
        username: "alice",
        email: "alicechains@example.com",
        full_name: "Alice Chains",
        disabled: true,
        hashed_password: "$argon2id$v=19$m=65536,t=3,p=4$g2/AV1zwopqUntPKJavBFw$BwpRGDCyUHLvHICnwijyX8ROGoiUPwNKZ7915MeYfCE",
    },
];

fn find_user(username: &str) -> Option<&'static User> {
    USERS.iter().find(|user| user.username == username)
}

/// The tutorial's `authenticate_user`. Like there, every requested scope is granted.
fn accounts() -> Result<impl Verifier, Box<dyn Error>> {
    // Nobody is disabled in this table: like in the tutorial, the guarded routes check that, and not the login.
    let users = MemoryUsers::from_phc(USERS.iter().map(|user| (user.username, user.hashed_password, "")))?;
    // pwdlib's parameters, so that its hashes are not replaced.
    let pool = HashingPool::new().with_params(Argon2Params::new(65_536, 3, 4)?);
    let passwords = PasswordVerifier::new(users).with_pool(pool);
    Ok(move |login: Login| {
        let (passwords, requested) = (passwords.clone(), login.scope.clone().unwrap_or_default());
        async move {
            Ok(match passwords.verify(login).await? {
                Verdict::Granted(identity) => identity.with_scope(requested).into(),
                denied => denied,
            })
        }
    })
}

/// Tokens of this server, and those that the tutorial's server signed with the same key. Their claims are `sub`, `scope` and
/// `exp`, and the key signs nothing else, so that `sub` is enough to know them by.
fn tokens(secret: &str) -> Result<Jwt, KeyError> {
    let key = Key::hs256(secret)?;
    let old = JwtValidator::new(&key, ISSUER, AUDIENCE)
        .with_untyped_tokens()
        .with_optional_id()
        .with_optional_issue_time()
        .with_optional_issuer()
        .with_optional_audience("sub", Value::is_string);
    let jwt = Jwt::new(key, ISSUER, AUDIENCE).with_ttl(ACCESS_TOKEN_EXPIRES);
    Ok(jwt.with_empty_scope().with_other_tokens(old, ACCESS_TOKEN_EXPIRES))
}

/// `Security(get_current_user, scopes=[...])`.
fn guard(auth: &AuthorizationServer, scope: &'static str) -> BearerLayer<Asks> {
    let challenge = if scope.is_empty() { "Bearer".to_owned() } else { format!("Bearer scope=\"{scope}\"") };
    let guard = auth.guard().with_required_scope(RequiredScope::all_of(scope));
    // A token may outlive its user, so the user is looked up each time.
    let guard = guard.with_check(|token| {
        let is_known = find_user(token.subject()).is_some();
        async move { Ok(is_known) }
    });
    guard.with_error_response(move |error| {
        let (challenge, detail) = match error.code() {
            "" => ("Bearer", "Not authenticated"),
            "insufficient_scope" => (challenge.as_str(), "Not enough permissions"),
            _ => (challenge.as_str(), "Could not validate credentials"),
        };
        let mut response = reply(StatusCode::UNAUTHORIZED, &json!({ "detail": detail }));
        response.headers_mut().extend(HeaderValue::from_str(challenge).map(|value| (WWW_AUTHENTICATE, value)));
        response
    })
}

/// `Depends(get_current_active_user)`.
struct ActiveUser(&'static User);

impl<S: Sync> FromRequestParts<S> for ActiveUser {
    type Rejection = axum::response::Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let token = AccessToken::from_parts(parts).map_err(IntoResponse::into_response)?;
        match find_user(token.subject()) {
            Some(user) if !user.disabled => Ok(Self(user)),
            _ => Err((StatusCode::BAD_REQUEST, Json(json!({ "detail": "Inactive user" }))).into_response()),
        }
    }
}

async fn read_users_me(ActiveUser(user): ActiveUser) -> Json<&'static User> {
    Json(user)
}

async fn read_own_items(ActiveUser(user): ActiveUser) -> Json<Value> {
    Json(json!([{ "item_id": "Foo", "owner": user.username }]))
}

/// `class Token`.
fn render_token(token: &TokenResponse) -> Response<Bytes> {
    reply(StatusCode::OK, &json!({ "access_token": token.access_token().expose(), "token_type": "bearer" }))
}

/// FastAPI's `{"detail": ...}`, with pydantic's list of faults if the form is wrong.
fn render_token_error(error: &TokenError) -> Response<Bytes> {
    let detail = if let Some(grant_type) = error.grant_type() {
        json!([{
            "type": "string_pattern_mismatch",
            "loc": ["body", "grant_type"],
            "msg": "String should match pattern '^password$'",
            "input": grant_type,
            "ctx": { "pattern": "^password$" },
        }])
    } else if !error.missing_parameters().is_empty() {
        let fault = |name| json!({ "type": "missing", "loc": ["body", name], "msg": "Field required", "input": null });
        error.missing_parameters().iter().map(fault).collect()
    } else {
        return reply(error.status(), &json!({ "detail": error.description() }));
    };
    reply(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "detail": detail }))
}

fn reply(status: StatusCode, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

const ROUTES: [&str; 4] = ["/token", "/users/me/", "/users/me/items/", "/status/"];

/// Starlette redirects a path that differs only in its last slash.
async fn not_found(uri: Uri, headers: HeaderMap) -> axum::response::Response {
    let path = uri.path();
    let other = path.strip_suffix('/').map_or_else(|| format!("{path}/"), str::to_owned);
    match headers.get(HOST).and_then(|host| host.to_str().ok()) {
        Some(host) if ROUTES.contains(&other.as_str()) => {
            let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, format!("http://{host}{other}{query}"))]).into_response()
        }
        _ => (StatusCode::NOT_FOUND, Json(json!({ "detail": "Not Found" }))).into_response(),
    }
}

async fn method_not_allowed(OriginalUri(uri): OriginalUri) -> impl IntoResponse {
    let allow = if uri.path() == "/token" { "POST" } else { "GET" };
    (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, allow)], Json(json!({ "detail": "Method Not Allowed" })))
}

fn app(secret: &str) -> Result<Router, Box<dyn Error>> {
    let auth = AuthorizationServer::new(accounts()?, tokens(secret)?)
        .with_optional_grant_type()
        .with_client_credentials_ignored()
        .with_token_response(|token, _| render_token(token))
        .with_error_response(render_token_error);
    Ok(Router::new()
        .route("/token", post_service(auth.token_endpoint().into_service()))
        .route("/users/me/", get(read_users_me).route_layer(guard(&auth, "me")))
        .route("/users/me/items/", get(read_own_items).route_layer(guard(&auth, "items me")))
        .route("/status/", get(Json(json!({ "status": "ok" }))).route_layer(guard(&auth, "")))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let secret = env::var("SECRET_KEY").unwrap_or_else(|_| {
        eprintln!("SECRET_KEY is not set: signing with a public key, for trying only");
        DEFAULT_SECRET_KEY.to_owned()
    });
    let address = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:8000".to_owned());
    let listener = tokio::net::TcpListener::bind(&address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app(&secret)?).await?;
    Ok(())
}
