//! HTTPS with rustls. A login over plain HTTP is refused.
//!
//!     cargo run -p example-https
//!     curl --cacert CERTIFICATE -d 'grant_type=password&username=alice&password=wonderland123' https://localhost:8443/token
//!
//! CERTIFICATE is the file that it prints. It is generated at start, for trying only. The same site is also served without
//! TLS, at the second address that it prints. There a login gets a 400.

use std::{env, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Extension, Router, routing::get};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer},
};
use tower_oauth2_password::{
    AccessToken, AttemptLimits, AuthorizationServer, BoxError, ClientAddress, Jwt, Key, MemoryUsers, OverTls,
    PasswordVerifier, RequireHttps, store::MemoryAttemptStore,
};

const ALICE: &str = "$argon2id$v=19$m=19456,t=2,p=1$KtZ/zJOv10oETt4938BfPw$gQMO1zPMSvoazFlQqQALdbiJLvbHiIidHnyyT4KiPKQ";

async fn me(Extension(token): Extension<AccessToken>) -> String {
    token.subject().to_owned()
}

fn tls() -> Result<TlsAcceptor, BoxError> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    let file = env::temp_dir().join(format!("tower-oauth2-password-{}.pem", std::process::id()));
    std::fs::write(&file, made.cert.pem())?;
    println!("certificate: {}", file.display());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    // Named here: rustls chooses one itself only if no other package of the build brings another.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_no_client_auth().with_single_cert(vec![made.cert.into()], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    let jwt = Jwt::new(Key::hs256(secret)?, "https://localhost:8443", "api");
    let users = MemoryUsers::from_phc([("alice", ALICE, "")])?;
    let limits = AttemptLimits::new(MemoryAttemptStore::new(), ClientAddress::peer(|peer: &SocketAddr| *peer));
    let auth = AuthorizationServer::new(PasswordVerifier::new(users), jwt)
        .with_attempt_limits(limits)
        .with_https_required(RequireHttps::new());
    let app = Router::new().route("/users/me", get(me)).route_layer(auth.guard()).layer(auth.endpoints());

    let listener = TcpListener::bind(env::var("ADDR").as_deref().unwrap_or("127.0.0.1:8443")).await?;
    let plain = TcpListener::bind("127.0.0.1:0").await?;
    let tls = tls()?;
    println!(
        "listening on https://{} and, to show the refusal, http://{}",
        listener.local_addr()?,
        plain.local_addr()?
    );

    let plain_app = app.clone();
    tokio::spawn(async { axum::serve(plain, plain_app).await });
    // Only requests that came through the acceptor are marked.
    let app = app.layer(Extension(OverTls));
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            // For instance out of file descriptors: open connections are still served.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (tls, service) = (tls.clone(), TowerToHyperService::new(app.clone().layer(Extension(peer))));
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
