//! The limits on failed attempts.

use std::{net::IpAddr, sync::Arc, time::Duration};

use hmac::{Mac, digest::consts::U16};
use http::request::Parts;
use zeroize::Zeroizing;

use super::address::canonical;
use super::attempt::{Attempt, unserved};
use super::{client_address::ClientAddress, queue::Queues};
use crate::secret::{debug_only, hmac};
use crate::store::{AttemptKey, AttemptLimit, AttemptStore, Reservation, StoreBudget};
use crate::{error::TokenError, observe, sync::sleep};

/// Well within the time for which the store keeps a reservation.
const LONGEST_DELAY: Duration = Duration::from_secs(20);

/// How many wrong codes of a second factor a subject has.
const CODE_LIMIT: AttemptLimit = AttemptLimit { failures: 5, window: Duration::from_secs(300) };

/// Limits failed attempts at passwords and client secrets. Cheap to clone.
///
/// 1. Failures count by account and address: 10 a minute. They also count by address alone
///    ([`with_address_limit`](Self::with_address_limit)) and by account alone
///    ([`with_account_slowdown`](Self::with_account_slowdown)) if you set those limits.
/// 2. A slot is reserved before the password is checked, so a burst cannot get past a limit.
/// 3. While an account is blocked, no password is checked. The right one gets a 429, too, and further attempts do not
///    extend the block.
/// 4. A success clears the account's failures from this address.
///
/// ```
/// use std::net::SocketAddr;
/// use tower_oauth2_password::{
///     AttemptLimits, AuthorizationServer, ClientAddress, Jwt, Key, Login, Verdict, store::MemoryAttemptStore,
/// };
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
/// let limits = AttemptLimits::new(MemoryAttemptStore::new(), ClientAddress::peer(|peer: &SocketAddr| *peer));
/// let auth = AuthorizationServer::new(|_: Login| async { Ok(Verdict::Denied) }, jwt).with_attempt_limits(limits);
/// let (mut request, ()) = http::Request::new(()).into_parts();
/// request.extensions.insert(SocketAddr::from(([192, 0, 2, 1], 49_152))); // as a server does
/// for _ in 0..10 {
///     auth.reserve_attempt("alice", &request).await?.failed().await?;
/// }
/// assert_eq!(auth.reserve_attempt("alice", &request).await.unwrap_err().status(), 429);
/// assert!(auth.reserve_attempt("bob", &request).await.is_ok());
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct AttemptLimits {
    store: Arc<dyn AttemptStore>,
    queues: Arc<Queues>,
    client_address: ClientAddress,
    key: Arc<Zeroizing<Vec<u8>>>,
    server: Arc<str>,
    account_and_address: AttemptLimit,
    address: Option<AttemptLimit>,
    account_slowdown: Option<(AttemptLimit, Duration)>,
    client_secret: AttemptLimit,
}

impl AttemptLimits {
    /// Counts failures in `store`. `client_address` says where a request comes from: the peer, or
    /// [behind proxies](ClientAddress::behind_proxies) what they report. In your own function, do not trust a header that
    /// anyone can send: it evades the limit and locks others out. All requests without an address count as one address, and
    /// ten wrong passwords from anywhere among them block an account.
    ///
    /// With axum, as here, serve `app.into_make_service_with_connect_info::<SocketAddr>()`.
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use axum::extract::ConnectInfo;
    /// use tower_oauth2_password::{AttemptLimits, ClientAddress, store::MemoryAttemptStore};
    ///
    /// let peer = ClientAddress::peer(|peer: &ConnectInfo<SocketAddr>| peer.0);
    /// let limits = AttemptLimits::new(MemoryAttemptStore::new(), peer);
    /// ```
    pub fn new(store: impl AttemptStore, client_address: impl Into<ClientAddress>) -> Self {
        let minute = Duration::from_secs(60);
        Self {
            store: Arc::new(store),
            queues: Arc::default(),
            client_address: client_address.into(),
            key: Arc::new(Zeroizing::new(b"tower-oauth2-password attempts".to_vec())),
            server: Arc::default(),
            account_and_address: AttemptLimit { failures: 10, window: minute },
            address: None,
            account_slowdown: None,
            client_secret: AttemptLimit { failures: 100, window: minute },
        }
    }

    /// Sets the limit for one account from one address. The default is 10 failures a minute.
    pub fn with_account_and_address_limit(self, limit: AttemptLimit) -> Self {
        Self { account_and_address: limit, ..self }
    }

    /// Also limits one address, whatever the account. IPv6 addresses count by their /64. Set it wide: whole offices share
    /// an address. A success does not clear it.
    pub fn with_address_limit(self, limit: AttemptLimit) -> Self {
        Self { address: Some(limit), ..self }
    }

