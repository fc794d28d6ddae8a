//! Passkeys: after a login with the password, a user adds one, and logs in with it from then on, without a name or a password.
//!
//!     cargo run --manifest-path examples/passkeys/Cargo.toml
//!
//! Open <http://localhost:8000>, and log in as alice / wonderland123 or bob / builder456. Browsers allow passkeys on `localhost`
//! without TLS, but not on 127.0.0.1. Without a fingerprint reader, use Chromium's virtual one: developer tools, "WebAuthn".
//!
//! A grant of the app (RFC 6749, section 4.5) takes what the passkey signed. Passkeys and challenges are in memory. Several
//! processes keep them in their database.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod challenges;
mod grant;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{env, net::SocketAddr};

use axum::extract::{ConnectInfo, Path, State};
use axum::http::{StatusCode, header, request::Parts};
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower_oauth2_password::{
    AccessToken, AttemptLimits, AuthorizationServer, BoxError, ClientAddress, Jwt, Key, MemoryUsers, PasswordVerifier,
    TokenError,
    store::{MemoryAttemptStore, MemoryDenyList},
};
use webauthn_rs::prelude::{RegisterPublicKeyCredential, Url, Uuid, WebauthnBuilder};

use self::challenges::{Challenges, locked, network};
use self::grant::{Passkeys, Row, refused};

const ALICE: &str = "$argon2id$v=19$m=19456,t=2,p=1$KtZ/zJOv10oETt4938BfPw$gQMO1zPMSvoazFlQqQALdbiJLvbHiIidHnyyT4KiPKQ";
const BOB: &str = "$argon2id$v=19$m=19456,t=2,p=1$MQM28hUvXTkEhkCY7y2AFQ$SIgGn4kv2yocnG/YF/0PHmiJgEf7cS5sEILE/6hOzqg";

/// Nothing from elsewhere, nothing inline, and no frame around the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

#[derive(Clone)]
struct App {
    auth: AuthorizationServer,
    passkeys: Arc<Passkeys>,
}

async fn start(token: AccessToken, State(app): State<App>) -> Result<Json<Value>, TokenError> {
    let (user, rows) = (token.subject(), locked(&app.passkeys.rows));
    let own: Vec<&Row> = rows.iter().filter(|row| row.subject == user).collect();
    if own.len() >= 10 {
        return Err(TokenError::invalid_request("There are ten passkeys: remove one first"));
    }
    let known = own.iter().map(|row| row.passkey.cred_id().clone()).collect();
    let started =
        app.passkeys.webauthn.start_passkey_registration(app.passkeys.handle_of(user), user, user, Some(known));
    let (mut options, state) = started.map_err(refused)?;
    if let Some(wanted) = &mut options.public_key.authenticator_selection {
        // The passkey names its user, so that the login need not ask.
        (wanted.resident_key, wanted.require_resident_key) = (None, true);
    }
    app.passkeys.registrations.put(user, user.to_owned(), state)?;
    Ok(Json(json!(options.public_key)))
}

async fn finish(
    token: AccessToken,
    State(app): State<App>,
    Json(made): Json<RegisterPublicKeyCredential>,
) -> Result<(), TokenError> {
    let (subject, begun) = (token.subject().to_owned(), app.passkeys.registrations.take(token.subject()));
    let state = begun.ok_or_else(|| TokenError::invalid_request("This took too long: begin again"))?;
    let passkey = app.passkeys.webauthn.finish_passkey_registration(&made, &state).map_err(refused)?;
    let mut rows = locked(&app.passkeys.rows);
    if rows.iter().any(|row| row.passkey == passkey) {
        return Err(TokenError::invalid_request("This passkey is known already"));
    }
    rows.push(Row { subject, id: Uuid::new_v4(), added: Instant::now(), passkey });
    // Here a mail to the user is sent, too.
    Ok(())
}

