//! A migration: users have hashes that other frameworks wrote, which their next login replaces by Argon2id. All others are in a
//! directory (LDAP), which checks passwords itself.
//!
//!     cargo run -p example-legacy-hashes
//!     curl -d 'grant_type=password&username=alice&password=wonderland123' http://127.0.0.1:8000/token
//!     curl -d 'grant_type=password&username=carol&password=curiouser456' http://127.0.0.1:8000/token
//!     curl -d 'grant_type=password&username=dave&password=teaparty789' http://127.0.0.1:8000/token
//!     curl -H "authorization: Bearer $TOKEN" http://127.0.0.1:8000/
//!
//! The last shows how the user's password is stored now. dave is in the directory.

use std::{env, net::SocketAddr};

use axum::{
    Router,
    extract::{ConnectInfo, State},
    routing::get,
};
use tokio::net::TcpListener;
use tower_oauth2_password::{
    AccessToken, AttemptLimits, AuthorizationServer, BoxError, ClientAddress, Identity, Jwt, Key, Login, MemoryUsers,
    PasswordVerifier, StoredUser, Users, Verdict, Verifier, store::MemoryAttemptStore,
};
use tower_oauth2_password_legacy_hashes::{Cost, OldHashes, Prf};

/// Passwords as the old systems stored them.
const ROWS: [(&str, &str); 2] = [
    ("alice", "$2b$10$Nq3Wl0sYv7TtB1kGz9cEieTcB9hCHIHyHG2S4NXm91F2iS/Y9eL3."),
    ("carol", "pbkdf2_sha256$600000$k0cDGtWNrWYlGbAQpBDZuc$xcTp6hzX9jcT5NcVhJkAwFUkGbrD9bZBYOmIzF/8RC0="),
];

/// A stand-in for a bind to the directory, with the name of the user and the password. An empty password never gets here: many
/// directories accept it from anyone (RFC 4513, section 5.1.2).
async fn bind(username: &str, password: &str) -> Result<bool, BoxError> {
    Ok((username, password) == ("dave", "teaparty789"))
}

async fn verify(table: MemoryUsers, hashes: PasswordVerifier<MemoryUsers>, login: Login) -> Result<Verdict, BoxError> {
    if table.find(&login.username).await?.is_some() {
        return hashes.verify(login).await;
    }
    let is_right = bind(&login.username, login.password.expose()).await?;
    Ok(if is_right { Identity::new(login.username).into() } else { Verdict::Denied })
}

async fn stored(token: AccessToken, State(users): State<MemoryUsers>) -> String {
    let user = users.find_subject(token.subject()).await.ok().flatten();
    let hash = user.as_ref().and_then(StoredUser::password_hash).unwrap_or_default();
    format!("{}\n", hash.split('$').find(|part| !part.is_empty()).unwrap_or("nothing: the directory has it"))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // A stand-in for your own table.
    let users = MemoryUsers::default();
    for (name, row) in ROWS {
        users.insert(name, StoredUser::new(Identity::new(name)).with_password_hash(row));
    }
    let (mut secret, mut attempts_key) = ([0; 32], [0; 32]);
    getrandom::fill(&mut secret)?;
    // Several processes share it.
    getrandom::fill(&mut attempts_key)?;
    // A name that nobody has costs as much as a row of the table: one is bcrypt, one is Django's. Here the directory answers for
    // such names, in a time of its own.
    let strangers = [(1, Cost::Bcrypt(10)), (1, Cost::Pbkdf2(Prf::Sha256, 600_000)), (0, Cost::Current)];
    let hashes = PasswordVerifier::new(users.clone()).with_old_hashes(OldHashes::new(attempts_key, strangers)?);
    let table = users.clone();
    let verifier = move |login| verify(table.clone(), hashes.clone(), login);

    let jwt = Jwt::new(Key::hs256(secret)?, "http://127.0.0.1:8000", "api");
    let peer = ClientAddress::peer(|peer: &ConnectInfo<SocketAddr>| peer.0);
    let limits = AttemptLimits::new(MemoryAttemptStore::new(), peer).with_key(attempts_key);
    let auth = AuthorizationServer::new(verifier, jwt).with_attempt_limits(limits);
    let app = Router::new().route("/", get(stored)).route_layer(auth.guard()).layer(auth.endpoints()).with_state(users);

    let listener = TcpListener::bind(env::var("ADDR").as_deref().unwrap_or("127.0.0.1:8000")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
