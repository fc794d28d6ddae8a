//! All that this app needs for authentication.

use std::net::SocketAddr;

use axum::{
    Json, Router,
    extract::{ConnectInfo, FromRequestParts, Path, State},
    http::{
        HeaderValue, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE},
        request::Parts,
    },
    routing::{delete, get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tower_http::cors::{Any, CorsLayer};
use tower_oauth2_password::{
    AccessToken, AttemptLimits, AuthorizationServer, BoxError, ClientAddress, ForwardedHeader, HandlerScope,
    HashingPool, Identity, Jwt, Key, PasswordVerifier, RefreshTokens, RequiredScope, Scoped, Secret, StoredUser,
    TokenError, Usernames, Users,
};

use crate::{
    App,
    database::{Database, Stores, random_id},
    index, me,
    problem::{Problem, Result, render},
};

/// Where the single-page app comes from.
const ORIGIN: HeaderValue = HeaderValue::from_static("https://app.example");

/// `secret` must be the same after a restart.
pub(crate) fn server(database: Database, stores: Stores, secret: &str) -> Result<AuthorizationServer, BoxError> {
    let jwt = Jwt::new(Key::hs256(secret)?, "http://127.0.0.1:8000", "api");
    let peer = ClientAddress::peer(|peer: &ConnectInfo<SocketAddr>| peer.0);
    // A reverse proxy on this machine adds the address of its peer to this header.
    let address = peer.behind_proxies(ForwardedHeader::XForwardedFor, ["127.0.0.1", "::1"])?;
    let limits = AttemptLimits::new(stores.attempts, address).with_key(format!("attempts {secret}"));
    Ok(AuthorizationServer::new(PasswordVerifier::new(database), jwt)
        .with_usernames(Usernames::new(canonical))
        .with_attempt_limits(limits)
        .with_refresh_tokens(RefreshTokens::new(stores.refresh_tokens))
        .with_deny_list(stores.deny_list)
        .with_error_response(render))
}

pub(crate) fn router(app: App) -> Router {
    let cors = CorsLayer::new().allow_origin(ORIGIN).allow_methods(Any).allow_headers([AUTHORIZATION, CONTENT_TYPE]);
    Router::new()
        .route("/users/me", get(me))
        .route("/users/me/password", post(change_password))
        .route("/users/me/sessions", delete(log_out_everywhere))
        .route("/users/{id}", delete(close_account))
        .route_layer(app.auth.guard())
        .route("/", get(index).layer(app.auth.guard().with_optional_token()))
        .route("/users", post(sign_up))
        .layer(app.auth.endpoints())
        // Around the guard and the endpoints, so that the page can read what they refuse, too.
        .layer(cors)
        .with_state(app)
}

/// The form in which usernames are stored, looked up and limited: `Carol@Example.com` is `carol@example.com`.
fn canonical(typed: &str) -> Option<String> {
    // In lower-case ASCII no two names look alike.
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._+-@".contains(&byte);
    let name = typed.trim().to_ascii_lowercase();
    ((1..=64).contains(&name.len()) && name.bytes().all(allowed)).then_some(name)
}

/// A user of the table. As an extractor, the one who is logged in.
pub(crate) struct User {
    pub(crate) name: String,
    stored: StoredUser,
}

/// The user whose `column` has this value, unless the account is disabled.
async fn find(database: &Database, column: &str, value: &str) -> Result<Option<User>, BoxError> {
    let select = "SELECT id, username, password_hash, scope, stamp FROM users WHERE disabled = 0 AND";
    let row = database.row(&format!("{select} {column} = $1"), &[value]).await?;
    let Some([id, name, hash, scope, stamp]) = row else { return Ok(None) };
    let identity = Identity::new(id).with_scope(scope.parse()?).with_security_stamp(stamp);
    Ok(Some(User { name, stored: StoredUser::new(identity).with_password_hash(hash) }))
}

/// Replaces a hash, if it still is the stored one.
const REPLACE: &str = "UPDATE users SET password_hash = $1 WHERE id = $2 AND password_hash = $3";

impl Users for Database {
    async fn find(&self, username: &str) -> Result<Option<StoredUser>, BoxError> {
        Ok(find(self, "username", username).await?.map(|user| user.stored))
    }

    async fn find_subject(&self, subject: &str) -> Result<Option<StoredUser>, BoxError> {
        Ok(find(self, "id", subject).await?.map(|user| user.stored))
    }

    async fn update_password_hash(&self, user: &StoredUser, new: &str) -> Result<(), BoxError> {
        let old = user.password_hash().unwrap_or_default();
        self.change(REPLACE, &[new, user.identity().subject(), old]).await.map(drop)
    }
}

impl FromRequestParts<App> for User {
    type Rejection = Problem;

    async fn from_request_parts(request: &mut Parts, app: &App) -> Result<Self> {
        // Nobody, if a client got the token for itself.
        let token = AccessToken::from_parts(request)?;
        let user = find(&app.database, "id", token.user().unwrap_or_default()).await?;
        user.ok_or_else(|| Problem::new(StatusCode::FORBIDDEN, "account_disabled", "The account is disabled"))
    }
}

#[derive(Deserialize)]
struct NewUser {
    username: String,
    password: Secret,
}

async fn sign_up(app: State<App>, request: Parts, Json(new): Json<NewUser>) -> Result<(StatusCode, Json<Value>)> {
    let refused = TokenError::invalid_request("A username is 1 to 64 letters, digits and ._+-@");
    let name = canonical(&new.username).ok_or(refused)?;
    let hash = HashingPool::process_wide().hash(checked(new.password)?, app.auth.client_address(&request)).await?;
    let id = random_id()?;
    // The database decides whether the name is taken, so there is no race.
    let insert = "INSERT INTO users (id, username, password_hash) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    if app.database.change(insert, &[&id, &name, &hash]).await? == 0 {
        return Err(Problem::new(StatusCode::CONFLICT, "username_taken", "The username is taken"));
    }
    Ok((StatusCode::CREATED, Json(json!({ "id": id, "username": name }))))
}

