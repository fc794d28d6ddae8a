//! A single-page app (in the folder `page`) that keeps its session in a cookie: second factor, "remember me", list of sessions.
//!
//!     cargo run -p example-single-page-app
//!
//! Open <https://localhost:8443>. The browser warns of the certificate, which is generated at start. Users: bob / builder456,
//! and alice / wonderland123, with a second factor. `oathtool` (a Debian package) stands in for her phone:
//!
//!     oathtool --totp -b RABBITHOLERABBITHOLERABBITHOLE22

use std::sync::{Arc, Mutex, PoisonError};
use std::{collections::HashMap, env, net::SocketAddr, time::Duration};

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::routing::{MethodRouter, delete, get};
use axum::{Extension, Json, Router};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::{server::conn::auto::Builder, service::TowerToHyperService};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
use tower_oauth2_password::{
    AccessToken, AttemptLimits, AuthorizationServer, BoxError, Client, ClientAddress, Jwt, Key, Login, MemoryUsers,
    PasswordVerifier, RefreshTokens, SecondFactors, StaticClients, TokenError, Verdict, Verifier,
    store::{MemoryAttemptStore, MemoryDenyList, MemoryRefreshStore},
};
use tower_oauth2_password_totp::{FactorTable, MemoryFactors, Totp, TotpSecret};

const ALICE: &str = "$argon2id$v=19$m=19456,t=2,p=1$KtZ/zJOv10oETt4938BfPw$gQMO1zPMSvoazFlQqQALdbiJLvbHiIidHnyyT4KiPKQ";
const BOB: &str = "$argon2id$v=19$m=19456,t=2,p=1$MQM28hUvXTkEhkCY7y2AFQ$SIgGn4kv2yocnG/YF/0PHmiJgEf7cS5sEILE/6hOzqg";
const ALICES_SECRET: &str = "RABBITHOLERABBITHOLERABBITHOLE22";

/// Nothing from elsewhere, nothing inline, and no frame around the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";
const MONTH: Duration = Duration::from_secs(30 * 86_400);

#[derive(Clone)]
struct App {
    auth: AuthorizationServer,
    items: Arc<Mutex<HashMap<String, Vec<String>>>>,
}

/// Logins with "Remember me" last for a month. The browser's name is that of the session.
struct Users(PasswordVerifier<MemoryUsers>);

impl Verifier for Users {
    async fn verify(&self, login: Login) -> Result<Verdict, BoxError> {
        let is_remembered = login.parameter("remember").is_some();
        let browser = login.header(&header::USER_AGENT).unwrap_or_default().chars().take(200).collect::<String>();
        Ok(match self.0.verify(login).await? {
            Verdict::Granted(user) if is_remembered => user.with_session_ttl(MONTH).with_session_label(browser).into(),
            Verdict::Granted(user) => user.with_session_label(browser).into(),
            denied => denied,
        })
    }

    async fn verify_subject(&self, subject: &str) -> Result<Verdict, BoxError> {
        self.0.verify_subject(subject).await
    }
}

async fn items(token: AccessToken, State(app): State<App>) -> Json<Vec<String>> {
    Json(app.items.lock().unwrap_or_else(PoisonError::into_inner).get(token.subject()).cloned().unwrap_or_default())
}

async fn add_item(token: AccessToken, State(app): State<App>, Json(item): Json<String>) -> Result<(), TokenError> {
    let mut items = app.items.lock().unwrap_or_else(PoisonError::into_inner);
    let own = items.entry(token.subject().to_owned()).or_default();
    if item.trim().is_empty() || item.len() > 200 || own.len() >= 100 {
        return Err(TokenError::invalid_request("An item has 1 to 200 characters, and a list 100 items"));
    }
    own.push(item);
    Ok(())
}

async fn sessions(token: AccessToken, State(app): State<App>) -> Result<Json<Value>, TokenError> {
    let sessions = app.auth.sessions(token.subject()).await?.into_iter().map(|session| {
        let is_this_one = token.session_id() == Some(&session.id);
        json!({ "id": session.id, "browser": session.label, "age": session.age.as_secs(), "is_this_one": is_this_one })
    });
    Ok(Json(json!({ "user": token.subject(), "sessions": sessions.collect::<Value>() })))
}

async fn end(token: AccessToken, State(app): State<App>, Path(id): Path<String>) -> Result<StatusCode, TokenError> {
    let ended = app.auth.end_session(token.subject(), &id).await?;
    Ok(if ended { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND })
}

fn file(kind: &'static str, text: &'static str) -> MethodRouter<App> {
    let checked = [(header::CONTENT_TYPE, kind), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    get(async move || (checked, [(header::CONTENT_SECURITY_POLICY, POLICY), (header::CACHE_CONTROL, "no-cache")], text))
}

fn tls() -> Result<TlsAcceptor, BoxError> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_no_client_auth().with_single_cert(vec![made.cert.into()], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn router() -> Result<Router, BoxError> {
    let (factors, store, mut secret) = (MemoryFactors::new(), MemoryRefreshStore::new(), [0; 32]);
    factors.enroll("alice", &TotpSecret::from_base32(ALICES_SECRET)?, 0, &[]).await?;
    getrandom::fill(&mut secret)?;
    let jwt = Jwt::new(Key::hs256(secret)?, "https://localhost:8443", "api");
    let users = PasswordVerifier::new(MemoryUsers::from_phc([("alice", ALICE, ""), ("bob", BOB, "")])?);
    let peer = ClientAddress::peer(|peer: &SocketAddr| *peer);
    let auth = AuthorizationServer::new(Users(users), jwt)
        .with_attempt_limits(AttemptLimits::new(MemoryAttemptStore::new(), peer))
        .with_clients(StaticClients::new([Client::public("spa").with_cookie()]))
        .with_refresh_tokens(RefreshTokens::new(store.clone()).with_cookie([])?)
        .with_deny_list(MemoryDenyList::new())
        .with_second_factor(SecondFactors::new(Totp::new(factors), store))
        .with_login_parameter("remember")?
        .with_login_header(header::USER_AGENT)?;
    Ok(Router::new()
        .route("/api/items", get(items).post(add_item))
        .route("/api/sessions", get(sessions))
        .route("/api/sessions/{id}", delete(end))
        .route_layer(auth.guard())
        .route("/", file("text/html; charset=utf-8", include_str!("../page/index.html")))
        .route("/app.js", file("text/javascript", include_str!("../page/app.js")))
        .route("/style.css", file("text/css", include_str!("../page/style.css")))
        .layer(auth.endpoints())
        .with_state(App { auth, items: Arc::default() }))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (app, tls) = (router().await?, tls()?);
    let listener = TcpListener::bind(env::var("ADDR").as_deref().unwrap_or("127.0.0.1:8443")).await?;
    println!("listening on https://{}", listener.local_addr()?);
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            // For instance out of file descriptors: open connections are still served.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (tls, service) = (tls.clone(), TowerToHyperService::new(app.clone().layer(Extension(peer))));
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
