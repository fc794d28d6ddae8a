//! The connections of the stores, and transactions that end by their deadline.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sqlx::pool::PoolConnection;
use sqlx::query::QueryAs;
use sqlx::sqlite::{SqliteArguments, SqlitePoolOptions, SqliteRow};
use sqlx::{Connection as _, FromRow, Sqlite, SqliteConnection, SqlitePool};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::sleep;
use tower_oauth2_password::BoxError;

use crate::call::{in_time, micros};

/// How long to wait before asking again for what another connection holds.
const AGAIN: Duration = Duration::from_millis(2);
/// Result codes of SQLite, without what extends them: another connection holds the lock.
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
/// Writers take turns, so these are for readers.
const MOST_CONNECTIONS: u32 = 4;

pub(super) struct Connection {
    pool: SqlitePool,
    /// A database in memory ends with its last connection, and those of the pool may be closed at any time.
    _keeper: std::sync::Mutex<SqliteConnection>,
    pub(super) prefix: String,
    /// Writers of this process wait here in order, those of other processes try again and again.
    writing: Arc<Mutex<()>>,
}

impl Connection {
    /// Connections of their own: SQLite's busy timeout knows no deadline, so they go without it.
    pub(super) async fn new(pool: &SqlitePool, prefix: String) -> Result<Self, BoxError> {
        let options = (*pool.connect_options()).clone().busy_timeout(Duration::ZERO);
        let _keeper = std::sync::Mutex::new(SqliteConnection::connect_with(&options).await?);
        let pool: SqlitePoolOptions = pool.options().clone().min_connections(0).max_connections(MOST_CONNECTIONS);
        Ok(Self { pool: pool.connect_lazy_with(options), _keeper, prefix, writing: Arc::default() })
    }

    /// Runs a query that changes nothing.
    pub(super) async fn read<'q, T>(
        &self,
        deadline: Instant,
        query: impl Fn() -> QueryAs<'q, Sqlite, T, SqliteArguments<'q>>,
    ) -> Result<Vec<T>, BoxError>
    where
        T: for<'row> FromRow<'row, SqliteRow> + Send + Unpin,
    {
        let mut connection = self.pool.acquire().await?;
        loop {
            match query().fetch_all(&mut *connection).await {
                Err(error) if is_busy(&error) => again(deadline).await?,
                answer => return Ok(answer?),
            }
        }
    }

    /// Begins a transaction that holds the lock for writing.
    pub(super) async fn begin(&self, deadline: Instant) -> Result<Transaction, BoxError> {
        let turn = Arc::clone(&self.writing).lock_owned().await;
        let connection = self.pool.acquire().await?;
        let mut transaction = Transaction { connection, open: true, now: 0, deadline, _turn: turn };
        transaction.run("BEGIN IMMEDIATE").await?;
        in_time(deadline)?;
        transaction.now = now();
        Ok(transaction)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Without [`commit`](Self::commit), its connection is closed, and nothing was changed.
pub(super) struct Transaction {
    connection: PoolConnection<Sqlite>,
    open: bool,
    /// The time when the lock was taken, in microseconds.
    pub(super) now: i64,
    deadline: Instant,
    _turn: OwnedMutexGuard<()>,
}

impl Transaction {
    pub(super) fn sql(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    /// Removes a few rows that have expired.
    pub(super) async fn sweep(&mut self, table: &str) -> Result<(), BoxError> {
        let sweep = format!(
            "DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE expires <= $1 ORDER BY expires LIMIT 8)"
        );
        let now = self.now;
        sqlx::query(&sweep).bind(now).execute(self.sql()).await?;
        Ok(())
    }

    /// Without the journal mode WAL this waits for readers, too.
    pub(super) async fn commit(mut self) -> Result<(), BoxError> {
        in_time(self.deadline)?;
        self.run("COMMIT").await?;
        self.open = false;
        Ok(())
    }

    async fn run(&mut self, statement: &str) -> Result<(), BoxError> {
        loop {
            match sqlx::query(statement).execute(self.sql()).await {
                Err(error) if is_busy(&error) => again(self.deadline).await?,
                answer => return Ok(answer.map(drop)?),
            }
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.open {
            self.connection.close_on_drop();
        }
    }
}

async fn again(deadline: Instant) -> Result<(), BoxError> {
    sleep(AGAIN).await;
    in_time(deadline)
}

fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
    code.is_some_and(|code| [BUSY, LOCKED].contains(&(code & 0xff)))
}

/// The wall clock, in microseconds since the Unix epoch.
pub(super) fn now() -> i64 {
    micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
