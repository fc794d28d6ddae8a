//! Users in a database: sign-up, login, an outdated hash renewed at login, a password change that ends all sessions.
//!
//!     cargo run --example sqlite
//!     curl -H 'content-type: application/json' -d '{"username":"carol","password":"through the looking glass"}' http://127.0.0.1:8000/users
//!     curl -d 'grant_type=password&username=carol' --data-urlencode 'password=through the looking glass' http://127.0.0.1:8000/token
//!     curl -H "authorization: Bearer $TOKEN" http://127.0.0.1:8000/users/me
//!     curl -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' \
//!          -d '{"old":"through the looking glass","new":"down the rabbit hole"}' http://127.0.0.1:8000/users/me/password
//!
//! It keeps users in memory unless `DATABASE_URL` says otherwise: `sqlite://users.db?mode=rwc`, or the URL of a Postgres
//! database. Who may not log in any more: `UPDATE users SET disabled = 1 WHERE username = 'carol'`.

use std::{env, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use serde::Deserialize;
use sqlx::{AnyPool, Row, any::AnyPoolOptions};
use tokio::net::TcpListener;
use tower_oauth2_password::{
    AccessToken, BearerLayer, BoxError, HashingPool, Identity, Jwt, Key, Login, PasswordVerifier, RefreshTokens,
    Secret, TokenEndpointLayer, User, Users, Verdict, Verifier, VerifyError, store::MemoryRefreshStore,
};

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS users (
    id TEXT PRIMARY KEY,
    username TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    scope TEXT NOT NULL DEFAULT '',
    disabled BIGINT NOT NULL DEFAULT 0,
    stamp BIGINT NOT NULL DEFAULT 0
)";
/// NIST SP 800-63B-4, section 3.1.1.2, for a password that is the only factor.
const SHORTEST_PASSWORD: usize = 15;

/// The table, asked in SQL that SQLite and Postgres both speak.
#[derive(Clone)]
struct Accounts(AnyPool);

impl Accounts {
    async fn find_by(&self, query: &'static str, value: &str) -> Result<Option<User>, BoxError> {
        let Some(row) = sqlx::query(query).bind(value).fetch_optional(&self.0).await? else { return Ok(None) };
        // Names may change hands; the id in tokens does not. The stamp changes with the password.
        let identity = Identity::new(row.try_get::<String, _>("id")?)
            .with_scope(row.try_get::<&str, _>("scope")?.parse()?)
            .with_security_stamp(row.try_get::<i64, _>("stamp")?.to_string());
        let user = User::new(identity).with_password_hash(row.try_get::<String, _>("password_hash")?);
        Ok(Some(user.with_disabled(row.try_get::<i64, _>("disabled")? != 0)))
    }

    async fn username(&self, id: &str) -> Result<Option<String>, BoxError> {
        let row = sqlx::query("SELECT username FROM users WHERE id = $1").bind(id).fetch_optional(&self.0).await?;
        Ok(row.map(|row| row.try_get("username")).transpose()?)
    }

    /// Whether the name was free.
    async fn insert(&self, id: &str, username: &str, hash: &str) -> Result<bool, BoxError> {
        let insert = "INSERT INTO users (id, username, password_hash) VALUES ($1, $2, $3)";
        match sqlx::query(insert).bind(id).bind(username).bind(hash).execute(&self.0).await {
            Ok(_) => Ok(true),
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn set_password(&self, id: &str, hash: &str) -> Result<(), BoxError> {
        let update = "UPDATE users SET password_hash = $1, stamp = stamp + 1 WHERE id = $2";
        sqlx::query(update).bind(hash).bind(id).execute(&self.0).await?;
        Ok(())
    }
}

impl Users for Accounts {
    async fn find(&self, username: &str) -> Result<Option<User>, BoxError> {
        self.find_by("SELECT id, password_hash, scope, disabled, stamp FROM users WHERE username = $1", username).await
    }

    async fn find_subject(&self, subject: &str) -> Result<Option<User>, BoxError> {
        self.find_by("SELECT id, password_hash, scope, disabled, stamp FROM users WHERE id = $1", subject).await
    }

    async fn update_password_hash(&self, user: &User, new: &str) -> Result<(), BoxError> {
        // Only if it still is the hash that was checked: the password may have been changed meanwhile.
        let update = "UPDATE users SET password_hash = $1 WHERE id = $2 AND password_hash = $3";
        let id = user.identity().subject();
        sqlx::query(update).bind(new).bind(id).bind(user.password_hash()).execute(&self.0).await?;
        Ok(())
    }
}

#[derive(Clone)]
struct App {
    accounts: Accounts,
    hashing: HashingPool,
    refresh_tokens: RefreshTokens,
}

impl App {
    fn verifier(&self) -> PasswordVerifier<Accounts> {
        PasswordVerifier::new(self.accounts.clone()).with_pool(self.hashing.clone())
    }
}

type Answer<T> = Result<T, (StatusCode, &'static str)>;

fn unavailable(error: impl Into<BoxError>) -> (StatusCode, &'static str) {
    eprintln!("{}", error.into());
    (StatusCode::SERVICE_UNAVAILABLE, "try again later\n")
}

fn check_length(password: &Secret) -> Answer<()> {
    if password.expose().chars().count() < SHORTEST_PASSWORD {
        return Err((StatusCode::BAD_REQUEST, "a password needs 15 characters or more\n"));
    }
    Ok(())
}

#[derive(Deserialize)]
struct SignUp {
    username: String,
    password: String,
}

async fn sign_up(State(app): State<App>, Json(form): Json<SignUp>) -> Answer<StatusCode> {
    let password = Secret::new(form.password);
    check_length(&password)?;
    if form.username.is_empty() || form.username.chars().any(char::is_control) {
        return Err((StatusCode::BAD_REQUEST, "a username may not be empty or hold control characters\n"));
    }
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(unavailable)?;
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let hash = app.hashing.hash(password).await.map_err(unavailable)?;
    match app.accounts.insert(&id, &form.username, &hash).await.map_err(unavailable)? {
        true => Ok(StatusCode::CREATED),
        false => Err((StatusCode::CONFLICT, "the name is taken\n")),
    }
}

#[derive(Deserialize)]
struct PasswordChange {
    old: String,
    new: String,
}

async fn change_password(
    State(app): State<App>,
    Extension(token): Extension<AccessToken>,
    Json(form): Json<PasswordChange>,
) -> Answer<StatusCode> {
    let new = Secret::new(form.new);
    check_length(&new)?;
    let gone = (StatusCode::NOT_FOUND, "the account is gone\n");
    let username = app.accounts.username(token.subject()).await.map_err(unavailable)?.ok_or(gone)?;
    match app.verifier().verify(Login::new(username, form.old)).await {
        Ok(Verdict::Granted(_)) => {}
        Err(error @ VerifyError::Unavailable(_)) => return Err(unavailable(error)),
        _ => return Err((StatusCode::FORBIDDEN, "the old password is wrong\n")),
    }
    let hash = app.hashing.hash(new).await.map_err(unavailable)?;
    app.accounts.set_password(token.subject(), &hash).await.map_err(unavailable)?;
    // The stamp ends the sessions already; this ends them without waiting for their next refresh.
    app.refresh_tokens.revoke_subject(token.subject()).await.map_err(unavailable)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn me(State(app): State<App>, Extension(token): Extension<AccessToken>) -> Answer<String> {
    let username = app.accounts.username(token.subject()).await.map_err(unavailable)?;
    username.ok_or((StatusCode::NOT_FOUND, "the account is gone\n"))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    sqlx::any::install_default_drivers();
    let url = env::var("DATABASE_URL").unwrap_or_else(|_| "sqlite::memory:".to_owned());
    // Each connection to SQLite's memory is a database of its own.
    let connections = if url.contains(":memory:") { 1 } else { 8 };
    let pool = AnyPoolOptions::new()
        .max_connections(connections)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(Duration::from_secs(2))
        .connect(&url)
        .await?;
    sqlx::query(SCHEMA).execute(&pool).await?;

    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    let jwt = Jwt::new(Key::hs256(secret)?, "http://127.0.0.1:8000", "api");
    let app = App {
        accounts: Accounts(pool),
        hashing: HashingPool::new(),
        refresh_tokens: RefreshTokens::new(MemoryRefreshStore::new()),
    };
    let token_endpoint =
        TokenEndpointLayer::new(app.verifier(), jwt.clone()).with_refresh_tokens(app.refresh_tokens.clone());
    let router = Router::new()
        .route("/users/me", get(me))
        .route("/users/me/password", post(change_password))
        .route_layer(BearerLayer::new(jwt))
        .route("/users", post(sign_up))
        .layer(token_endpoint)
        .with_state(app);

    let listener = TcpListener::bind(env::var("ADDR").as_deref().unwrap_or("127.0.0.1:8000")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, router).await?;
    Ok(())
}
