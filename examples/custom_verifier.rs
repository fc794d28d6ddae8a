//! A function checks logins: it asks a legacy system, LDAP, or anything else that `async` code can ask.
//!
//!     cargo run --example custom_verifier
//!     curl -d 'grant_type=password&username=alice&password=wonderland123' http://127.0.0.1:8000/token
//!     curl -d 'grant_type=password&username=carol&password=curiouser456' http://127.0.0.1:8000/token
//!
//! The second answers `mfa_required`: carol has a second factor. With a wrong password, nobody learns that.

use std::{env, net::SocketAddr};

use axum::{Extension, Router, extract::ConnectInfo, routing::get};
use tokio::net::TcpListener;
use tower_oauth2_password::{
    AccessToken, AttemptLimits, AuthorizationServer, BoxError, ClientAddress, Identity, Jwt, Key, Login, TokenError,
    Verdict, store::MemoryAttemptStore,
};

/// A stand-in for a directory on the network. It compares the password.
async fn directory(login: &Login) -> Result<bool, BoxError> {
    let users = [("alice", "wonderland123"), ("carol", "curiouser456")];
    Ok(users.contains(&(login.username.as_str(), login.password.expose())))
}

async fn verify(login: Login) -> Result<Verdict, BoxError> {
    // An outage is not a wrong password: the client gets a 503, and the cause goes to the log.
    if !directory(&login).await? {
        return Ok(Verdict::Denied);
    }
    // After the password: before, it would show strangers which accounts exist.
    if login.username == "carol" {
        let error = TokenError::custom("mfa_required", "A second factor is needed");
        return Err(error.with_field("mfa_token", "one-time-value").into());
    }
    Ok(Identity::new(login.username).with_claim("department", "rabbit-holes").into())
}

async fn me(Extension(token): Extension<AccessToken>) -> String {
    format!("{} of {}\n", token.subject(), token.claim("department").and_then(|name| name.as_str()).unwrap_or_default())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    let jwt = Jwt::new(Key::hs256(secret)?, "http://127.0.0.1:8000", "api");
    let peer = ClientAddress::peer(|peer: &ConnectInfo<SocketAddr>| peer.0);
    let limits = AttemptLimits::new(MemoryAttemptStore::new(), peer);
    let auth = AuthorizationServer::new(verify, jwt).with_attempt_limits(limits);
    let app = Router::new().route("/users/me", get(me)).route_layer(auth.guard()).layer(auth.endpoints());

    let listener = TcpListener::bind(env::var("ADDR").as_deref().unwrap_or("127.0.0.1:8000")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