    /// Also delays attempts on an account by `delay` once its failures and attempts in progress, from anywhere, reach
    /// `limit`. It refuses none, so nobody can lock an owner out. A success that was not delayed clears this count, too. The
    /// delay is 20 seconds at most, and keeps its slots under the other limits.
    pub fn with_account_slowdown(self, limit: AttemptLimit, delay: Duration) -> Self {
        Self { account_slowdown: Some((limit, delay.min(LONGEST_DELAY))), ..self }
    }

    /// Sets the limit for wrong secrets of one client from one address. The default is 100 a minute.
    pub fn with_client_secret_limit(self, limit: AttemptLimit) -> Self {
        Self { client_secret: limit, ..self }
    }

    /// Sets the secret of the HMAC that turns names into keys, so that a reader of the store cannot guess names. All
    /// processes that share the store must share it.
    pub fn with_key(self, key: impl AsRef<[u8]>) -> Self {
        Self { key: Arc::new(Zeroizing::new(key.as_ref().to_vec())), ..self }
    }

    /// The same account at another server is another account.
    pub(crate) fn for_server(self, server: Arc<str>) -> Self {
        Self { server, ..self }
    }

    pub(crate) fn address_of(&self, parts: &Parts) -> Option<IpAddr> {
        let address = self.client_address.of(parts);
        if address.is_none() {
            observe::misconfigured(
                "a request has no client address, so all such clients share one limit: let `ClientAddress::peer` read an \
                 extension that your server inserts, with axum by `into_make_service_with_connect_info`; behind proxies, \
                 let them add addresses to the header of `ClientAddress::behind_proxies`",
            );
        }
        address
    }

    fn key(&self, kind: &str, name: &str, address: Option<IpAddr>) -> AttemptKey {
        let address = address.map(|address| canonical(address).to_string()).unwrap_or_default();
        let parts = [kind, &self.server, &address].into_iter();
        let mac = parts.fold(hmac(&self.key), |mac, part| mac.chain_update(part).chain_update([0]));
        let (start, _) = mac.chain_update(name).finalize().into_bytes().split::<U16>();
        AttemptKey(start.into())
    }

    /// Reserves a slot for one check of a password. Without limits, nothing is counted.
    pub(crate) async fn reserve_within(
        limits: Option<&Self>,
        budget: &StoreBudget,
        account: &str,
        address: Option<IpAddr>,
    ) -> Result<Attempt, TokenError> {
        let Some(limits) = limits else { return Ok(Attempt::uncounted(budget.clone())) };
        let mut attempt = limits.attempt(budget);
        if let (Some(limit), Some(_)) = (limits.address, address) {
            attempt = attempt.wait(limits.key("address", "", address), limit, false).await?;
        }
        let key = limits.key("account and address", account, address);
        attempt = attempt.wait(key, limits.account_and_address, true).await?;
        // Last, so that no more attempts sleep than the other limits have slots.
        if let Some((limit, delay)) = limits.account_slowdown
            && attempt.reserve(limits.key("account", account, None), limit, true).await? != Reservation::Reserved
        {
            sleep(delay).await.map_err(unserved)?;
        }
        Ok(attempt)
    }

    /// Reserves a slot for one check of a client secret.
    pub(crate) async fn reserve_client(
        &self,
        budget: &StoreBudget,
        client_id: &str,
        address: Option<IpAddr>,
    ) -> Result<Attempt, TokenError> {
        self.attempt(budget).wait(self.key("client", client_id, address), self.client_secret, true).await
    }

    /// Reserves a slot for one code of a second factor, wherever it comes from.
    pub(crate) async fn reserve_code(&self, budget: &StoreBudget, subject: &str) -> Result<Attempt, TokenError> {
        self.attempt(budget).wait(self.key("second factor", subject, None), CODE_LIMIT, true).await
    }

    /// An attempt whose success clears the failures of an account from this address. Those of the slow-down stay: the first
    /// step may have been delayed.
    pub(crate) fn whole_login(&self, budget: &StoreBudget, account: &str, address: Option<IpAddr>) -> Attempt {
        self.attempt(budget).clearing(self.key("account and address", account, address), self.account_and_address)
    }

    fn attempt(&self, budget: &StoreBudget) -> Attempt {
        Attempt::new(Arc::clone(&self.store), Arc::clone(&self.queues), budget.clone())
    }
}

debug_only!(AttemptLimits { account_and_address, address, account_slowdown, client_secret });

#[cfg(test)]
impl AttemptLimits {
    pub(crate) async fn reserve(&self, account: &str, address: Option<IpAddr>) -> Result<Attempt, TokenError> {
        Self::reserve_within(Some(self), &StoreBudget::new(Duration::from_millis(500)), account, address).await
    }

    pub(super) fn has_queue_for(&self, account: &str) -> bool {
        !self.queues.is_empty(self.key("account and address", account, None))
    }
}
