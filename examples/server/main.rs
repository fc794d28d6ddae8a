//! The OAuth2 password flow of FastAPI's tutorial, served from an axum router. Plain HTTP: for this machine only.
//!
//!     cargo run --example server
//!     curl -d 'grant_type=password&username=alice&password=wonderland123' http://127.0.0.1:8000/token
//!     curl -H "authorization: Bearer $TOKEN" http://127.0.0.1:8000/users/me
//!
//! or log in with the Authorize button of <http://127.0.0.1:8000/docs>. Users: alice / wonderland123, bob / builder456.
//! Environment: `ADDR`, `JWT_SECRET`, `ACCESS_TOKEN_TTL`, `REFRESH_TOKEN_TTL`, `RUST_LOG`, and with `--features redis`
//! `REDIS_URL`.

mod api;
mod connections;
mod settings;
mod stores;

use std::net::SocketAddr;

use settings::Settings;
use stores::Stores;
use tower_oauth2_password::{
    AttemptLimits, BoxError, Client, Jwt, Key, MemoryUsers, PasswordVerifier, RefreshTokens, RevocationLayer,
    StaticClients, TokenEndpointLayer,
};

// Argon2id, m=19456, t=2, p=1.
const ALICE: &str = "$argon2id$v=19$m=19456,t=2,p=1$KtZ/zJOv10oETt4938BfPw$gQMO1zPMSvoazFlQqQALdbiJLvbHiIidHnyyT4KiPKQ";
const BOB: &str = "$argon2id$v=19$m=19456,t=2,p=1$MQM28hUvXTkEhkCY7y2AFQ$SIgGn4kv2yocnG/YF/0PHmiJgEf7cS5sEILE/6hOzqg";

fn main() -> Result<(), BoxError> {
    let runtime = tokio::runtime::Runtime::new()?;
    let served = runtime.block_on(run());
    // Whoever still looks up the name of Redis keeps nobody from ending.
    runtime.shutdown_background();
    served
}

async fn run() -> Result<(), BoxError> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let settings = Settings::from_env()?;

    let users = MemoryUsers::from_phc([("alice", ALICE, "items:read items:write"), ("bob", BOB, "items:read")])?;
    let clients = StaticClients::new([Client::confidential("demo-web", "demo-web-secret"), Client::public("demo-cli")]);
    let jwt =
        Jwt::new(Key::hs256(&settings.jwt_secret)?, "tower-oauth2-password", "api").with_ttl(settings.access_token_ttl);

    let app = match &settings.redis_url {
        Some(url) => app(stores::redis(url)?, users, clients, jwt, &settings),
        None => app(stores::memory(), users, clients, jwt, &settings),
    }?;

    let listener = connections::listen(settings.addr)
        .map_err(|error| format!("cannot listen on {}: {error}; set ADDR to another address", settings.addr))?;
    println!("listening on http://{}", listener.local_addr()?);
    connections::serve(listener, app).await;
    Ok(())
}

fn app(
    stores: impl Stores,
    users: MemoryUsers,
    clients: StaticClients,
    jwt: Jwt,
    settings: &Settings,
) -> Result<axum::Router, BoxError> {
    let refresh_tokens = RefreshTokens::new(stores.refresh_tokens()).with_absolute_ttl(settings.refresh_token_ttl);
    // The peer is who connects: no proxy stands before this server.
    let limits =
        AttemptLimits::new(stores.attempts(), |request| request.extensions.get::<SocketAddr>().map(SocketAddr::ip));
    let deny_list = stores.deny_list();

    let token_endpoint = TokenEndpointLayer::new(PasswordVerifier::new(users), jwt.clone())
        .with_clients(clients.clone())
        .with_refresh_tokens(refresh_tokens.clone())
        .with_attempt_limits(limits.clone());
    let revocation = RevocationLayer::new(refresh_tokens)
        .with_access_tokens(jwt.clone(), deny_list.clone())
        .with_clients(clients)
        .with_attempt_limits(limits);

    let docs = api::docs(&token_endpoint);
    let routes = api::router(jwt, deny_list)?.merge(docs).layer((token_endpoint, revocation));
    // Else axum would make each route anew for each request.
    Ok(routes.with_state(()))
}
