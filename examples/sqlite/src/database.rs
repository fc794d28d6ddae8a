//! The table of users. The same statements run on SQLite and Postgres.

use std::{future::Future, time::Duration};

use sqlx::{AnyPool, Row, any::AnyPoolOptions, any::AnyRow};
use tower_oauth2_password::{BoxError, Identity, StoredUser, Users};

/// Tokens hold the id and not the username, which may get another owner. The stamp changes when sessions must end.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS users (
    id TEXT PRIMARY KEY,
    username TEXT UNIQUE NOT NULL,
    password_hash TEXT NOT NULL,
    disabled INTEGER NOT NULL DEFAULT 0,
    scope TEXT NOT NULL DEFAULT '',
    stamp TEXT NOT NULL
)";

/// A database that does not answer in this time is an error, and the client gets a 503.
const LIMIT: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub(crate) struct Database(AnyPool);

/// The form in which usernames are stored, looked up and limited: `Carol@Example.com` is `carol@example.com`.
pub(crate) fn canonical(username: &str) -> String {
    username.trim().to_lowercase()
}

impl Database {
    pub(crate) async fn open(url: &str) -> Result<Self, BoxError> {
        sqlx::any::install_default_drivers();
        let mut options = AnyPoolOptions::new().acquire_timeout(LIMIT);
        if url.starts_with("sqlite") {
            // SQLite in memory ends with its connection. In a file it has one writer at a time anyway.
            options = options.max_connections(1).idle_timeout(None).max_lifetime(None);
        }
        let pool = options.connect(url).await?;
        within(sqlx::query(SCHEMA).execute(&pool)).await?;
        Ok(Self(pool))
    }

    /// The id of the new user. `None` if the username is taken: the database decides, so there is no race.
    pub(crate) async fn add(&self, username: &str, password_hash: &str) -> Result<Option<String>, BoxError> {
        let id = random_text()?;
        let insert = "INSERT INTO users (id, username, password_hash, scope, stamp)
            VALUES ($1, $2, $3, 'items:read', $4) ON CONFLICT (username) DO NOTHING";
        let insert = sqlx::query(insert).bind(&id).bind(username).bind(password_hash).bind(random_text()?);
        let added = within(insert.execute(&self.0)).await?.rows_affected() == 1;
        Ok(added.then_some(id))
    }

    pub(crate) async fn username(&self, id: &str) -> Result<Option<String>, BoxError> {
        let select = sqlx::query_scalar("SELECT username FROM users WHERE id = $1").bind(id);
        within(select.fetch_optional(&self.0)).await
    }

    /// Changes the password, unless it has changed since `user` was read. The new stamp makes all earlier refresh tokens
    /// invalid, also those of logins in progress.
    pub(crate) async fn change_password(&self, user: &Identity, password_hash: &str) -> Result<bool, BoxError> {
        let update = "UPDATE users SET password_hash = $1, stamp = $2 WHERE id = $3 AND stamp = $4";
        let update = sqlx::query(update).bind(password_hash).bind(random_text()?);
        let update = update.bind(user.subject()).bind(user.security_stamp());
        Ok(within(update.execute(&self.0)).await?.rows_affected() == 1)
    }
}

impl Users for Database {
    async fn find(&self, username: &str) -> Result<Option<StoredUser>, BoxError> {
        let select = sqlx::query("SELECT * FROM users WHERE username = $1").bind(canonical(username));
        within(select.fetch_optional(&self.0)).await?.as_ref().map(user).transpose()
    }

    async fn find_subject(&self, subject: &str) -> Result<Option<StoredUser>, BoxError> {
        let select = sqlx::query("SELECT * FROM users WHERE id = $1").bind(subject);
        within(select.fetch_optional(&self.0)).await?.as_ref().map(user).transpose()
    }

    async fn update_password_hash(&self, user: &StoredUser, new: &str) -> Result<(), BoxError> {
        let update = "UPDATE users SET password_hash = $1 WHERE id = $2 AND password_hash = $3";
        let update = sqlx::query(update).bind(new).bind(user.identity().subject()).bind(user.password_hash());
        within(update.execute(&self.0)).await?;
        Ok(())
    }
}

fn user(row: &AnyRow) -> Result<StoredUser, BoxError> {
    let identity = Identity::new(row.try_get::<String, _>("id")?)
        .with_scope(row.try_get::<&str, _>("scope")?.parse()?)
        .with_security_stamp(row.try_get::<String, _>("stamp")?);
    Ok(StoredUser::new(identity)
        .with_password_hash(row.try_get::<String, _>("password_hash")?)
        .with_disabled(row.try_get::<i32, _>("disabled")? != 0))
}

async fn within<T>(query: impl Future<Output = sqlx::Result<T>>) -> Result<T, BoxError> {
    Ok(tokio::time::timeout(LIMIT, query).await??)
}

fn random_text() -> Result<String, BoxError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}
