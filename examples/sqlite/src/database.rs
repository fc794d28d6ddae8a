//! The database of this app. The same statements run on SQLite and Postgres.

use std::{future::Future, str::FromStr, sync::Arc, time::Duration};

use sqlx::{
    AnyPool, PgPool, Row, SqlitePool,
    any::AnyPoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};
use tower_oauth2_password::{
    BoxError,
    store::{AttemptStore, DenyList, RefreshStore},
};
use tower_oauth2_password_sqlx::{PgStores, SqliteStores};

/// Tokens hold the id and not the username, which may get another owner. A new stamp ends all refresh tokens of a user.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS users (
    id TEXT PRIMARY KEY,
    username TEXT UNIQUE NOT NULL,
    password_hash TEXT NOT NULL,
    disabled INTEGER NOT NULL DEFAULT 0,
    scope TEXT NOT NULL DEFAULT 'items:read',
    stamp TEXT NOT NULL DEFAULT ''
)";

/// A database that does not answer in this time is an error, and the client gets a 503.
const LIMIT: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub(crate) struct Database(AnyPool);

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

    /// The first row, if there is one, and its columns as text.
    pub(crate) async fn row<const N: usize>(
        &self,
        sql: &str,
        values: &[&str],
    ) -> Result<Option<[String; N]>, BoxError> {
        let query = values.iter().fold(sqlx::query(sql), |query, value| query.bind(*value));
        let Some(row) = within(query.fetch_optional(&self.0)).await? else { return Ok(None) };
        let columns = (0..N).map(|column| row.try_get(column)).collect::<Result<Vec<_>, _>>()?;
        Ok(columns.try_into().ok())
    }

    /// Returns how many rows it changed.
    pub(crate) async fn change(&self, sql: &str, values: &[&str]) -> Result<u64, BoxError> {
        let query = values.iter().fold(sqlx::query(sql), |query, value| query.bind(*value));
        Ok(within(query.execute(&self.0)).await?.rows_affected())
    }
}

pub(crate) struct Stores {
    pub(crate) refresh_tokens: Arc<dyn RefreshStore>,
    pub(crate) attempts: Arc<dyn AttemptStore>,
    pub(crate) deny_list: Arc<dyn DenyList>,
}

/// Keeps sessions, failed attempts and revoked tokens beside the users, in tables of their own.
pub(crate) async fn stores(url: &str) -> Result<Stores, BoxError> {
    if url.starts_with("sqlite") {
        let options = SqliteConnectOptions::from_str(url)?.journal_mode(SqliteJournalMode::Wal);
        let stores = SqliteStores::open(SqlitePool::connect_with(options).await?).await?;
        let (refresh_tokens, attempts) = (Arc::new(stores.refresh_tokens()), Arc::new(stores.attempts()));
        return Ok(Stores { refresh_tokens, attempts, deny_list: Arc::new(stores.deny_list()) });
    }
    let stores = PgStores::open(PgPool::connect(url).await?).await?;
    let (refresh_tokens, attempts) = (Arc::new(stores.refresh_tokens()), Arc::new(stores.attempts()));
    Ok(Stores { refresh_tokens, attempts, deny_list: Arc::new(stores.deny_list()) })
}

async fn within<T>(query: impl Future<Output = sqlx::Result<T>>) -> Result<T, BoxError> {
    Ok(tokio::time::timeout(LIMIT, query).await??)
}

pub(crate) fn random_id() -> Result<String, BoxError> {
    Ok(format!("{:016x}{:016x}", getrandom::u64()?, getrandom::u64()?))
}