/// For an example. NIST SP 800-63B-4 requires 15 characters if the password is the only factor, and a list of common
/// passwords to reject.
fn checked(password: Secret) -> Result<Secret, TokenError> {
    let fits = (8..=256).contains(&password.expose().chars().count());
    fits.then_some(password).ok_or_else(|| TokenError::invalid_request("A password has 8 to 256 characters"))
}

#[derive(Deserialize)]
struct NewPassword {
    old: Secret,
    new: Secret,
}

async fn change_password(user: User, app: State<App>, request: Parts, body: Json<NewPassword>) -> Result<StatusCode> {
    let (pool, address) = (HashingPool::process_wide(), app.auth.client_address(&request));
    let (id, hash) = (user.stored.identity().subject(), user.stored.password_hash().unwrap_or_default());
    let refused = || Problem::new(StatusCode::FORBIDDEN, "wrong_password", "The old password is not right");
    let Json(NewPassword { old, new }) = body;
    // A stolen token is not enough: the old password is checked as at a login.
    let attempt = app.auth.reserve_attempt(&user.name, &request).await?;
    if !pool.verify(old, Some(hash), address).await? {
        attempt.failed().await?;
        return Err(refused());
    }
    attempt.succeeded().await?;
    // Of two changes at once, one wins.
    if app.database.change(REPLACE, &[&pool.hash(checked(new)?, address).await?, id, hash]).await? == 0 {
        return Err(refused());
    }
    app.auth.end_other_sessions(id, AccessToken::from_parts(&request)?.session_id().unwrap_or_default()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn log_out_everywhere(token: AccessToken, app: State<App>) -> Result<StatusCode> {
    app.auth.revoke_subject(token.subject()).await?;
    Ok(StatusCode::NO_CONTENT)
}

struct Admin;

impl HandlerScope for Admin {
    const REQUIRED: RequiredScope = RequiredScope::all_of("admin");
}

async fn close_account(_: Scoped<Admin>, app: State<App>, Path(id): Path<String>) -> Result<StatusCode> {
    app.database.change("UPDATE users SET disabled = 1 WHERE id = $1", &[&id]).await?;
    app.auth.revoke_subject(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
