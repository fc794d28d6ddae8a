//! A migration: old users have bcrypt hashes, which their next login replaces by Argon2id. All others are in a directory (LDAP),
//! which checks passwords itself.
//!
//!     cargo run --example legacy_hashes
//!     curl -d 'grant_type=password&username=alice&password=wonderland123' http://127.0.0.1:8000/token
//!     curl -d 'grant_type=password&username=carol&password=curiouser456' http://127.0.0.1:8000/token
//!     curl -H "authorization: Bearer $TOKEN" http://127.0.0.1:8000/
//!
//! The last shows how the user's password is stored. alice had bcrypt before she logged in; carol is in the directory.

use std::{
    collections::HashMap,
    env,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    extract::{ConnectInfo, State},
    routing::get,
};
use tokio::net::TcpListener;
use tower_oauth2_password::{
    AccessToken, AttemptLimits, AuthorizationServer, BoxError, ClientAddress, HashingPool, Identity, Jwt, Key, Login,
    Verdict, store::MemoryAttemptStore,
};

/// "wonderland123", as the old system stored it.
const ALICE: &str = "$2b$10$Nq3Wl0sYv7TtB1kGz9cEieTcB9hCHIHyHG2S4NXm91F2iS/Y9eL3.";

/// A stand-in for the table of password hashes.
#[derive(Clone)]
struct Hashes(Arc<Mutex<HashMap<String, String>>>);

impl Hashes {
    fn get(&self, username: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(username).cloned()
    }

    /// Unless the hash has changed since.
    fn replace(&self, username: &str, old: &str, new: String) {
        let mut hashes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hash) = hashes.get_mut(username).filter(|hash| *hash == old) {
            *hash = new;
        }
    }
}

/// A stand-in for a bind to the directory, with the name of the user and the password. An empty password never gets here: many
/// directories accept it from anyone (RFC 4513, section 5.1.2).
async fn bind(username: &str, password: &str) -> Result<bool, BoxError> {
    Ok((username, password) == ("carol", "curiouser456"))
}

async fn verify(hashes: Hashes, login: Login) -> Result<Verdict, BoxError> {
    let (pool, password, address) = (HashingPool::process_wide(), login.password, login.client_address);
    let right = match hashes.get(&login.username) {
        // bcrypt is slow on purpose, so it runs on the threads that hash.
        Some(old) if old.starts_with("$2") => {
            let (tried, hash) = (password.clone(), old.clone());
            let right = pool.run(move || bcrypt::verify(tried.expose(), &hash), address).await??;
            if right {
                hashes.replace(&login.username, &old, pool.hash(password, address).await?);
            }
            right
        }
        Some(hash) => pool.verify(password, Some(&hash), address).await?,
        None => bind(&login.username, password.expose()).await?,
    };
    Ok(if right { Identity::new(login.username).into() } else { Verdict::Denied })
}

async fn stored(token: AccessToken, State(hashes): State<Hashes>) -> String {
    let hash = hashes.get(token.subject());
    let scheme = hash.as_deref().and_then(|hash| hash.split('$').nth(1)).unwrap_or("nothing: the directory has it");
    format!("{scheme}\n")
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let hashes = Hashes(Arc::new(Mutex::new(HashMap::from([("alice".to_owned(), ALICE.to_owned())]))));
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    let jwt = Jwt::new(Key::hs256(secret)?, "http://127.0.0.1:8000", "api");
    let peer = ClientAddress::peer(|peer: &ConnectInfo<SocketAddr>| peer.0);
    let table = hashes.clone();
    let auth = AuthorizationServer::new(move |login| verify(table.clone(), login), jwt)
        .with_attempt_limits(AttemptLimits::new(MemoryAttemptStore::new(), peer));
    let app =
        Router::new().route("/", get(stored)).route_layer(auth.guard()).layer(auth.endpoints()).with_state(hashes);

    let listener = TcpListener::bind(env::var("ADDR").as_deref().unwrap_or("127.0.0.1:8000")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