async fn list(token: AccessToken, State(app): State<App>) -> Json<Value> {
    let rows = locked(&app.passkeys.rows);
    let own = rows.iter().filter(|row| row.subject == token.subject());
    let own: Value = own.map(|row| json!({ "id": row.id, "age": row.added.elapsed().as_secs() })).collect();
    Json(json!({ "user": token.subject(), "amr": token.amr().collect::<Vec<_>>(), "passkeys": own }))
}

async fn remove(token: AccessToken, State(app): State<App>, Path(id): Path<Uuid>) -> StatusCode {
    locked(&app.passkeys.rows).retain(|row| row.id != id || row.subject != token.subject());
    StatusCode::NO_CONTENT
}

/// Anybody may ask but the page of another site, which would use up its visitors' share. Nobody is named, so the answer says
/// nothing about accounts.
async fn challenge(State(app): State<App>, request: Parts) -> Result<Json<Value>, TokenError> {
    if request.headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin") {
        return Err(TokenError::invalid_request("A page of another site must not ask"));
    }
    let (options, state) = app.passkeys.webauthn.start_discoverable_authentication().map_err(refused)?;
    let id = Uuid::new_v4().to_string();
    app.passkeys.logins.put(&id, network(app.auth.client_address(&request)), state)?;
    Ok(Json(json!({ "challenge_id": id, "options": options.public_key })))
}

fn file(kind: &'static str, text: &'static str) -> MethodRouter<App> {
    let checked = [(header::CONTENT_TYPE, kind), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    get(async move || (checked, [(header::CONTENT_SECURITY_POLICY, POLICY), (header::CACHE_CONTROL, "no-cache")], text))
}

/// `origin` is what the browser has in its address bar. The passkeys belong to its host.
fn router(origin: &str) -> Result<Router, BoxError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    let users = PasswordVerifier::new(MemoryUsers::from_phc([("alice", ALICE, ""), ("bob", BOB, "")])?);
    let passkeys = Arc::new(Passkeys {
        webauthn: WebauthnBuilder::new("localhost", &Url::parse(origin)?)?.rp_name("Rabbit Hole").build()?,
        users: users.clone(),
        rows: Mutex::default(),
        handles: Mutex::default(),
        registrations: Challenges::new(),
        logins: Challenges::new(),
    });
    let (grant, peer) = (Arc::clone(&passkeys), ClientAddress::peer(|peer: &ConnectInfo<SocketAddr>| peer.0));
    let auth = AuthorizationServer::new(users, Jwt::new(Key::hs256(secret)?, origin, "api"))
        .with_attempt_limits(AttemptLimits::new(MemoryAttemptStore::new(), peer))
        .with_deny_list(MemoryDenyList::new())
        .with_extension_grant("urn:example:passkey", ["challenge_id", "credential"], move |request| {
            Arc::clone(&grant).log_in(request)
        })?;
    Ok(Router::new()
        .route("/passkeys/start", post(start))
        .route("/passkeys/finish", post(finish))
        .route("/passkeys/{id}", delete(remove))
        // A stolen token must not add a passkey later.
        .route_layer(auth.guard().with_max_age(Duration::from_secs(300)))
        .route("/passkeys", get(list).layer(auth.guard()))
        .route("/passkeys/challenge", post(challenge))
        .route("/", file("text/html; charset=utf-8", include_str!("../page/index.html")))
        .route("/app.js", file("text/javascript", include_str!("../page/app.js")))
        .route("/style.css", file("text/css", include_str!("../../single_page_app/page/style.css")))
        .layer(auth.endpoints())
        .with_state(App { auth, passkeys }))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let listener = TcpListener::bind(env::var("ADDR").as_deref().unwrap_or("127.0.0.1:8000")).await?;
    let (address, origin) = (listener.local_addr()?, format!("http://localhost:{}", listener.local_addr()?.port()));
    println!("listening on http://{address}\nopen {origin}");
    axum::serve(listener, router(&origin)?.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
