//! The metrics of the endpoints, for Prometheus.
//!
//!     cargo run -p example-prometheus
//!     curl -d 'grant_type=password&username=alice&password=wonderland123' http://127.0.0.1:8000/token
//!     curl http://127.0.0.1:8000/metrics
//!
//! In production serve `/metrics` on another port, which the outside cannot reach.

use std::{env, net::SocketAddr};

use axum::{Router, extract::ConnectInfo, routing::get};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;
use tower_oauth2_password::{
    AttemptLimits, AuthorizationServer, BoxError, ClientAddress, Jwt, Key, MemoryUsers, PasswordVerifier,
    store::MemoryAttemptStore,
};

const ALICE: &str = "$argon2id$v=19$m=19456,t=2,p=1$KtZ/zJOv10oETt4938BfPw$gQMO1zPMSvoazFlQqQALdbiJLvbHiIidHnyyT4KiPKQ";

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let prometheus = PrometheusBuilder::new().install_recorder()?;
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    let jwt = Jwt::new(Key::hs256(secret)?, "http://127.0.0.1:8000", "api");
    let users = MemoryUsers::from_phc([("alice", ALICE, "")])?;
    let peer = ClientAddress::peer(|peer: &ConnectInfo<SocketAddr>| peer.0);
    let limits = AttemptLimits::new(MemoryAttemptStore::new(), peer);
    let auth = AuthorizationServer::new(PasswordVerifier::new(users), jwt).with_attempt_limits(limits);
    let app = Router::new().route("/metrics", get(move || async move { prometheus.render() })).layer(auth.endpoints());

    let listener = TcpListener::bind(env::var("ADDR").as_deref().unwrap_or("127.0.0.1:8000")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
