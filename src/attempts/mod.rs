//! Limits on failed attempts: a place is reserved before a password is checked, so that a burst cannot get past.

mod address;
#[cfg(all(test, shuttle))]
mod shuttle_tests;
#[cfg(test)]
mod tests;
mod waiting;

use std::{
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use hmac::{Hmac, KeyInit, Mac};
use http::request::Parts;
use sha2::Sha256;
use zeroize::Zeroizing;

pub(crate) use self::address::canonical;
use self::waiting::Waiting;
use crate::{
    error::{StoreError, TokenError, store_unavailable},
    store::{
        AttemptKey, AttemptLimit, AttemptOutcome, AttemptStore, DynAttemptStore, Reservation, ReservationId,
        STORE_TIME_BUDGET, StoreBudget,
    },
    timer,
};

/// How long an attempt waits for others under the same key to be decided before it is told 503.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Well within the time for which the store keeps a place for an attempt under way.
const LONGEST_DELAY: Duration = Duration::from_secs(20);

type CanonicalAccount = dyn Fn(&str) -> String + Send + Sync;
type AddressOf = dyn Fn(&Parts) -> Option<IpAddr> + Send + Sync;

/// Holds back who guesses. Cheap to clone; give one to all endpoints of a server.
///
/// Failures are counted by account and address (10 a minute), and, where asked for, by the address alone and by the
/// account alone. A success clears the account's count from this address. While held, no password is checked, the
/// answer is 429 for the right one too, and further tries do not make the wait longer.
#[derive(Clone)]
pub struct AttemptLimits {
    store: Arc<dyn DynAttemptStore>,
    waiting: Arc<Waiting>,
    address: Arc<AddressOf>,
    key: Arc<Zeroizing<Vec<u8>>>,
    canonical_account: Option<Arc<CanonicalAccount>>,
    account_and_address: AttemptLimit,
    address_alone: Option<AttemptLimit>,
    account_slowdown: Option<(AttemptLimit, Duration)>,
    client_secret: AttemptLimit,
}

impl AttemptLimits {
    /// Counts in `store`. `client_address` says where a request comes from: the peer's address, unless a proxy of your
    /// own stands before this server. A forwarding header that anyone can write must not be believed: it would evade
    /// the limit and lock others out. Where it says `None` all the world counts as one address, and ten wrong passwords
    /// from anywhere hold an account: check that it does not.
    ///
    /// With axum, as here, serve `app.into_make_service_with_connect_info::<SocketAddr>()`; with tonic the extension is
    /// `TcpConnectInfo`, with hyper what you put there.
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use axum::extract::ConnectInfo;
    /// use tower_oauth2_password::{AttemptLimits, store::MemoryAttemptStore};
    ///
    /// let limits = AttemptLimits::new(MemoryAttemptStore::new(), |request| {
    ///     request.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip())
    /// });
    /// ```
    #[must_use]
    pub fn new(
        store: impl AttemptStore,
        client_address: impl Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        let minute = Duration::from_secs(60);
        Self {
            store: Arc::new(store),
            waiting: Arc::default(),
            address: Arc::new(client_address),
            key: Arc::new(Zeroizing::new(b"tower-oauth2-password attempts".to_vec())),
            canonical_account: None,
            account_and_address: AttemptLimit { failures: 10, window: minute },
            address_alone: None,
            account_slowdown: None,
            client_secret: AttemptLimit { failures: 100, window: minute },
        }
    }

    /// The limit for one account from one address: 10 failures a minute unless set.
    #[must_use]
    pub fn with_account_and_address_limit(mut self, limit: AttemptLimit) -> Self {
        self.account_and_address = limit;
        self
    }

    /// Also limits one address whatever the account; IPv6 addresses count by their /64. Set it wide: whole offices
    /// share an address. A success does not clear it.
    #[must_use]
    pub fn with_address_limit(mut self, limit: AttemptLimit) -> Self {
        self.address_alone = Some(limit);
        self
    }

    /// Also slows down, by `delay`, each attempt on an account whose failures and attempts under way, from anywhere,
    /// together reach `limit`. It does not refuse, so nobody can lock an owner out. A success that was not slowed down
    /// clears this count, too. 20 seconds at most; its place under the other limits is taken meanwhile.
    #[must_use]
    pub fn with_account_slowdown(mut self, limit: AttemptLimit, delay: Duration) -> Self {
        self.account_slowdown = Some((limit, delay.min(LONGEST_DELAY)));
        self
    }

    /// The limit for wrong secrets of one client from one address: 100 a minute unless set.
    #[must_use]
    pub fn with_client_secret_limit(mut self, limit: AttemptLimit) -> Self {
        self.client_secret = limit;
        self
    }

    /// A secret for the HMAC that names are stored under, so that who reads the store cannot try names. All processes
    /// that share the store must share it.
    #[must_use]
    pub fn with_key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.key = Arc::new(Zeroizing::new(key.as_ref().to_vec()));
        self
    }

    /// Counts by this form of the username. Set it where the table of users folds names before it looks them up: else
    /// each spelling of one name has attempts of its own.
    ///
    /// ```
    /// use tower_oauth2_password::{AttemptLimits, store::MemoryAttemptStore};
    ///
    /// let limits = AttemptLimits::new(MemoryAttemptStore::new(), |_| None)
    ///     .with_canonical_account(|username| username.to_lowercase());
    /// ```
    #[must_use]
    pub fn with_canonical_account(mut self, canonical: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        self.canonical_account = Some(Arc::new(canonical));
        self
    }

    pub(crate) fn address_of(&self, parts: &Parts) -> Option<IpAddr> {
        (self.address)(parts).map(canonical)
    }

    fn key(&self, kind: &str, name: &str, address: Option<IpAddr>) -> Option<AttemptKey> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        let address = address.map(|address| address.to_string()).unwrap_or_default();
        let sum = mac.chain_update(kind).chain_update([0]).chain_update(address).chain_update([0]).chain_update(name);
        sum.finalize().into_bytes().first_chunk().map(|start| AttemptKey(*start))
    }

    /// Reserves a place for one check of a password. The token endpoint does it for its own; other places that check
    /// one (a password change, a confirmation) should do it, too, so that guesses count together.
    ///
    /// It and what becomes of the attempt wait 500 ms for the store, together.
    ///
    /// # Errors
    /// 429 while the account is held from this address; 503 when the store is away, or when as many checks as the
    /// limit has places are still under way after a second, or a hundred times as many wait already.
    ///
    /// ```
    /// use tower_oauth2_password::{AttemptLimits, store::MemoryAttemptStore};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let limits = AttemptLimits::new(MemoryAttemptStore::new(), |_| None);
    /// let address = Some([192, 0, 2, 1].into());
    /// for _ in 0..10 {
    ///     limits.reserve("alice", address).await?.failed().await?;
    /// }
    /// assert_eq!(limits.reserve("alice", address).await.unwrap_err().status(), 429);
    /// # Ok::<(), tower_oauth2_password::TokenError>(())
    /// # }).unwrap();
    /// ```
    pub async fn reserve(&self, account: &str, address: Option<IpAddr>) -> Result<Attempt, TokenError> {
        self.reserve_within(&StoreBudget::new(STORE_TIME_BUDGET), account, address).await
    }

    pub(crate) async fn reserve_within(
        &self,
        budget: &StoreBudget,
        account: &str,
        address: Option<IpAddr>,
    ) -> Result<Attempt, TokenError> {
        let address = address.map(canonical);
        let folded = self.canonical_account.as_ref().map(|canonical| canonical(account));
        let account = folded.as_deref().unwrap_or(account);
        let mut attempt = self.begin(budget);
        if let (Some(limit), Some(_)) = (self.address_alone, address) {
            attempt.wait_for(self.key("address", "", address), limit, false).await?;
        }
        attempt.wait_for(self.key("account and address", account, address), self.account_and_address, true).await?;
        // Last, so that there are no more who sleep than places under the other limits.
        if let Some((limit, delay)) = self.account_slowdown
            && let Some(key) = self.key("account", account, None)
            && attempt.reserve(key, limit, true).await? != Reservation::Reserved
        {
            timer::sleep(delay).await;
        }
        Ok(attempt)
    }

    fn begin(&self, budget: &StoreBudget) -> Attempt {
        Attempt {
            store: Arc::clone(&self.store),
            budget: budget.clone(),
            waiting: Arc::clone(&self.waiting),
            places: Vec::new(),
        }
    }

    /// Reserves a place for one client secret.
    pub(crate) async fn client(
        &self,
        client_id: &str,
        address: Option<IpAddr>,
        budget: &StoreBudget,
    ) -> Result<Attempt, TokenError> {
        let mut attempt = self.begin(budget);
        attempt.wait_for(self.key("client", client_id, address), self.client_secret, true).await?;
        Ok(attempt)
    }
}

