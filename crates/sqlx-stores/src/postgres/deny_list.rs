//! Revoked access tokens in Postgres.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{Executor as _, PgPool};
use tokio::time::timeout;
use tower_oauth2_password::BoxError;
use tower_oauth2_password::store::{Denial, DenyList, StoreFuture, TokenRef};

use super::connection::{Connection, arguments};
use crate::call::{MOST_DENIED, OPENING, PAGE, SHARE, micros};
use crate::copy::{ANSWER, CATCH_UP, LocalCopy, Source};
use crate::record::DeniedRow;

/// After so long without a notification, the table is asked. A pooler may have lost it.
const QUIET: Duration = Duration::from_millis(250);

/// Less than `ANSWER` and `CATCH_UP`.
const LIMITS: &str = "SELECT set_config('lock_timeout', '300', false), set_config('statement_timeout', '25000', false)";

/// Revoked access tokens in Postgres. Each process has a copy, which the guard reads without waiting.
///
/// 1. The copy follows the table in the background, by `LISTEN` and by a query four times a second, from the first call inside
///    a tokio runtime on. While Postgres is unreachable the copy keeps what it has, which is nothing before the first
///    connection. The log says when that begins and ends. [`is_in_sync`](Self::is_in_sync) says it, too, for readiness probes.
/// 2. The list holds 1,000,000 entries that have not expired. When it is full, `deny` fails.
///
/// [`PgStores::deny_list`](super::PgStores::deny_list) returns it.
///
/// ```
/// use sqlx::PgPool;
/// use tower_oauth2_password::BoxError;
/// use tower_oauth2_password_sqlx::{PgDenyList, PgStores};
///
/// async fn is_ready(pool: PgPool) -> Result<bool, BoxError> {
///     let list: PgDenyList = PgStores::open(pool).await?.deny_list(); // once, when the app starts
///     Ok(list.is_in_sync())
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let pool = PgPool::connect_lazy("postgres://me@127.0.0.1:1/app")?; // nothing listens there
/// assert!(is_ready(pool).await.is_err());
/// # Ok::<(), BoxError>(())
/// # })?;
/// # Ok::<(), BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct PgDenyList {
    connection: Arc<Connection>,
    copy: Arc<LocalCopy>,
}

impl PgDenyList {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        let list = Self { connection, copy: LocalCopy::new() };
        list.follow();
        list
    }

    /// Whether the copy holds all that the table holds, but for the last moment.
    pub fn is_in_sync(&self) -> bool {
        self.follow();
        self.copy.is_in_sync()
    }

    fn follow(&self) {
        self.copy.follow(|| {
            let Connection { pool, names, channel, .. } = &*self.connection;
            Follower { pool: pool.clone(), names: names.clone(), channel: channel.clone() }
        });
    }
}

impl DenyList for PgDenyList {
    fn deny<'a>(&'a self, denial: Denial<'a>, deadline: Instant) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            self.follow();
            let DeniedRow { key, subject, before } = DeniedRow::of(&denial)?;
            // Counting takes a while, so it is done only if the table may be full.
            let most = self.copy.may_be_full().then_some(MOST_DENIED);
            let arguments =
                arguments![key, subject, before, micros(denial.ttl), SHARE, most, self.connection.channel.as_str()];
            let (kept, left, before) =
                self.connection.ask::<(bool, i64, Option<i64>)>("deny", arguments, deadline).await?;
            if kept {
                self.copy.insert(&key, before, left).await?;
            }
            Ok(kept)
        })
    }

    fn is_denied(&self, token: TokenRef<'_>) -> bool {
        self.follow();
        self.copy.is_denied(token)
    }
}

struct Follower {
    pool: PgPool,
    names: String,
    channel: String,
}

/// The oldest transaction in progress, the time, and an entry.
type Change = (i64, i64, Option<Vec<u8>>, Option<i64>, Option<i64>);

