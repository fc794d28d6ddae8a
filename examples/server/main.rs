//! The OAuth2 password flow of FastAPI's tutorial, served from an axum router. Plain HTTP: for this machine only.
//!
//!     cargo run --example server
//!     curl -d 'grant_type=password&username=alice&password=wonderland123' http://127.0.0.1:8000/token
//!     curl -H "authorization: Bearer $TOKEN" http://127.0.0.1:8000/users/me
//!
//! Or log in at <http://127.0.0.1:8000/docs>. Users: alice / wonderland123, bob / builder456. Environment: `ADDR`,
//! `JWT_SECRET`, `ACCESS_TOKEN_TTL` and `REFRESH_TOKEN_TTL` in seconds, `RUST_LOG`; with `--features redis` `REDIS_URL`.

mod api;
mod connections;

use std::{env, time::Duration};

use axum::extract::ConnectInfo;
use tower_oauth2_password::{
    AttemptLimits, AuthorizationServer, BoxError, Client, ClientAddress, Jwt, Key, MemoryUsers, PasswordVerifier,
    RefreshTokens, StaticClients,
    store::{AttemptStore, DenyList, MemoryAttemptStore, MemoryDenyList, MemoryRefreshStore, RefreshStore},
};

const ALICE: &str = "$argon2id$v=19$m=19456,t=2,p=1$KtZ/zJOv10oETt4938BfPw$gQMO1zPMSvoazFlQqQALdbiJLvbHiIidHnyyT4KiPKQ";
const BOB: &str = "$argon2id$v=19$m=19456,t=2,p=1$MQM28hUvXTkEhkCY7y2AFQ$SIgGn4kv2yocnG/YF/0PHmiJgEf7cS5sEILE/6hOzqg";

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let address = variable("ADDR")?.unwrap_or_else(|| "127.0.0.1:8000".to_owned());
    let address = address.parse().map_err(|_| "ADDR is not a socket address such as 127.0.0.1:8000")?;
    connections::serve(address, api::router(&server()?)).await?;
    std::process::exit(0) // without waiting for a name lookup of Redis that is still running
}

fn server() -> Result<AuthorizationServer, BoxError> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)?;
    let key = variable("JWT_SECRET")?.map_or_else(|| Key::hs256(random), Key::hs256);
    let key = key.map_err(|error| format!("JWT_SECRET: {error}"))?;
    let jwt = Jwt::new(key, "tower-oauth2-password", "api").with_ttl(seconds("ACCESS_TOKEN_TTL", 900)?);
    let users = MemoryUsers::from_phc([("alice", ALICE, "items:read items:write"), ("bob", BOB, "items:read")])?;
    let clients = StaticClients::new([Client::confidential("demo-web", "demo-web-secret"), Client::public("demo-cli")]);
    let auth = AuthorizationServer::new(PasswordVerifier::new(users), jwt).with_clients(clients);
    #[cfg(feature = "redis")]
    if let Some(url) = variable("REDIS_URL")? {
        let redis = tower_oauth2_password::store::redis::RedisStores::open(&url);
        let redis = redis.map_err(|error| format!("REDIS_URL: {error}"))?;
        return with_stores(auth, redis.refresh_tokens(), redis.attempts(), redis.deny_list());
    }
    #[cfg(not(feature = "redis"))]
    if variable("REDIS_URL")?.is_some() {
        return Err("REDIS_URL is set: run with --features redis".into());
    }
    with_stores(auth, MemoryRefreshStore::new(), MemoryAttemptStore::new(), MemoryDenyList::new())
}

fn with_stores(
    auth: AuthorizationServer,
    refresh_tokens: impl RefreshStore,
    attempts: impl AttemptStore,
    deny_list: impl DenyList,
) -> Result<AuthorizationServer, BoxError> {
    // The peer is the client: there is no proxy in front of this server.
    let peer = ClientAddress::peer(|connection: &ConnectInfo<connections::Connection>| connection.0.peer);
    let limits = AttemptLimits::new(attempts, peer);
    let refresh_tokens = RefreshTokens::new(refresh_tokens).with_absolute_ttl(seconds("REFRESH_TOKEN_TTL", 86_400)?);
    Ok(auth.with_attempt_limits(limits).with_refresh_tokens(refresh_tokens).with_deny_list(deny_list))
}

fn seconds(name: &str, default: u64) -> Result<Duration, BoxError> {
    let seconds = variable(name)?.map_or(Some(default), |text| text.parse().ok().filter(|seconds| *seconds > 0));
    seconds.map(Duration::from_secs).ok_or_else(|| format!("{name} is not a number of seconds, at least 1").into())
}

/// A variable that is set and not empty.
fn variable(name: &str) -> Result<Option<String>, BoxError> {
    let text = env::var_os(name).filter(|text| !text.is_empty());
    text.map(|text| text.into_string().map_err(|_| format!("{name} is not UTF-8").into())).transpose()
}
