//! Users in a database: sign-up, login, password change, disabled users.
//!
//!     cargo run -p example-sqlite
//!     curl --json '{"username":"carol","password":"down-the-hole"}' http://127.0.0.1:8000/users
//!     curl -d 'grant_type=password&username=carol&password=down-the-hole' http://127.0.0.1:8000/token
//!     curl --json '{"old":"down-the-hole","new":"off-with-their-heads"}' -H "authorization: Bearer $ACCESS_TOKEN" \
//!         http://127.0.0.1:8000/users/me/password
//!
//! The users are in memory. `DATABASE_URL='sqlite:users.db?mode=rwc'` keeps them in a file,
//! `DATABASE_URL=postgres://me:secret@localhost/mydb` in Postgres. This ends the logins and refreshes of a user:
//!
//!     UPDATE users SET disabled = 1 WHERE username = 'carol';

mod api;
mod database;

use std::{env, net::SocketAddr};

use axum::extract::ConnectInfo;
use tokio::net::TcpListener;
use tower_oauth2_password::{
    AttemptLimits, AuthorizationServer, BoxError, ClientAddress, HashingPool, Jwt, Key, PasswordVerifier,
    RefreshTokens,
    store::{MemoryAttemptStore, MemoryDenyList, MemoryRefreshStore},
};

use self::{
    api::Accounts,
    database::{Database, canonical},
};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let url = env::var("DATABASE_URL").ok().filter(|url| !url.is_empty());
    let database = Database::open(url.as_deref().unwrap_or("sqlite::memory:"))
        .await
        .map_err(|error| format!("the database of DATABASE_URL cannot be used: {error}"))?;

    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    let jwt = Jwt::new(Key::hs256(secret)?, "http://127.0.0.1:8000", "api");

    // One pool for sign-up and login, so that both together use no more than the machine's cores.
    let pool = HashingPool::new();
    let verifier = PasswordVerifier::new(database.clone()).with_pool(pool.clone());
    let peer = ClientAddress::peer(|peer: &ConnectInfo<SocketAddr>| peer.0);
    let limits = AttemptLimits::new(MemoryAttemptStore::new(), peer);
    let auth = AuthorizationServer::new(verifier.clone(), jwt)
        .with_attempt_limits(limits.with_canonical_account(canonical))
        .with_refresh_tokens(RefreshTokens::new(MemoryRefreshStore::new()))
        .with_deny_list(MemoryDenyList::new());
    let app = api::router(Accounts { database, pool, verifier, auth });

    let listener = TcpListener::bind(env::var("ADDR").as_deref().unwrap_or("127.0.0.1:8000")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
