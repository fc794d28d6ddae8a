//! Failed attempts in SQLite.

use std::sync::Arc;
use std::time::Instant;

use tower_oauth2_password::BoxError;
use tower_oauth2_password::store::{AttemptOutcome, AttemptStore, Reservation, Slot, StoreFuture};

use super::connection::Connection;
use crate::call::{LEASE, STORE_BUDGET, adds_and_clears, before, duration, micros, spawn};

/// Failed attempts in SQLite: a row for each failure that counts, and for each attempt in progress.
/// [`SqliteStores::attempts`](super::SqliteStores::attempts) returns it.
///
/// ```
/// use std::time::{Duration, Instant};
/// use sqlx::SqlitePool;
/// use tower_oauth2_password::store::{AttemptKey, AttemptLimit, AttemptStore, Reservation, Slot};
/// use tower_oauth2_password_sqlx::SqliteStores;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let store = SqliteStores::open(SqlitePool::connect("sqlite::memory:").await?).await?.attempts();
/// let limit = AttemptLimit { failures: 1, window: Duration::from_secs(60) };
/// let (slot, soon) = (Slot { key: AttemptKey([7; 16]), id: 1, limit }, Instant::now() + Duration::from_secs(5));
/// assert_eq!(store.reserve(slot, soon).await?, Reservation::Reserved);
/// assert_eq!(store.reserve(Slot { id: 2, ..slot }, soon).await?, Reservation::Busy);
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct SqliteAttemptStore(pub(super) Arc<Connection>);

impl SqliteAttemptStore {
    async fn take(&self, slot: Slot, deadline: Instant) -> Result<Reservation, BoxError> {
        let limit = i64::from(slot.limit.failures);
        if limit == 0 {
            return Ok(Reservation::Blocked { retry_after: slot.limit.window });
        }
        let (key, p) = (slot.key.0.to_vec(), &self.0.prefix);
        let mut transaction = self.0.begin(deadline).await?;
        let now = transaction.now;
        let count =
            format!("SELECT count(*), coalesce(sum(failed), 0) FROM {p}attempts WHERE key = $1 AND expires > $2");
        let count = sqlx::query_as(&count).bind(&key).bind(now);
        let (taken, failures): (i64, i64) = count.fetch_one(transaction.sql()).await?;
        let answer = if failures >= limit {
            // Blocked until so many failures have expired that one slot is free.
            let frees = format!(
                "SELECT expires FROM {p}attempts WHERE key = $1 AND failed AND expires > $2 \
                 ORDER BY expires DESC LIMIT 1 OFFSET $3"
            );
            let frees = sqlx::query_scalar::<_, i64>(&frees).bind(key).bind(now).bind(limit - 1);
            Reservation::Blocked { retry_after: duration(frees.fetch_one(transaction.sql()).await? - now) }
        } else if taken >= limit {
            Reservation::Busy
        } else {
            let reserve =
                format!("INSERT OR REPLACE INTO {p}attempts (key, id, failed, expires) VALUES ($1, $2, 0, $3)");
            let reserve = sqlx::query(&reserve).bind(key).bind(slot.id.cast_signed()).bind(now + micros(LEASE));
            reserve.execute(transaction.sql()).await?;
            transaction.sweep(&format!("{p}attempts")).await?;
            Reservation::Reserved
        };
        transaction.commit().await.map(|()| answer)
    }

    async fn decide(&self, slot: Slot, outcome: AttemptOutcome, deadline: Instant) -> Result<(), BoxError> {
        let (key, id, p) = (slot.key.0.to_vec(), slot.id.cast_signed(), &self.0.prefix);
        let (failed, clears) = adds_and_clears(outcome);
        let mut transaction = self.0.begin(deadline).await?;
        if failed {
            let expires = transaction.now + micros(slot.limit.window);
            let fail = format!("INSERT OR REPLACE INTO {p}attempts (key, id, failed, expires) VALUES ($1, $2, 1, $3)");
            sqlx::query(&fail).bind(&key).bind(id).bind(expires).execute(transaction.sql()).await?;
            // The newest failures alone decide how long the key is blocked.
            let older = format!(
                "DELETE FROM {p}attempts WHERE key = $1 AND id IN (SELECT id FROM {p}attempts \
                 WHERE key = $1 AND failed ORDER BY expires DESC LIMIT -1 OFFSET $2)"
            );
            let older = sqlx::query(&older).bind(key).bind(i64::from(slot.limit.failures.max(1)));
            older.execute(transaction.sql()).await?;
        } else {
            let free = format!("DELETE FROM {p}attempts WHERE key = $1 AND CASE WHEN failed THEN $3 ELSE id = $2 END");
            sqlx::query(&free).bind(key).bind(id).bind(clears).execute(transaction.sql()).await?;
        }
        transaction.commit().await
    }
}

impl AttemptStore for SqliteAttemptStore {
    fn reserve(&self, slot: Slot, deadline: Instant) -> StoreFuture<'_, Reservation> {
        Box::pin(before(deadline, self.take(slot, deadline)))
    }

    fn settle(&self, slot: Slot, outcome: AttemptOutcome, deadline: Instant) -> StoreFuture<'_, ()> {
        Box::pin(before(deadline, self.decide(slot, outcome, deadline)))
    }

    fn abandon(&self, slot: Slot) {
        let store = self.clone();
        let deadline = Instant::now() + STORE_BUDGET;
        // Without a runtime, the lease ends the reservation.
        spawn(async move { drop(store.settle(slot, AttemptOutcome::Released, deadline).await) });
    }
}
