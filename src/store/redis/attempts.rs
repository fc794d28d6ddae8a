//! Failed attempts in Redis.

use std::time::{Duration, Instant};

use super::RedisStores;
use super::connection::{hex, millis, spawn};
use super::scripts::{RESERVE, SETTLE};
use crate::store::{AttemptOutcome, AttemptStore, Reservation, STORE_BUDGET, Slot, StoreFuture, attempts::LEASE};

/// Failed attempts in Redis: one sorted set for each key with failures. [`RedisStores::attempts`](super::RedisStores::attempts)
/// returns it.
///
/// ```
/// use std::time::Instant;
/// use tower_oauth2_password::store::{AttemptKey, AttemptLimit, AttemptStore, Slot, redis::RedisStores};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let store = RedisStores::open("redis://127.0.0.1:1")?.attempts(); // nothing listens there
/// let limit = AttemptLimit { failures: 10, window: std::time::Duration::from_secs(60) };
/// let slot = Slot { key: AttemptKey([7; 16]), id: 1, limit };
/// assert!(store.reserve(slot, Instant::now() + limit.window).await.is_err());
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RedisAttemptStore(pub(super) RedisStores);

impl AttemptStore for RedisAttemptStore {
    fn reserve(&self, slot: Slot, deadline: Instant) -> StoreFuture<'_, Reservation> {
        Box::pin(async move {
            let arguments = (slot.id, slot.limit.failures, millis(slot.limit.window), millis(LEASE));
            let key = self.0.key('a', &hex(slot.key.0));
            let (code, wait): (u8, u64) = self.0.connection.run(&RESERVE, &key, arguments, deadline).await?;
            Ok(match code {
                0 => Reservation::Reserved,
                1 => Reservation::Busy,
                _ => Reservation::Blocked { retry_after: Duration::from_millis(wait) },
            })
        })
    }

    fn settle(&self, slot: Slot, outcome: AttemptOutcome, deadline: Instant) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let outcome = match outcome {
                AttemptOutcome::Failed => "failed",
                AttemptOutcome::Succeeded => "succeeded",
                AttemptOutcome::Released => "released",
            };
            let arguments = (slot.id, outcome, millis(slot.limit.window), millis(LEASE));
            self.0.connection.run(&SETTLE, &self.0.key('a', &hex(slot.key.0)), arguments, deadline).await
        })
    }

    fn abandon(&self, slot: Slot) {
        let store = self.clone();
        let deadline = Instant::now() + STORE_BUDGET;
        // Without a runtime, the lease ends the reservation.
        spawn(async move { drop(store.settle(slot, AttemptOutcome::Released, deadline).await) });
    }
}
