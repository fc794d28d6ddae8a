//! Without a framework: hyper serves a tower service.
//!
//!     cargo run --example hyper
//!     curl -d 'grant_type=password&username=alice&password=wonderland123' http://127.0.0.1:8000/token
//!     curl -H "authorization: Bearer $TOKEN" http://127.0.0.1:8000/

use std::{convert::Infallible, env, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, service_fn};
use tower_http::add_extension::AddExtension;
use tower_oauth2_password::{
    AccessToken, AttemptLimits, AuthorizationServer, BoxError, ClientAddress, Jwt, Key, MemoryUsers, PasswordVerifier,
    store::MemoryAttemptStore,
};

const ALICE: &str = "$argon2id$v=19$m=19456,t=2,p=1$KtZ/zJOv10oETt4938BfPw$gQMO1zPMSvoazFlQqQALdbiJLvbHiIidHnyyT4KiPKQ";

async fn hello(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // The guard has put it there.
    let name = request.extensions().get::<AccessToken>().map_or("nobody", AccessToken::subject);
    Ok(Response::new(Full::from(format!("Hello, {name}\n"))))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    let jwt = Jwt::new(Key::hs256(secret)?, "http://127.0.0.1:8000", "hello");
    let users = MemoryUsers::from_phc([("alice", ALICE, "")])?;
    let limits = AttemptLimits::new(MemoryAttemptStore::new(), ClientAddress::peer(|peer: &SocketAddr| *peer));
    let auth = AuthorizationServer::new(PasswordVerifier::new(users), jwt).with_attempt_limits(limits);
    let app = ServiceBuilder::new().layer(auth.endpoints()).layer(auth.guard()).service(service_fn(hello));

    let listener = TcpListener::bind(env::var("ADDR").as_deref().unwrap_or("127.0.0.1:8000")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            // For instance out of file descriptors: open connections are still served.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // The limits count by address: each request carries that of its peer.
        let service = TowerToHyperService::new(AddExtension::new(app.clone(), peer));
        tokio::spawn(async move {
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
