//! Sign-up and password change.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::State,
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
    routing::post,
};
use serde::Deserialize;
use serde_json::json;
use tower_oauth2_password::{
    AccessToken, AuthorizationServer, BoxError, HashingPool, Login, PasswordVerifier, Secret, TokenError, Verdict,
    Verifier,
};

use crate::database::{Database, canonical};

/// For an example. NIST SP 800-63B-4 requires 15 characters if the password is the only factor, and a list of common
/// passwords to reject.
const SHORTEST_PASSWORD: usize = 8;
const LONGEST_PASSWORD: usize = 256;
const LONGEST_USERNAME: usize = 64;

pub(crate) struct Accounts {
    pub(crate) database: Database,
    pub(crate) pool: HashingPool,
    pub(crate) verifier: PasswordVerifier<Database>,
    pub(crate) auth: AuthorizationServer,
}

pub(crate) fn router(accounts: Accounts) -> Router {
    let (guard, endpoints) = (accounts.auth.guard(), accounts.auth.endpoints());
    Router::new()
        .route("/users/me/password", post(change_password))
        .route_layer(guard)
        .route("/users", post(sign_up))
        .with_state(Arc::new(accounts))
        .layer(endpoints)
}

#[derive(Deserialize)]
struct NewUser {
    username: String,
    password: Secret,
}

async fn sign_up(
    State(accounts): State<Arc<Accounts>>,
    request: Parts,
    Json(new): Json<NewUser>,
) -> Result<Response, Refusal> {
    // In lower-case ASCII no two names look alike.
    let username = canonical(&new.username);
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._+-@".contains(&byte);
    if !(1..=LONGEST_USERNAME).contains(&username.len()) || !username.bytes().all(allowed) {
        return Err(Refusal(StatusCode::BAD_REQUEST, "a username is 1 to 64 letters, digits and ._+-@"));
    }
    let password = checked(new.password)?;
    let hash = accounts.pool.hash(password, accounts.auth.client_address(&request)).await?;
    match accounts.database.add(&username, &hash).await? {
        Some(id) => Ok((StatusCode::CREATED, Json(json!({ "id": id, "username": username }))).into_response()),
        None => Err(Refusal(StatusCode::CONFLICT, "the username is taken")),
    }
}

#[derive(Deserialize)]
struct NewPassword {
    old: Secret,
    new: Secret,
}

async fn change_password(
    State(accounts): State<Arc<Accounts>>,
    Extension(token): Extension<AccessToken>,
    request: Parts,
    Json(passwords): Json<NewPassword>,
) -> Result<StatusCode, Refusal> {
    let new = checked(passwords.new)?;
    let refused = Refusal(StatusCode::FORBIDDEN, "the old password is not right");
    // A stolen token is not enough: the old password is checked as at a login.
    let Some(username) = accounts.database.username(token.subject()).await? else { return Err(refused) };
    let attempt = accounts.auth.reserve_attempt(&username, &request).await?;
    let Verdict::Granted(user) = accounts.verifier.verify(Login::new(username, passwords.old)).await? else {
        attempt.failed().await?;
        return Err(refused);
    };
    attempt.succeeded().await?;
    let hash = accounts.pool.hash(new, accounts.auth.client_address(&request)).await?;
    if !accounts.database.change_password(&user, &hash).await? {
        return Err(refused);
    }
    // The new stamp rejects the old refresh tokens already. This ends the access tokens, too.
    if let Err(error) = accounts.auth.revoke_subject(user.subject()).await {
        tracing::warn!(%error, "access tokens remain valid until they expire");
    }
    Ok(StatusCode::NO_CONTENT)
}

/// A password that is long enough, and that the token endpoint accepts.
fn checked(password: Secret) -> Result<Secret, Refusal> {
    let text = password.expose();
    if !(SHORTEST_PASSWORD..=LONGEST_PASSWORD).contains(&text.chars().count()) {
        return Err(Refusal(StatusCode::BAD_REQUEST, "a password has 8 to 256 characters"));
    }
    if text.contains(char::is_control) {
        return Err(Refusal(StatusCode::BAD_REQUEST, "a password has no control characters"));
    }
    Ok(password)
}

/// An error response.
struct Refusal(StatusCode, &'static str);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        Self(error.status(), "try again later")
    }
}

impl From<BoxError> for Refusal {
    fn from(error: BoxError) -> Self {
        tracing::warn!(%error, "users cannot be managed now");
        Self(StatusCode::SERVICE_UNAVAILABLE, "try again in a moment")
    }
}
