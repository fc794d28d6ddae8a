//! The stores in Postgres.

mod attempts;
mod connection;
mod deny_list;
mod refresh;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use sqlx::{Connection as _, PgConnection, PgPool};
use tower_oauth2_password::BoxError;

use self::connection::Connection;
use crate::call::{OPENING, before};
use crate::schema::{DEFAULT_PREFIX, VERSION, check_prefix, check_version};

pub use self::{attempts::PgAttemptStore, deny_list::PgDenyList, refresh::PgRefreshStore};

/// The three stores in one Postgres (13 or later). They share the pool of the app.
///
/// 1. Each decision is one call of a function in the database, by the database's clock, and one round trip.
/// 2. A call ends by its deadline. One that Postgres starts later, or that waited for a lock until then, changes nothing.
/// 3. Each write removes a few expired rows, so the tables hold little more than what is alive.
/// 4. The isolation level must be READ COMMITTED, which is Postgres's default.
///
/// ```
/// use sqlx::PgPool;
/// use tower_oauth2_password_sqlx::PgStores;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let pool = PgPool::connect_lazy("postgres://me@127.0.0.1:1/app")?; // nothing listens there
/// assert!(PgStores::open(pool).await.is_err(), "a database that is away is noticed at start");
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct PgStores(Arc<Connection>);

impl PgStores {
    /// Creates the tables, whose names begin with `oauth2_`, unless they exist.
    ///
    /// # Errors
    /// When the database cannot be used within five seconds, or the tables have another version.
    pub async fn open(pool: PgPool) -> Result<Self, BoxError> {
        Self::open_with_prefix(pool, DEFAULT_PREFIX).await
    }

    /// Like [`open`](Self::open), with other names: lower-case letters, digits and `_`.
    ///
    /// # Errors
    /// As for `open`, and when the prefix has other characters or more than 30.
    pub async fn open_with_prefix(pool: PgPool, prefix: &str) -> Result<Self, BoxError> {
        check_prefix(prefix)?;
        let deadline = Instant::now() + OPENING;
        let names = before(deadline, async {
            let mut connection = pool.acquire().await?;
            let schema: Option<String> =
                sqlx::query_scalar("SELECT quote_ident(current_schema())").fetch_one(&mut *connection).await?;
            let schema = schema.ok_or("the search_path names no schema that exists")?;
            let names = format!("{schema}.{prefix}");
            create(&mut connection, &names, prefix).await?;
            Ok(names)
        });
        let connection = Connection::new(pool.clone(), names.await?, format!("{prefix}denied"));
        connection.check(deadline).await?;
        Ok(Self(Arc::new(connection)))
    }

    /// Refresh token families.
    pub fn refresh_tokens(&self) -> PgRefreshStore {
        PgRefreshStore(Arc::clone(&self.0))
    }

    /// Failed attempts.
    pub fn attempts(&self) -> PgAttemptStore {
        PgAttemptStore(Arc::clone(&self.0))
    }

    /// Revoked access tokens. A task with a connection of its own keeps the local copy: it starts here, or outside a runtime
    /// with the first call inside one, and ends with the last clone of the list.
    pub fn deny_list(&self) -> PgDenyList {
        PgDenyList::new(Arc::clone(&self.0))
    }
}

impl fmt::Debug for PgStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PgStores").field(&self.0).finish()
    }
}

/// Creates the tables, and takes the lock for that only if they are not there.
async fn create(connection: &mut PgConnection, names: &str, prefix: &str) -> Result<(), BoxError> {
    if let Some(found) = version(connection, names).await? {
        return check_version(found, prefix);
    }
    let mut transaction = connection.begin().await?;
    // Of processes that start at once, one creates them.
    let lock = "SELECT set_config('lock_timeout', '4000', true), pg_advisory_xact_lock(hashtext($1))";
    sqlx::query(lock).bind(names).execute(&mut *transaction).await?;
    if let Some(found) = version(&mut transaction, names).await? {
        return check_version(found, prefix);
    }
    let tables = include_str!("schema.sql").replace("{p}", names);
    let numbered = format!("CREATE TABLE {names}schema (version bigint NOT NULL); {tables}");
    sqlx::raw_sql(&numbered).execute(&mut *transaction).await?;
    sqlx::query(&format!("INSERT INTO {names}schema VALUES ($1)")).bind(VERSION).execute(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

async fn version(connection: &mut PgConnection, names: &str) -> Result<Option<i64>, BoxError> {
    // A search of the catalogue, and not `to_regclass`, which may answer from a cache while another process creates them.
    let exists = "SELECT EXISTS (SELECT FROM pg_tables WHERE quote_ident(schemaname) || '.' || tablename = $1)";
    if !sqlx::query_scalar(exists).bind(format!("{names}schema")).fetch_one(&mut *connection).await? {
        return Ok(None);
    }
    Ok(Some(sqlx::query_scalar(&format!("SELECT version FROM {names}schema")).fetch_one(connection).await?))
}
