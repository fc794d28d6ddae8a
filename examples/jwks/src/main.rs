//! Accepts the tokens of another server, by the keys that it publishes and rotates.
//!
//!     cargo run -p example-key-rotation
//!     ADDR=127.0.0.1:8001 JWKS_URL=http://127.0.0.1:8000/.well-known/jwks.json cargo run -p example-jwks
//!     curl -d 'grant_type=password&username=alice&password=wonderland123' http://127.0.0.1:8000/token
//!     curl -H "authorization: Bearer $TOKEN" http://127.0.0.1:8001/
//!     curl -H "authorization: Bearer $TOKEN" -X POST http://127.0.0.1:8000/rotate
//!
//! `ISSUER` and `AUDIENCE` are the `iss` and `aud` of its tokens; the defaults are those of example-key-rotation. The first
//! token of a new key is refused, and makes this server fetch the keys, at most once a minute. A set that others can change
//! on its way lets them sign tokens, so fetch it over HTTPS: see Cargo.toml.

use std::env;

use axum::{Extension, Router, routing::get};
use tokio::net::TcpListener;
use tower_oauth2_password::{AccessToken, BearerLayer, BoxError, JwtValidator};

async fn hello(Extension(token): Extension<AccessToken>) -> String {
    format!("Hello, {}\n", token.subject())
}

fn variable(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    // It is needed until the process ends.
    let url: &str = env::var("JWKS_URL").map_err(|_| "set JWKS_URL to the address of the JWK Set")?.leak();
    let (issuer, audience) = (variable("ISSUER", "http://127.0.0.1:8000"), variable("AUDIENCE", "hello"));

    let fetch = move || async move { Ok(reqwest::get(url).await?.error_for_status()?.bytes().await?) };
    let validator = JwtValidator::from_jwks(fetch, issuer, audience).await?;
    let app = Router::new().route("/", get(hello)).route_layer(BearerLayer::new(validator));

    let listener = TcpListener::bind(variable("ADDR", "127.0.0.1:8000")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
