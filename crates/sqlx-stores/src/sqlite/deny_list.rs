//! Revoked access tokens in SQLite.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tower_oauth2_password::BoxError;
use tower_oauth2_password::store::{Denial, DenyList, StoreFuture, TokenRef};

use super::connection::{Connection, now};
use crate::call::{MOST_DENIED, PAGE, SHARE, before, micros};
use crate::copy::{ANSWER, CATCH_UP, LocalCopy, Source};
use crate::record::DeniedRow;

/// How often the table is asked: SQLite tells no other process.
const POLL: Duration = Duration::from_millis(200);

/// Revoked access tokens in SQLite. Each process has a copy, which the guard reads without waiting.
///
/// 1. The copy follows the table in the background, by a query five times a second, from the first call inside a tokio runtime
///    on. While the database cannot be read the copy keeps what it has. The log says when that begins and ends.
///    [`is_in_sync`](Self::is_in_sync) says it, too, for readiness probes.
/// 2. The list holds 1,000,000 entries that have not expired. When it is full, `deny` fails.
///
/// [`SqliteStores::deny_list`](super::SqliteStores::deny_list) returns it.
///
/// ```
/// use std::time::{Duration, Instant};
/// use sqlx::SqlitePool;
/// use tower_oauth2_password::store::{Denial, Denied, DenyList, TokenRef};
/// use tower_oauth2_password_sqlx::SqliteStores;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let list = SqliteStores::open(SqlitePool::connect("sqlite::memory:").await?).await?.deny_list();
/// let denial = Denial::new(Denied::Session("s-1"), None, "alice", Duration::from_secs(900));
/// assert!(list.deny(denial, Instant::now() + Duration::from_secs(5)).await?);
/// let mut token = TokenRef::new("alice");
/// assert!(!list.is_denied(token));
/// token.session_id = Some("s-1");
/// assert!(list.is_denied(token));
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct SqliteDenyList {
    connection: Arc<Connection>,
    copy: Arc<LocalCopy>,
}

impl SqliteDenyList {
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
        self.copy.follow(|| Follower(Arc::clone(&self.connection)));
    }

    async fn write(&self, denial: Denial<'_>, deadline: Instant) -> Result<bool, BoxError> {
        self.follow();
        let (p, row) = (&self.connection.prefix, DeniedRow::of(&denial)?);
        let (key, subject) = (row.key.to_vec(), row.subject.to_vec());
        let mut transaction = self.connection.begin(deadline).await?;
        let now = transaction.now;
        let known = format!("SELECT expires, ended_before FROM {p}denied WHERE key = $1 AND expires > $2");
        let known = sqlx::query_as::<_, (i64, Option<i64>)>(&known).bind(&key).bind(now);
        let known = known.fetch_optional(transaction.sql()).await?;
        if known.is_none() {
            let share =
                format!("SELECT count(*) FROM {p}denied WHERE subject = $1 AND ended_before IS NULL AND expires > $2");
            let share = sqlx::query_scalar::<_, i64>(&share).bind(&subject).bind(now);
            if row.before.is_none() && share.fetch_one(transaction.sql()).await? >= SHARE {
                return transaction.commit().await.map(|()| false);
            }
            let all = format!("SELECT count(*) FROM {p}denied WHERE expires > $1");
            let all = sqlx::query_scalar::<_, i64>(&all).bind(now);
            if self.copy.may_be_full() && all.fetch_one(transaction.sql()).await? >= MOST_DENIED {
                return Err("the deny list is full".into());
            }
        }
        let (known_expires, known_before) = known.unwrap_or_default();
        let (expires, ended) = (known_expires.max(now + micros(denial.ttl)), known_before.max(row.before));
        if known != Some((expires, ended)) {
            // A new number, so that the other processes read it.
            let deny = format!(
                "INSERT OR REPLACE INTO {p}denied (key, subject, ended_before, expires) VALUES ($1, $2, $3, $4)"
            );
            let deny = sqlx::query(&deny).bind(key).bind(subject).bind(ended).bind(expires);
            deny.execute(transaction.sql()).await?;
            transaction.sweep(&format!("{p}denied")).await?;
        }
        transaction.commit().await?;
        self.copy.insert(&row.key, ended, expires - now).await?;
        Ok(true)
    }
}

impl DenyList for SqliteDenyList {
    fn deny<'a>(&'a self, denial: Denial<'a>, deadline: Instant) -> StoreFuture<'a, bool> {
        Box::pin(before(deadline, self.write(denial, deadline)))
    }

    fn is_denied(&self, token: TokenRef<'_>) -> bool {
        self.follow();
        self.copy.is_denied(token)
    }
}

struct Follower(Arc<Connection>);

impl Source for Follower {
    async fn read_into(&self, copy: &Weak<LocalCopy>) -> Result<(), BoxError> {
        let mut last = self.after(0, CATCH_UP, copy).await?;
        while let Some(copied) = copy.upgrade() {
            copied.set_in_sync(Ok(()));
            drop(copied);
            tokio::time::sleep(POLL).await;
            last = self.after(last, ANSWER, copy).await?;
        }
        Ok(())
    }
}

impl Follower {
    /// Reads all rows after this number, in pages, and returns the number of the last.
    async fn after(&self, mut last: i64, limit: Duration, copy: &Weak<LocalCopy>) -> Result<i64, BoxError> {
        let page = format!(
            "SELECT number, key, ended_before, expires FROM {}denied WHERE number > $1 ORDER BY number LIMIT {PAGE}",
            self.0.prefix
        );
        let deadline = Instant::now() + limit;
        loop {
            let rows =
                self.0.read(deadline, || sqlx::query_as::<_, (i64, Vec<u8>, Option<i64>, i64)>(&page).bind(last));
            let (rows, now) = (before(deadline, rows).await?, now());
            let Some(copy) = copy.upgrade() else { return Ok(last) };
            for (number, key, ended, expires) in &rows {
                copy.insert(key, *ended, expires - now).await?;
                last = *number;
            }
            if (rows.len() as i64) < PAGE {
                return Ok(last);
            }
        }
    }
}
