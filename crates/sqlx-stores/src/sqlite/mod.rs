//! The stores in SQLite.

mod attempts;
mod connection;
mod deny_list;
mod refresh;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use sqlx::SqlitePool;
use tower_oauth2_password::BoxError;

use self::connection::Connection;
use crate::call::{OPENING, before};
use crate::schema::{DEFAULT_PREFIX, VERSION, check_prefix, check_version};

pub use self::{attempts::SqliteAttemptStore, deny_list::SqliteDenyList, refresh::SqliteRefreshStore};

/// The three stores in one SQLite database, for one or several processes on one machine.
///
/// 1. They have connections of their own to the database of the pool, up to five. One in memory lives as long as the stores,
///    and is the pool's own if its URL is `sqlite::memory:`.
/// 2. Each decision is one transaction that begins with the lock for writing. A call ends by its deadline. One that waited for
///    the lock until then changes nothing.
/// 3. SQLite has no clock: the time is that of this machine's wall clock, once the lock is held. It must be slewed, not stepped.
/// 4. Each write removes a few expired rows, so the tables hold little more than what is alive.
///
/// The journal mode `WAL` lets writers and readers go on beside each other.
///
/// ```
/// use sqlx::SqlitePool;
/// use tower_oauth2_password_sqlx::SqliteStores;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let pool = SqlitePool::connect("sqlite::memory:").await?;
/// let stores = SqliteStores::open(pool.clone()).await?;
/// let refresh_tokens = stores.refresh_tokens();
/// let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name LIKE 'oauth2_%'")
///     .fetch_one(&pool)
///     .await?;
/// assert_eq!(tables, 5);
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct SqliteStores(Arc<Connection>);

impl SqliteStores {
    /// Creates the tables, whose names begin with `oauth2_`, unless they exist.
    ///
    /// # Errors
    /// When the database cannot be used within five seconds, or the tables have another version.
    pub async fn open(pool: SqlitePool) -> Result<Self, BoxError> {
        Self::open_with_prefix(pool, DEFAULT_PREFIX).await
    }

    /// Like [`open`](Self::open), with other names: lower-case letters, digits and `_`.
    ///
    /// # Errors
    /// As for `open`, and when the prefix has other characters or more than 30.
    pub async fn open_with_prefix(pool: SqlitePool, prefix: &str) -> Result<Self, BoxError> {
        check_prefix(prefix)?;
        let deadline = Instant::now() + OPENING;
        before(deadline, async {
            let connection = Connection::new(&pool, prefix.to_owned()).await?;
            create(&connection, deadline).await?;
            Ok(Self(Arc::new(connection)))
        })
        .await
    }

    /// Refresh token families.
    pub fn refresh_tokens(&self) -> SqliteRefreshStore {
        SqliteRefreshStore(Arc::clone(&self.0))
    }

    /// Failed attempts.
    pub fn attempts(&self) -> SqliteAttemptStore {
        SqliteAttemptStore(Arc::clone(&self.0))
    }

    /// Revoked access tokens. A task keeps the local copy: it starts here, or outside a runtime with the first call inside one,
    /// and ends with the last clone of the list.
    pub fn deny_list(&self) -> SqliteDenyList {
        SqliteDenyList::new(Arc::clone(&self.0))
    }
}

impl fmt::Debug for SqliteStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SqliteStores").field(&self.0).finish()
    }
}

/// Creates the tables, and takes the lock for that only if they are not there.
async fn create(connection: &Connection, deadline: Instant) -> Result<(), BoxError> {
    let prefix = &connection.prefix;
    if let Some(found) = version(connection, deadline).await? {
        return check_version(found, prefix);
    }
    let mut transaction = connection.begin(deadline).await?;
    // Of processes that start at once, one creates them. This one sees what others committed before it got the lock.
    if let Some(found) = version(connection, deadline).await? {
        return check_version(found, prefix);
    }
    let tables = include_str!("schema.sql").replace("{p}", prefix);
    let numbered = format!("CREATE TABLE {prefix}schema (version INTEGER NOT NULL); {tables}");
    sqlx::raw_sql(&numbered).execute(transaction.sql()).await?;
    sqlx::query(&format!("INSERT INTO {prefix}schema VALUES ($1)")).bind(VERSION).execute(transaction.sql()).await?;
    transaction.commit().await
}

async fn version(connection: &Connection, deadline: Instant) -> Result<Option<i64>, BoxError> {
    let name = format!("{}schema", connection.prefix);
    let exists = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = $1";
    let exists = connection.read(deadline, || sqlx::query_as::<_, (i64,)>(exists).bind(name.clone())).await?;
    if exists.first().is_none_or(|(count,)| *count == 0) {
        return Ok(None);
    }
    let select = format!("SELECT version FROM {name}");
    let version = connection.read(deadline, || sqlx::query_as::<_, (i64,)>(&select)).await?;
    Ok(version.first().map(|(version,)| *version))
}