impl fmt::Debug for AttemptLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttemptLimits")
            .field("account_and_address", &self.account_and_address)
            .field("address_alone", &self.address_alone)
            .field("account_slowdown", &self.account_slowdown)
            .field("client_secret", &self.client_secret)
            .finish_non_exhaustive()
    }
}

struct Place {
    key: AttemptKey,
    id: ReservationId,
    limit: AttemptLimit,
    cleared_by_success: bool,
}

/// A place that was reserved for one check. Say how it went; dropped before, it gives the place back.
#[must_use]
pub struct Attempt {
    store: Arc<dyn DynAttemptStore>,
    budget: StoreBudget,
    waiting: Arc<Waiting>,
    places: Vec<Place>,
}

impl Attempt {
    async fn reserve(
        &mut self,
        key: AttemptKey,
        limit: AttemptLimit,
        cleared_by_success: bool,
    ) -> Result<Reservation, TokenError> {
        let mut id = [0; 8];
        getrandom::fill(&mut id).map_err(|error| store_unavailable(&StoreError::new(error)))?;
        let id = u64::from_ne_bytes(id);
        // Noted before the store is asked: a caller that leaves meanwhile gives the place back all the same.
        self.places.push(Place { key, id, limit, cleared_by_success });
        let reserved = self.budget.spend(|deadline| self.store.reserve(key, id, limit, deadline)).await;
        let answer = reserved.map_err(|error| store_unavailable(&error))?;
        if answer != Reservation::Reserved {
            self.places.pop();
        }
        Ok(answer)
    }

