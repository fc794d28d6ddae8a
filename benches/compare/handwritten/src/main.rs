//! The login that people write by hand with axum: `Form` reads the form, the `argon2` crate checks the password in
//! `spawn_blocking` (and allocates memory for each hash), and `jsonwebtoken` signs the token.
//!
//! It has nothing else that a login endpoint needs: no bound on waiting logins, no attempt limits, no refresh tokens.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use axum::{
    Form, Json, Router,
    extract::{FromRef, FromRequestParts, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    routing::{get, post},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

const ISSUER: &str = "http://127.0.0.1";
const AUDIENCE: &str = "compare";
const TTL: u64 = 900;

struct User {
    hash: String,
    scope: &'static str,
}

#[derive(Clone)]
struct App {
    users: Arc<HashMap<&'static str, User>>,
    /// Checked for unknown names, so that their response takes equally long.
    dummy: Arc<str>,
    encoding: Arc<EncodingKey>,
    decoding: Arc<DecodingKey>,
}

#[derive(Deserialize)]
struct Login {
    grant_type: String,
    username: String,
    password: String,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    exp: u64,
    iat: u64,
    scope: String,
}

#[derive(Serialize)]
struct Token {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    scope: String,
}

#[derive(Serialize)]
struct Failure {
    error: &'static str,
}

type Refusal = (StatusCode, Json<Failure>);

fn refusal(status: StatusCode, error: &'static str) -> Refusal {
    (status, Json(Failure { error }))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

async fn token(
    State(app): State<App>,
    Form(login): Form<Login>,
) -> Result<([(header::HeaderName, &'static str); 1], Json<Token>), Refusal> {
    if login.grant_type != "password" {
        return Err(refusal(StatusCode::BAD_REQUEST, "unsupported_grant_type"));
    }
    let user = app.users.get(login.username.as_str());
    let hash = user.map_or_else(|| app.dummy.to_string(), |user| user.hash.clone());
    let password = login.password;
    let right = tokio::task::spawn_blocking(move || {
        let hash = PasswordHash::new(&hash).unwrap();
        Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
    })
    .await
    .map_err(|_| refusal(StatusCode::INTERNAL_SERVER_ERROR, "server_error"))?;
    let Some(user) = user.filter(|_| right) else {
        return Err(refusal(StatusCode::BAD_REQUEST, "invalid_grant"));
    };
    let iat = now();
    let claims = Claims {
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: login.username,
        exp: iat + TTL,
        iat,
        scope: user.scope.to_owned(),
    };
    let access_token = encode(&Header::default(), &claims, &app.encoding)
        .map_err(|_| refusal(StatusCode::INTERNAL_SERVER_ERROR, "server_error"))?;
    let token = Token { access_token, token_type: "bearer", expires_in: TTL, scope: claims.scope };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(token)))
}

struct Bearer(Claims);

impl<S> FromRequestParts<S> for Bearer
where
    App: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = (StatusCode, [(header::HeaderName, &'static str); 1]);

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let refused = || (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer realm=\"api\"")]);
        let app = App::from_ref(state);
        let token = bearer(&parts.headers).ok_or_else(refused)?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        let token = decode::<Claims>(token, &app.decoding, &validation).map_err(|_| refused())?;
        Ok(Self(token.claims))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

#[derive(Serialize)]
struct Me {
    username: String,
    scope: String,
}

async fn me(Bearer(claims): Bearer) -> Json<Me> {
    Json(Me { username: claims.sub, scope: claims.scope })
}

fn hash(password: &str) -> String {
    Argon2::default().hash_password(password.as_bytes()).unwrap().to_string()
}

#[tokio::main]
async fn main() {
    let address = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:8001".to_owned());
    // At least 32 bytes for HS256, the same in every compared program. It protects nothing.
    let secret = std::env::var("JWT_SECRET").expect("JWT_SECRET is set by benches/compare/run");
    let users = HashMap::from([
        ("alice", User { hash: hash("wonderland123"), scope: "items:read items:write" }),
        ("bob", User { hash: hash("builder456"), scope: "items:read" }),
    ]);
    let app = App {
        users: Arc::new(users),
        dummy: hash("nobody").into(),
        encoding: Arc::new(EncodingKey::from_secret(secret.as_bytes())),
        decoding: Arc::new(DecodingKey::from_secret(secret.as_bytes())),
    };
    let router = Router::new()
        .route("/", get(|| async { "hand-written\n" }))
        .route("/token", post(token))
        .route("/users/me", get(me))
        .with_state(app);
    let listener = tokio::net::TcpListener::bind(&address).await.unwrap();
    println!("listening on http://{address}");
    axum::serve(listener, router)
        .with_graceful_shutdown(async {
            tokio::signal::ctrl_c().await.unwrap();
        })
        .await
        .unwrap();
}
