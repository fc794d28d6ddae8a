//! Users in a database: sign-up, login, password change, log out everywhere, roles, disabled users; behind a proxy, for a
//! single-page app, with errors in the app's own format.
//!
//!     cargo run -p example-sqlite
//!     curl --json '{"username":"carol","password":"down-the-hole"}' http://127.0.0.1:8000/users
//!     curl -d 'grant_type=password&username=carol&password=down-the-hole' http://127.0.0.1:8000/token
//!     curl -H "authorization: Bearer $ACCESS_TOKEN" http://127.0.0.1:8000/users/me
//!     curl --json '{"old":"down-the-hole","new":"off-with-their-heads"}' -H "authorization: Bearer $ACCESS_TOKEN" \
//!         http://127.0.0.1:8000/users/me/password
//!     curl -X DELETE -H "authorization: Bearer $ACCESS_TOKEN" http://127.0.0.1:8000/users/me/sessions
//!
//! Users and sessions are in memory. `DATABASE_URL='sqlite:users.db?mode=rwc'` keeps them in a file,
//! `DATABASE_URL=postgres://me:secret@localhost/mydb` in Postgres. With `JWT_SECRET`, 32 random bytes or more, a restart then
//! logs nobody out. The first statement makes carol an administrator at her
//! next login, who may `DELETE /users/{id}`. The second ends her logins and refreshes, and the third the refreshes only:
//!
//!     UPDATE users SET scope = 'items:read admin' WHERE username = 'carol';
//!     UPDATE users SET disabled = 1 WHERE username = 'carol';
//!     UPDATE users SET stamp = 'another' WHERE username = 'carol';

mod auth;
mod database;
mod problem;

use std::{env, net::SocketAddr};

use tokio::net::TcpListener;
use tower_oauth2_password::{AccessToken, AuthorizationServer, BoxError};

use self::{
    auth::User,
    database::{Database, random_id},
};

#[derive(Clone)]
struct App {
    database: Database,
    auth: AuthorizationServer,
}

async fn index(token: Option<AccessToken>) -> &'static str {
    if token.is_some() { "Welcome back\n" } else { "Hello, stranger\n" }
}

async fn me(user: User) -> String {
    format!("{}\n", user.name)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let url = env::var("DATABASE_URL").ok().filter(|url| !url.is_empty());
    let url = url.as_deref().unwrap_or("sqlite::memory:");
    let unusable = |error| format!("the database of DATABASE_URL cannot be used: {error}");
    let database = Database::open(url).await.map_err(unusable)?;
    let stores = database::stores(url).await.map_err(unusable)?;
    let secret = env::var("JWT_SECRET").or_else(|_| Ok::<_, BoxError>(random_id()? + &random_id()?))?;
    let auth = auth::server(database.clone(), stores, &secret)?;
    let app = auth::router(App { database, auth });

    let listener = TcpListener::bind(env::var("ADDR").as_deref().unwrap_or("127.0.0.1:8000")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
