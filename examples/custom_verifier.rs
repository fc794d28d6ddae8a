//! A function checks logins: it asks a legacy system, LDAP, or anything else that `async` code can ask.
//!
//!     cargo run --example custom_verifier
//!     curl -d 'grant_type=password&username=alice&password=wonderland123' http://127.0.0.1:8000/token
//!     curl -d 'grant_type=password&username=carol&password=any' http://127.0.0.1:8000/token
//!
//! The second answers `mfa_required`: carol has a second factor.

use std::{env, net::SocketAddr};

use axum::{Extension, Router, extract::ConnectInfo, routing::get};
use tokio::net::TcpListener;
use tower_oauth2_password::{
    AccessToken, AttemptLimits, AuthorizationServer, BoxError, Identity, Jwt, Key, Login, TokenError, Verdict,
    store::MemoryAttemptStore,
};

/// A stand-in for a directory on the network. It compares the password.
async fn directory(login: &Login) -> Result<bool, BoxError> {
    Ok(login.username == "alice" && login.password.expose() == "wonderland123")
}

async fn verify(login: Login) -> Result<Verdict, BoxError> {
    if login.username == "carol" {
        let error = TokenError::custom("mfa_required", "A second factor is needed");
        return Err(error.with_field("mfa_token", "one-time-value").into());
    }
    // An outage is not a wrong password: the client gets a 503, and the cause goes to the log.
    if directory(&login).await? {
        Ok(Identity::new(login.username).with_claim("department", "rabbit-holes").into())
    } else {
        Ok(Verdict::Denied)
    }
}

async fn me(Extension(token): Extension<AccessToken>) -> String {
    format!("{} of {}\n", token.subject(), token.claim("department").and_then(|name| name.as_str()).unwrap_or_default())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    let jwt = Jwt::new(Key::hs256(secret)?, "http://127.0.0.1:8000", "api");
    let limits = AttemptLimits::new(MemoryAttemptStore::new(), |request| {
        request.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip())
    });
    let auth = AuthorizationServer::new(verify, jwt).with_attempt_limits(limits);
    let app = Router::new().route("/users/me", get(me)).route_layer(auth.guard()).layer(auth.endpoints());

    let listener = TcpListener::bind(env::var("ADDR").as_deref().unwrap_or("127.0.0.1:8000")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
