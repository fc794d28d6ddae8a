//! Signs with Ed25519, publishes the public keys, and rotates them while it runs.
//!
//!     cargo run -p example-key-rotation
//!     curl http://127.0.0.1:8000/.well-known/oauth-authorization-server
//!     curl http://127.0.0.1:8000/.well-known/jwks.json
//!     curl -d 'grant_type=password&username=alice&password=wonderland123' http://127.0.0.1:8000/token
//!     curl -H "authorization: Bearer $TOKEN" http://127.0.0.1:8000/
//!     curl -H "authorization: Bearer $TOKEN" -X POST http://127.0.0.1:8000/rotate
//!
//! A token from before the rotation is still valid, and a new one names the new key. The set lists both, and the next key,
//! so that caches know it before it signs. `KEYS=a.pem,b.pem` names files that `openssl genpkey -algorithm ed25519`
//! generates, to be used in this order. Without it, and after the last file, keys are generated in memory.

use std::{
    collections::VecDeque,
    env, fs,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use axum::{
    Extension, Router,
    extract::ConnectInfo,
    http::StatusCode,
    routing::{get, post},
};
use serde_json::Value;
use tokio::net::TcpListener;
use tower_oauth2_password::{
    AccessToken, AttemptLimits, AuthorizationServer, BoxError, ClientAddress, InvalidToken, IssuedToken, Jwt, Key,
    MemoryUsers, PasswordVerifier, RequiredScope, TokenIssuer, TokenRequest, TokenValidator, store::MemoryAttemptStore,
};

const ALICE: &str = "$argon2id$v=19$m=19456,t=2,p=1$KtZ/zJOv10oETt4938BfPw$gQMO1zPMSvoazFlQqQALdbiJLvbHiIidHnyyT4KiPKQ";

const ROTATE: RequiredScope = RequiredScope::all_of("keys:rotate");

/// The key that signs; the previous one, whose tokens may still be valid; and the next one, which is published already.
struct Keys {
    previous: Option<Key>,
    current: Key,
    next: Key,
    waiting: VecDeque<Key>,
}

impl Keys {
    fn load() -> Result<Self, BoxError> {
        let files = env::var("KEYS").unwrap_or_default();
        let mut waiting = VecDeque::new();
        for file in files.split(',').filter(|file| !file.is_empty()) {
            let pem = fs::read(file).map_err(|error| format!("{file}: {error}"))?;
            waiting.push_back(Key::eddsa_pem(&pem).map_err(|error| format!("{file}: {error}"))?);
        }
        let current = take(&mut waiting)?;
        Ok(Self { previous: None, current, next: take(&mut waiting)?, waiting })
    }

    fn rotate(&mut self) -> Result<(), BoxError> {
        let new = take(&mut self.waiting)?;
        let current = std::mem::replace(&mut self.next, new);
        self.previous = Some(std::mem::replace(&mut self.current, current));
        Ok(())
    }

    fn jwt(&self, issuer: &str) -> Jwt {
        let jwt = Jwt::new(self.current.clone(), issuer, "hello").with_verification_key(&self.next);
        match &self.previous {
            Some(previous) => jwt.with_verification_key(previous),
            None => jwt,
        }
    }
}

fn take(waiting: &mut VecDeque<Key>) -> Result<Key, BoxError> {
    match waiting.pop_front() {
        Some(key) => Ok(key),
        None => Ok(Key::eddsa_pem(rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?.serialize_pem().as_bytes())?),
    }
}

/// Issues and validates with the keys of the moment.
#[derive(Clone)]
struct Current(Arc<RwLock<Jwt>>);

impl Current {
    fn jwt(&self) -> Jwt {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl TokenIssuer for Current {
    async fn issue(&self, request: TokenRequest) -> Result<IssuedToken, BoxError> {
        self.jwt().issue(request).await
    }

    fn issuer(&self) -> Option<String> {
        self.jwt().issuer()
    }

    fn jwks(&self) -> Value {
        self.jwt().jwks()
    }
}

impl TokenValidator for Current {
    fn validate(&self, token: &str) -> Result<AccessToken, InvalidToken> {
        self.jwt().validate(token)
    }
}

async fn hello(Extension(token): Extension<AccessToken>) -> String {
    format!("Hello, {}\n", token.subject())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let listener = TcpListener::bind(env::var("ADDR").as_deref().unwrap_or("127.0.0.1:8000")).await?;
    let issuer = format!("http://{}", listener.local_addr()?);

    let keys = Keys::load()?;
    let current = Current(Arc::new(RwLock::new(keys.jwt(&issuer))));
    let users = MemoryUsers::from_phc([("alice", ALICE, "hello keys:rotate")])?;

    let peer = ClientAddress::peer(|peer: &ConnectInfo<SocketAddr>| peer.0);
    let limits = AttemptLimits::new(MemoryAttemptStore::new(), peer);
    let auth = AuthorizationServer::new(PasswordVerifier::new(users), current.clone()).with_attempt_limits(limits);
    let metadata = auth.metadata()?.with_jwks_uri("/.well-known/jwks.json")?.with_scopes("hello keys:rotate")?;
    // A minute, for a try. Do not rotate faster than this, nor than the 15 minutes that tokens live.
    let jwks = auth.jwks().with_max_age(Duration::from_secs(60));

    let (keys, named) = (Arc::new(Mutex::new(keys)), issuer.clone());
    let rotate = move || async move {
        let mut keys = keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = keys.rotate() {
            eprintln!("the keys stay as they are: {error}");
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        *current.0.write().unwrap_or_else(PoisonError::into_inner) = keys.jwt(&named);
        StatusCode::NO_CONTENT
    };

    let app = Router::new()
        .route("/rotate", post(rotate))
        .route_layer(auth.guard().with_required_scope(ROTATE))
        .merge(Router::new().route("/", get(hello)).route_layer(auth.guard()))
        .route_service("/.well-known/jwks.json", jwks)
        .route_service(&metadata.path(), metadata.into_service())
        .route_service("/token", auth.token_endpoint().into_service());

    println!("listening on {issuer}");
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
