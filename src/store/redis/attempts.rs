use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    connection::{Connection, hex, millis, spawn},
    scripts::{RESERVE, SETTLE},
};
use crate::{
    error::StoreError,
    store::{
        AttemptKey, AttemptLimit, AttemptOutcome, AttemptStore, Reservation, ReservationId, STORE_TIME_BUDGET,
        attempts::RESERVATION_LEASE,
    },
};

/// Failed attempts in Redis: one sorted set for each key that failed of late.
#[derive(Clone, Debug)]
pub struct RedisAttemptStore {
    connection: Arc<Connection>,
    prefix: Arc<str>,
}

impl RedisAttemptStore {
    pub(super) fn new(connection: Arc<Connection>, prefix: Arc<str>) -> Self {
        Self { connection, prefix }
    }

    fn key(&self, key: AttemptKey) -> String {
        format!("{}:a:{}", self.prefix, hex(&key.0))
    }
}

impl AttemptStore for RedisAttemptStore {
    async fn reserve(
        &self,
        key: AttemptKey,
        id: ReservationId,
        limit: AttemptLimit,
        deadline: Instant,
    ) -> Result<Reservation, StoreError> {
        let (id, failures) = (id.to_string(), limit.failures.to_string());
        let [window, lease] = [limit.window, RESERVATION_LEASE].map(|time| millis(time).to_string());
        let arguments = [id.as_bytes(), failures.as_bytes(), window.as_bytes(), lease.as_bytes()];
        let (code, wait): (u8, u64) =
            self.connection.run_again_if_cut(&RESERVE, &self.key(key), &arguments, deadline).await?;
        Ok(match code {
            0 => Reservation::Reserved,
            1 => Reservation::Busy,
            _ => Reservation::Held { retry_after: Duration::from_millis(wait) },
        })
    }

    async fn settle(
        &self,
        key: AttemptKey,
        id: ReservationId,
        limit: AttemptLimit,
        outcome: AttemptOutcome,
        deadline: Instant,
    ) -> Result<(), StoreError> {
        let outcome: &[u8] = match outcome {
            AttemptOutcome::Failed => b"failed",
            AttemptOutcome::Succeeded => b"succeeded",
            AttemptOutcome::Released => b"released",
        };
        let id = id.to_string();
        let [window, lease] = [limit.window, RESERVATION_LEASE].map(|time| millis(time).to_string());
        let arguments = [id.as_bytes(), outcome, window.as_bytes(), lease.as_bytes()];
        self.connection.run::<u8>(&SETTLE, &self.key(key), &arguments, deadline).await.map(drop)
    }

    fn abandon(&self, key: AttemptKey, id: ReservationId) {
        let store = self.clone();
        // `Released` looks at no limit. Without a runtime, the lease ends the reservation.
        let limit = AttemptLimit { failures: 0, window: Duration::ZERO };
        let deadline = Instant::now() + STORE_TIME_BUDGET;
        spawn(async move { drop(store.settle(key, id, limit, AttemptOutcome::Released, deadline).await) });
    }
}
