//! A service logs in as itself (`client_credentials`; RFC 6749, section 4.4), and users log in with a password.
//!
//!     cargo run --example client_credentials
//!     curl -u reports:reports-secret -d grant_type=client_credentials http://127.0.0.1:8000/token
//!     curl -H "authorization: Bearer $TOKEN" http://127.0.0.1:8000/orders
//!     curl -H "authorization: Bearer $TOKEN" http://127.0.0.1:8000/users/me
//!
//! The last is a 403: a service is no user. alice is one, and may not read all orders:
//!
//!     curl -d 'grant_type=password&username=alice&password=wonderland123' http://127.0.0.1:8000/token

use std::{env, net::SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::{StatusCode, request::Parts};
use axum::{Extension, Router, routing::get};
use tokio::net::TcpListener;
use tower_oauth2_password::{
    AccessToken, AttemptLimits, AuthorizationServer, BoxError, Client, ClientAddress, Jwt, Key, MemoryUsers,
    PasswordVerifier, Scope, StaticClients, store::MemoryAttemptStore,
};

/// "wonderland123", hashed with `HashingPool::hash`
const ALICE: &str = "$argon2id$v=19$m=19456,t=2,p=1$KtZ/zJOv10oETt4938BfPw$gQMO1zPMSvoazFlQqQALdbiJLvbHiIidHnyyT4KiPKQ";

/// The current user. A service is none, whatever its subject.
struct User(String);

impl<S: Sync> FromRequestParts<S> for User {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(request: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let user = request.extensions.get().and_then(AccessToken::user);
        user.map(|user| Self(user.to_owned())).ok_or((StatusCode::FORBIDDEN, "Only users have an account\n"))
    }
}

async fn me(user: User) -> String {
    format!("{}\n", user.0)
}

/// For every caller with the scope: here, services.
async fn orders(Extension(token): Extension<AccessToken>) -> String {
    format!("all orders, for {}\n", token.subject())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    let jwt = Jwt::new(Key::hs256(secret)?, "http://127.0.0.1:8000", "api");
    let users = PasswordVerifier::new(MemoryUsers::from_phc([("alice", ALICE, "orders:own")])?);
    let all_orders: Scope = "orders:all".parse()?;
    // Yours has 32 random bytes, which it gets as it gets the password of its database.
    let reports = Client::confidential("reports", "reports-secret").with_grants(["client_credentials"]);
    // A name that no user has.
    let reports = reports.with_subject("client:reports").with_scope(all_orders.clone());
    let peer = ClientAddress::peer(|peer: &ConnectInfo<SocketAddr>| peer.0);
    let auth = AuthorizationServer::new(users, jwt)
        .with_attempt_limits(AttemptLimits::new(MemoryAttemptStore::new(), peer))
        .with_clients(StaticClients::new([reports]))
        .with_client_credentials_grant();
    let app = Router::new()
        .route("/users/me", get(me).layer(auth.guard()))
        .route("/orders", get(orders).layer(auth.guard().with_required_scope(all_orders)))
        .layer(auth.endpoints());

    let listener = TcpListener::bind(env::var("ADDR").as_deref().unwrap_or("127.0.0.1:8000")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
