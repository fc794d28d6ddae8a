//! gRPC and `/token` on one port, with tonic. The guarded service is gRPC's health check.
//!
//!     cargo run -p example-tonic
//!     curl -d 'grant_type=password&username=alice&password=wonderland123' http://127.0.0.1:8000/token
//!     grpcurl -plaintext -proto health.proto -H "authorization: Bearer $TOKEN" 127.0.0.1:8000 grpc.health.v1.Health/Check
//!
//! Without a token the call gets `UNAUTHENTICATED`.

use std::env;

use tokio::net::TcpListener;
use tonic::{
    service::LayerExt,
    transport::{
        Server,
        server::{TcpConnectInfo, TcpIncoming},
    },
};
use tower_oauth2_password::{
    AttemptLimits, AuthorizationServer, BoxError, ClientAddress, Jwt, Key, MemoryUsers, PasswordVerifier,
    store::MemoryAttemptStore,
};

const ALICE: &str = "$argon2id$v=19$m=19456,t=2,p=1$KtZ/zJOv10oETt4938BfPw$gQMO1zPMSvoazFlQqQALdbiJLvbHiIidHnyyT4KiPKQ";

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    let jwt = Jwt::new(Key::hs256(secret)?, "http://127.0.0.1:8000", "health");
    let users = MemoryUsers::from_phc([("alice", ALICE, "")])?;
    let limits = AttemptLimits::new(MemoryAttemptStore::new(), ClientAddress::peer(TcpConnectInfo::remote_addr));
    let auth = AuthorizationServer::new(PasswordVerifier::new(users), jwt).with_attempt_limits(limits);
    let (_reporter, health) = tonic_health::server::health_reporter();

    let listener = TcpListener::bind(env::var("ADDR").as_deref().unwrap_or("127.0.0.1:8000")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Server::builder()
        // For `POST /token`: without TLS, curl and most OAuth clients speak HTTP/1.1.
        .accept_http1(true)
        .layer(auth.endpoints())
        .add_service(auth.guard().named_layer(health))
        .serve_with_incoming(TcpIncoming::from(listener))
        .await?;
    Ok(())
}