    /// Reserves, waiting while others under this key are being decided.
    async fn wait_for(
        &mut self,
        key: Option<AttemptKey>,
        limit: AttemptLimit,
        cleared_by_success: bool,
    ) -> Result<(), TokenError> {
        let Some(key) = key else { return Ok(()) };
        let no_room = || TokenError::temporarily_unavailable(LONGEST_WAIT);
        let end = Instant::now() + LONGEST_WAIT;
        let mut turn = None;
        let mut in_line = !self.waiting.is_empty(key);
        let answer = loop {
            if in_line {
                let turn = match &turn {
                    Some(turn) => turn,
                    None => turn.insert(self.waiting.join(key, limit.failures).ok_or_else(no_room)?),
                };
                turn.called_by(end).await;
            }
            match self.reserve(key, limit, cleared_by_success).await? {
                Reservation::Reserved => break Ok(()),
                Reservation::Held { retry_after } => break Err(TokenError::too_many_attempts(retry_after)),
                Reservation::Busy if Instant::now() >= end => return Err(no_room()),
                Reservation::Busy => in_line = true,
            }
        };
        if let Some(turn) = turn {
            drop(turn);
            // Who is next is held, too, or finds another place that has come free in another process.
            self.waiting.call_next(key);
        }
        answer
    }

    /// The credentials were wrong: it counts.
    ///
    /// # Errors
    /// 503 when the store is away.
    pub async fn failed(self) -> Result<(), TokenError> {
        self.settle(|_| AttemptOutcome::Failed).await
    }

    /// The credentials were right: the account's failures from this address are forgotten.
    ///
    /// # Errors
    /// 503 when the store is away.
    pub async fn succeeded(self) -> Result<(), TokenError> {
        self.settle(|place| if place.cleared_by_success { AttemptOutcome::Succeeded } else { AttemptOutcome::Released })
            .await
    }

    async fn settle(mut self, outcome: impl Fn(&Place) -> AttemptOutcome) -> Result<(), TokenError> {
        while let Some(place) = self.places.last() {
            let (key, id, limit, outcome) = (place.key, place.id, place.limit, outcome(place));
            let settled = self.budget.spend(|deadline| self.store.settle(key, id, limit, outcome, deadline)).await;
            settled.map_err(|error| store_unavailable(&error))?;
            self.waiting.call_next(key);
            self.places.pop();
        }
        Ok(())
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").finish_non_exhaustive()
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        for place in &self.places {
            self.store.abandon(place.key, place.id);
            self.waiting.call_next(place.key);
        }
    }
}
