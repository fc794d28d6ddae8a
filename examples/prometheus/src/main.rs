//! What happens at the endpoint, as Prometheus reads it.
//!
//!     cargo run --example prometheus --features metrics
//!     curl -d 'grant_type=password&username=alice&password=wonderland123' http://127.0.0.1:8000/token
//!     curl http://127.0.0.1:8000/metrics
//!
//! In production serve `/metrics` on another port, which the outside cannot reach.

use std::env;

use axum::{Router, routing::get};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;
use tower_oauth2_password::{BoxError, Jwt, Key, MemoryUsers, PasswordVerifier, TokenEndpointLayer};

const ALICE: &str = "$argon2id$v=19$m=19456,t=2,p=1$KtZ/zJOv10oETt4938BfPw$gQMO1zPMSvoazFlQqQALdbiJLvbHiIidHnyyT4KiPKQ";

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let prometheus = PrometheusBuilder::new().install_recorder()?;
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    let jwt = Jwt::new(Key::hs256(secret)?, "http://127.0.0.1:8000", "api");
    let users = MemoryUsers::from_phc([("alice", ALICE, "")])?;
    let app = Router::new()
        .route("/metrics", get(move || async move { prometheus.render() }))
        .layer(TokenEndpointLayer::new(PasswordVerifier::new(users), jwt));

    let listener = TcpListener::bind(env::var("ADDR").as_deref().unwrap_or("127.0.0.1:8000")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