impl Source for Follower {
    async fn read_into(&self, copy: &Weak<LocalCopy>) -> Result<(), BoxError> {
        // A connection of its own, so that a busy pool does not cut the list off. A new one each time: one that hangs counts as
        // taken.
        let options: PgPoolOptions = self.pool.options().clone().min_connections(0).max_connections(1);
        let own = options.connect_lazy_with((*self.pool.connect_options()).clone());
        let mut listener = timeout(OPENING, PgListener::connect_with(&own)).await??;
        listener.eager_reconnect(false);
        // What is given up here must not wait on for a lock there.
        timeout(ANSWER, listener.execute(LIMITS)).await??;
        // Before the table is read, so that no notification falls between.
        timeout(ANSWER, listener.listen(&self.channel)).await??;
        let mut oldest = timeout(CATCH_UP, self.whole(&mut listener, copy)).await??;
        if let Some(copy) = copy.upgrade() {
            copy.set_in_sync(Ok(()));
        }
        loop {
            match timeout(QUIET, listener.try_recv()).await {
                // Another connection may lead to another server, of which nothing is known.
                Ok(Ok(None)) => return Err("Postgres closed the connection".into()),
                Ok(Err(error)) => return Err(error.into()),
                Ok(Ok(Some(_))) | Err(_) => {}
            }
            // One query for all that have arrived.
            while listener.next_buffered().is_some() {}
            if copy.strong_count() == 0 {
                return Ok(());
            }
            oldest = timeout(ANSWER, self.changes(&mut listener, copy, oldest)).await??;
        }
    }
}

impl Follower {
    /// Reads the table in pages. Returns what [`changes`](Self::changes) has to begin with.
    async fn whole(&self, listener: &mut PgListener, copy: &Weak<LocalCopy>) -> Result<i64, BoxError> {
        let page = format!(
            "SELECT s.oldest, s.now, d.key, d.ended_before, d.expires FROM {0} s LEFT JOIN LATERAL \
             (SELECT * FROM {1}denied WHERE key > $1 ORDER BY key LIMIT {PAGE}) d ON true ORDER BY d.key",
            self.snapshot(),
            self.names
        );
        let (mut first, mut last) = (None, Vec::new());
        loop {
            let rows: Vec<Change> = sqlx::query_as(&page).bind(&last).fetch_all(&mut *listener).await?;
            let oldest = *first.get_or_insert(insert(&rows, copy).await?);
            match rows.last() {
                Some((_, _, Some(key), ..)) if rows.len() as i64 == PAGE => last.clone_from(key),
                _ => return Ok(oldest),
            }
        }
    }

    /// Reads what may have been written since a snapshot. Transactions do not commit in the order in which they began, so a
    /// time or a sequence would miss what commits late. All that a snapshot did not see was written by the oldest transaction
    /// in progress at that time, or by a later one.
    async fn changes(&self, listener: &mut PgListener, copy: &Weak<LocalCopy>, since: i64) -> Result<i64, BoxError> {
        let changes = format!(
            "SELECT s.oldest, s.now, d.key, d.ended_before, d.expires FROM {0} s \
             LEFT JOIN {1}denied d ON d.tx >= $1",
            self.snapshot(),
            self.names
        );
        let rows: Vec<Change> = sqlx::query_as(&changes).bind(since).fetch_all(listener).await?;
        insert(&rows, copy).await
    }

    fn snapshot(&self) -> String {
        format!("(SELECT txid_snapshot_xmin(txid_current_snapshot()) AS oldest, {}clock() AS now)", self.names)
    }
}

/// Returns the oldest transaction in progress when the rows were read.
async fn insert(rows: &[Change], copy: &Weak<LocalCopy>) -> Result<i64, BoxError> {
    if let Some(copy) = copy.upgrade() {
        for (_, now, key, before, expires) in rows {
            if let (Some(key), Some(expires)) = (key, expires) {
                copy.insert(key, *before, expires - now).await?;
            }
        }
    }
    rows.first().map(|(oldest, ..)| *oldest).ok_or_else(|| "Postgres returned no row".into())
}
