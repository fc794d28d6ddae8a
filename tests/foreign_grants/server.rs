//! An app with rustls.

use std::{path::PathBuf, sync::Arc};

use axum::{Extension, Json, Router, routing::get};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};
use tower_oauth2_password::{AccessToken, AuthorizationServer, JsonDocument, Jwt, Key, OverTls, RequireHttps};

pub struct Server {
    pub url: String,
    /// Its certificates.
    dir: PathBuf,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Server {
    pub async fn start(build: impl FnOnce(Jwt) -> (AuthorizationServer, Router)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("https://localhost:{port}");
        let dir = std::env::temp_dir().join(format!("tower-oauth2-password-https-{port}"));
        std::fs::create_dir_all(&dir).unwrap();
        test_support::certificates::make_certificates(&dir);

        let key = std::fs::read(test_support::root().join("tests/support/keys/p256.pem")).unwrap();
        let (auth, others) = build(Jwt::new(Key::es256_pem(&key).unwrap(), &url, "api"));
        let app = app(auth, others).layer(Extension(OverTls));

        let acceptor = acceptor(&dir);
        let task = tokio::spawn(async move {
            loop {
                let (stream, peer) = listener.accept().await.unwrap();
                let service = TowerToHyperService::new(app.clone().layer(Extension(peer)));
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { url, dir, task }
    }

    /// The certificate of the CA.
    pub fn root(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }
}

fn acceptor(dir: &std::path::Path) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_file(dir.join("tls.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(dir.join("tls.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate], key).unwrap()))
}

fn app(auth: AuthorizationServer, others: Router) -> Router {
    let auth = auth.with_https_required(RequireHttps::new());
    let metadata = auth.metadata().unwrap().with_jwks_uri("/jwks").unwrap();
    let document = JsonDocument::new(&metadata.to_json());
    Router::new()
        .route("/users/me", get(me))
        .route_layer(auth.guard())
        .merge(others)
        .route_service(&metadata.path(), document.clone())
        // Where openid-client looks by default, and auth0-auth-js always.
        .route_service("/.well-known/openid-configuration", document)
        .route_service("/jwks", auth.jwks())
        .layer(auth.endpoints())
}

async fn me(token: AccessToken) -> Json<Value> {
    Json(json!({ "subject": token.subject(), "user": token.user() }))
}
