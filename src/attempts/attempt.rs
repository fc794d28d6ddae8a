//! One attempt: it reserves slots and records its outcome.

use std::{mem, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::queue::Queues;
use crate::error::{BoxError, TokenError};
use crate::secret::{debug_only, random};
use crate::store::{
    AttemptKey, AttemptLimit, AttemptOutcome, AttemptStore, MemoryAttemptStore, Reservation, Slot, StoreBudget,
};
use crate::sync::{NoResult, unwind_guarded};

/// An attempt that finds all slots reserved gets a 503 after this time.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A reserved attempt to check a password. Record its outcome with [`failed`](Self::failed) or
/// [`succeeded`](Self::succeeded). A dropped attempt counts as neither.
///
/// ```
/// use std::net::SocketAddr;
/// use tower_oauth2_password::{
///     Attempt, AttemptLimits, AuthorizationServer, ClientAddress, Jwt, Key, Login, TokenError, Verdict,
///     store::MemoryAttemptStore,
/// };
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
/// let limits = AttemptLimits::new(MemoryAttemptStore::new(), ClientAddress::peer(|peer: &SocketAddr| *peer));
/// let auth = AuthorizationServer::new(|_: Login| async { Ok(Verdict::Denied) }, jwt).with_attempt_limits(limits);
/// let (request, ()) = http::Request::new(()).into_parts();
/// let attempt: Attempt = auth.reserve_attempt("alice", &request).await?;
/// let ended: Result<(), TokenError> = attempt.failed().await;
/// assert!(ended.is_ok());
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[must_use]
pub struct Attempt {
    store: Arc<dyn AttemptStore>,
    queues: Arc<Queues>,
    budget: StoreBudget,
    /// The slots, and what a success means for each.
    reserved: Vec<(Slot, AttemptOutcome)>,
}

impl Attempt {
    pub(super) fn new(store: Arc<dyn AttemptStore>, queues: Arc<Queues>, budget: StoreBudget) -> Self {
        Self { store, queues, budget, reserved: Vec::new() }
    }

    /// An attempt of a server without limits. It asks no store.
    pub(super) fn uncounted(budget: StoreBudget) -> Self {
        Self::new(Arc::new(MemoryAttemptStore::new()), Arc::default(), budget)
    }

    /// Asks the store for a slot, which a success clears or not.
    pub(super) async fn reserve(
        &mut self,
        key: AttemptKey,
        limit: AttemptLimit,
        clears: bool,
    ) -> Result<Reservation, TokenError> {
        let slot = Slot { key, id: u64::from_ne_bytes(random().map_err(TokenError::no_random)?), limit };
        // Before the store is asked: if the request is cancelled meanwhile, the slot is abandoned all the same.
        self.reserved.push((slot, if clears { AttemptOutcome::Succeeded } else { AttemptOutcome::Released }));
        let answer = self.budget.spend(|deadline| self.store.reserve(slot, deadline)).await?;
        if answer != Reservation::Reserved {
            self.reserved.pop();
        }
        Ok(answer)
    }

    /// Clears the failures under a key, without a slot of its own.
    pub(super) fn clearing(mut self, key: AttemptKey, limit: AttemptLimit) -> Self {
        self.reserved.push((Slot { key, id: 0, limit }, AttemptOutcome::Succeeded));
        self
    }

    /// Reserves a slot. False if all are reserved, and an error while failures alone fill the limit.
    async fn try_reserve(&mut self, key: AttemptKey, limit: AttemptLimit, clears: bool) -> Result<bool, TokenError> {
        match self.reserve(key, limit, clears).await? {
            Reservation::Blocked { retry_after } => Err(TokenError::too_many_attempts(retry_after)),
            answer => Ok(answer == Reservation::Reserved),
        }
    }

    /// Reserves a slot, and waits for one if all are reserved.
    pub(super) async fn wait(mut self, key: AttemptKey, limit: AttemptLimit, clears: bool) -> Result<Self, TokenError> {
        let queues = Arc::clone(&self.queues);
        if queues.is_empty(key) && self.try_reserve(key, limit, clears).await? {
            return Ok(self);
        }
        let end = Instant::now() + LONGEST_WAIT;
        let place = queues.join(key, limit.failures).ok_or_else(no_slot)?;
        let _turn = place.first(end).await.map_err(unserved)?;
        while !self.try_reserve(key, limit, clears).await? {
            if Instant::now() >= end {
                return Err(no_slot());
            }
            place.freed(end).await.map_err(unserved)?;
        }
        Ok(self)
    }

    /// The credentials were wrong. The failure counts.
    ///
    /// # Errors
    /// 503 if the store is unavailable.
    pub async fn failed(self) -> Result<(), TokenError> {
        self.settle(|_| AttemptOutcome::Failed).await
    }

    /// The credentials were right. The failures of this account from this address are cleared.
    ///
    /// # Errors
    /// 503 if the store is unavailable.
    pub async fn succeeded(self) -> Result<(), TokenError> {
        self.settle(|on_success| on_success).await
    }

    /// Nothing was decided yet. It counts as neither.
    pub(crate) async fn released(self) -> Result<(), TokenError> {
        self.settle(|_| AttemptOutcome::Released).await
    }

    async fn settle(mut self, outcome: impl Fn(AttemptOutcome) -> AttemptOutcome) -> Result<(), TokenError> {
        // From here on nothing is given back, even if the store fails or the client leaves: the lease ends it.
        for (slot, on_success) in mem::take(&mut self.reserved).into_iter().rev() {
            self.budget.spend(|deadline| self.store.settle(slot, outcome(on_success), deadline)).await?;
            self.queues.freed(slot.key);
        }
        Ok(())
    }
}

fn no_slot() -> TokenError {
    TokenError::temporarily_unavailable(LONGEST_WAIT)
}

pub(super) fn unserved(reason: NoResult) -> TokenError {
    match reason {
        NoResult::TimedOut => no_slot(),
        NoResult::NoTimer => TokenError::from_cause("an attempt cannot wait", BoxError::from(reason)),
    }
}

debug_only!(Attempt {});

impl Drop for Attempt {
    fn drop(&mut self) {
        for &(slot, _) in &self.reserved {
            unwind_guarded(|| self.store.abandon(slot));
            self.queues.freed(slot.key);
        }
    }
}
