//! Failed attempts in Postgres.

use std::sync::Arc;
use std::time::Instant;

use tower_oauth2_password::store::{AttemptOutcome, AttemptStore, Reservation, Slot, StoreFuture};

use super::connection::{Connection, arguments};
use crate::call::{LEASE, STORE_BUDGET, adds_and_clears, before, duration, micros, spawn};

/// Failed attempts in Postgres: a row for each failure that counts, and for each attempt in progress.
/// [`PgStores::attempts`](super::PgStores::attempts) returns it.
///
/// ```
/// use std::time::{Duration, Instant};
/// use sqlx::PgPool;
/// use tower_oauth2_password::{BoxError, store::{AttemptKey, AttemptLimit, AttemptStore, Reservation, Slot}};
/// use tower_oauth2_password_sqlx::{PgAttemptStore, PgStores};
///
/// async fn attempt(pool: PgPool) -> Result<Reservation, BoxError> {
///     let store: PgAttemptStore = PgStores::open(pool).await?.attempts();
///     let limit = AttemptLimit { failures: 10, window: Duration::from_secs(60) };
///     store.reserve(Slot { key: AttemptKey([7; 16]), id: 1, limit }, Instant::now() + Duration::from_millis(500)).await
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let pool = PgPool::connect_lazy("postgres://me@127.0.0.1:1/app")?; // nothing listens there
/// assert!(attempt(pool).await.is_err());
/// # Ok::<(), BoxError>(())
/// # })?;
/// # Ok::<(), BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct PgAttemptStore(pub(super) Arc<Connection>);

impl AttemptStore for PgAttemptStore {
    fn reserve(&self, slot: Slot, deadline: Instant) -> StoreFuture<'_, Reservation> {
        Box::pin(async move {
            if slot.limit.failures == 0 {
                return before(deadline, async { Ok(Reservation::Blocked { retry_after: slot.limit.window }) }).await;
            }
            let limit = i64::from(slot.limit.failures);
            let arguments = arguments![slot.key.0, slot.id.cast_signed(), limit, micros(LEASE)];
            Ok(match self.0.ask::<(i32, i64)>("reserve", arguments, deadline).await? {
                (0, _) => Reservation::Reserved,
                (1, _) => Reservation::Busy,
                (_, wait) => Reservation::Blocked { retry_after: duration(wait) },
            })
        })
    }

    fn settle(&self, slot: Slot, outcome: AttemptOutcome, deadline: Instant) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let (limit, window) = (i64::from(slot.limit.failures), micros(slot.limit.window));
            let (failed, clears) = adds_and_clears(outcome);
            let arguments = arguments![slot.key.0, slot.id.cast_signed(), failed, clears, limit, window];
            self.0.ask::<(bool,)>("settle", arguments, deadline).await.map(drop)
        })
    }

    fn abandon(&self, slot: Slot) {
        let store = self.clone();
        let deadline = Instant::now() + STORE_BUDGET;
        // Without a runtime, the lease ends the reservation.
        spawn(async move { drop(store.settle(slot, AttemptOutcome::Released, deadline).await) });
    }
}
