//! What a server makes of its configuration: the layers of its endpoints, its guard, its documents.

use std::{net::IpAddr, sync::Arc};

use http::request::Parts;

use super::authorization_server::AuthorizationServer;
use super::endpoint::{EndpointLayer, Options, Route};
use super::{bearer::BearerLayer, document::JsonDocument};
use crate::attempts::{Attempt, AttemptLimits};
use crate::error::{InvalidConfig, TokenError};
use crate::protocol::metadata::{AuthorizationServerMetadata, Endpoints};
use crate::protocol::{
    bearer::Guard, grant::Grants, introspection::Introspection, request::Endpoint, revocation::Revocation,
};
use crate::{observe, store::StoreBudget, sync::unwind_guarded, usernames::account_of};

const UNLIMITED: &str = "nothing limits failed logins, which RFC 6749, section 4.3.2 demands: call \
                         `AuthorizationServer::with_attempt_limits`";

impl AuthorizationServer {
    /// One layer for all endpoints: token; revocation, if there are refresh tokens or a deny list; introspection, if it is
    /// configured.
    pub fn endpoints(&self) -> EndpointLayer {
        let revocation = self.has_revocation().then(|| self.revocation());
        let introspection = self.introspection_clients.as_ref().map(|_| self.introspection());
        EndpointLayer::over([self.token()].into_iter().chain(revocation).chain(introspection))
    }

    /// `POST /token` (RFC 6749, sections 4.3 and 6).
    pub fn token_endpoint(&self) -> EndpointLayer {
        EndpointLayer::over([self.token()])
    }

    /// `POST /revoke` (RFC 7009). Any holder of a token may revoke it. A client that authenticates may revoke only its own. An
    /// unknown token gets a 200, and a valid access token a 400 `unsupported_token_type` if there is no
    /// [deny list](Self::with_deny_list).
    pub fn revocation_endpoint(&self) -> EndpointLayer {
        EndpointLayer::over([self.revocation()])
    }

    /// `POST /introspect` (RFC 7662), where other servers ask whether an access token is valid. Only the clients of
    /// [`with_introspection`](Self::with_introspection) get an answer: `scope`, `sub`, `client_id`, `jti`, `exp`, `iat`,
    /// `auth_time`, `acr`, `amr`, `gty`, `iss`, `aud` and `token_type` of a valid access token, and `{"active":false}` for anything else,
    /// refresh tokens included.
    pub fn introspection_endpoint(&self) -> EndpointLayer {
        EndpointLayer::over([self.introspection()])
    }

    /// The guard of routes that need an access token of this server. It knows the deny list, the realm and the error format.
    pub fn guard(&self) -> BearerLayer {
        let deny_list = self.grants.denials.as_ref().map(|denials| Arc::clone(&denials.list));
        let (issuer, Options { realm, render, .. }) = (Some(self.issuer_name()), self.options.clone());
        let guard = Guard::new(Arc::clone(&self.grants.validator));
        BearerLayer::over(Guard { deny_list, issuer, realm, render, ..guard })
    }

    /// The address that a request comes from, as the [attempt limits](Self::with_attempt_limits) find it; `None` without
    /// them. A handler that hashes passes it to the [`HashingPool`](crate::HashingPool). The limits and the pool count IPv6
    /// addresses by their /64; this is the address as it is.
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use tower_oauth2_password::{
    ///     AttemptLimits, AuthorizationServer, ClientAddress, Jwt, Key, Login, Verdict, store::MemoryAttemptStore,
    /// };
    ///
    /// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
    /// let limits = AttemptLimits::new(MemoryAttemptStore::new(), ClientAddress::peer(|peer: &SocketAddr| *peer));
    /// let auth = AuthorizationServer::new(|_: Login| async { Ok(Verdict::Denied) }, jwt).with_attempt_limits(limits);
    /// let (mut request, ()) = http::Request::new(()).into_parts();
    /// assert_eq!(auth.client_address(&request), None);
    /// request.extensions.insert(SocketAddr::from(([192, 0, 2, 1], 49_152)));
    /// assert_eq!(auth.client_address(&request).unwrap().to_string(), "192.0.2.1");
    /// # Ok::<(), tower_oauth2_password::BoxError>(())
    /// ```
    #[must_use]
    pub fn client_address(&self, request: &Parts) -> Option<IpAddr> {
        unwind_guarded(|| self.grants.policy.address(request)).flatten()
    }

    /// Reserves a slot for one check of a password, by the request's [address](Self::client_address). The token endpoint does
    /// this itself. Do it wherever else you check one (a password change, a confirmation), so that all guesses count together.
    /// Without [attempt limits](Self::with_attempt_limits), nothing is counted, and the log says so.
    ///
    /// The reservation and its outcome share the [store budget](Self::with_store_budget).
    ///
    /// # Errors
    /// 429 while the account is blocked from this address. 503 if the store is unavailable, if all slots of the limit stay
    /// reserved for a second, or if a hundred times as many attempts wait already.
    pub async fn reserve_attempt(&self, account: &str, request: &Parts) -> Result<Attempt, TokenError> {
        let (limits, account) = (self.resolved().policy.attempts, account_of(self.grants.usernames.as_ref(), account));
        if limits.is_none() {
            observe::misconfigured(UNLIMITED);
        }
        AttemptLimits::reserve_within(limits.as_ref(), &self.budget(), &account, self.client_address(request)).await
    }

    /// The metadata (RFC 8414): the issuer, and the endpoints that [`endpoints`](Self::endpoints) serves.
    ///
    /// # Errors
    /// When the issuer is not an `https` URL without query and fragment (RFC 8414, section 2), or unknown
    /// ([`TokenIssuer::issuer`](crate::TokenIssuer::issuer)). On a loopback address `http` is allowed, too.
    pub fn metadata(&self) -> Result<AuthorizationServerMetadata, InvalidConfig> {
        let hint = "the metadata needs the issuer: implement `TokenIssuer::issuer` for your own token issuer";
        let issuer = self.grants.issuer.issuer().ok_or_else(|| InvalidConfig::new(hint))?;
        AuthorizationServerMetadata::new(&issuer, self.served())
    }

    /// The JWK Set (RFC 7517, section 5) of the token issuer, as it is at each request.
    pub fn jwks(&self) -> JsonDocument {
        let issuer = Arc::clone(&self.grants.issuer);
        JsonDocument::over(move || issuer.jwks().to_string().into())
    }

    /// What [`endpoints`](Self::endpoints) serves.
    pub(super) fn served(&self) -> Endpoints {
        Endpoints {
            token_path: self.token_path.to_string(),
            revocation_path: self.has_revocation().then(|| self.revocation_path.to_string()),
            introspection_path: self.introspection_clients.as_ref().map(|_| self.introspection_path.to_string()),
            grant_types: self.grants.grant_types().into_iter().map(str::to_owned).collect(),
            clients: self.grants.policy.clients.is_some(),
            acr_values: self.grants.acrs.iter().map(|(acr, _)| acr.clone()).collect(),
        }
    }

    pub(super) fn budget(&self) -> StoreBudget {
        StoreBudget::new(self.options.store_budget)
    }

    fn has_revocation(&self) -> bool {
        self.grants.refresh.is_some() || self.grants.denials.is_some()
    }

    fn server_id(&self) -> Arc<str> {
        let own = [self.grants.issuer.issuer(), self.grants.issuer.audience()];
        if self.server_id.is_none() && own == [None, None] {
            observe::misconfigured(
                "servers that share stores cannot be told apart: implement `TokenIssuer::issuer` and `audience`, or call \
                 `AuthorizationServer::with_server_id`",
            );
        }
        self.server_id.clone().unwrap_or_else(|| own.map(Option::unwrap_or_default).join("\n").into())
    }

    /// The grants, with the server id, which is only known when all options are set.
    pub(super) fn resolved(&self) -> Grants {
        let mut grants = self.grants.clone();
        grants.policy.attempts = grants.policy.attempts.map(|limits| limits.for_server(self.server_id()));
        grants.policy.origins = grants.refresh.as_ref().and_then(|tokens| tokens.origins.clone());
        grants.refresh = grants.refresh.map(|tokens| tokens.for_server(self.server_id()));
        grants.second_factor = grants.second_factor.map(|factors| factors.for_server(&self.server_id()));
        grants
    }

    fn token(&self) -> Route {
        if self.grants.policy.attempts.is_none() {
            observe::misconfigured(UNLIMITED);
        }
        let grants = self.resolved();
        if grants.policy.ignored && grants.policy.origins.is_some() {
            observe::misconfigured(
                "no client has its refresh token in a cookie, as none is known: do not call \
                 `AuthorizationServer::with_client_credentials_ignored`",
            );
        }
        self.route(&self.token_path, grants)
    }

    fn revocation(&self) -> Route {
        self.route(&self.revocation_path, Revocation(self.resolved()))
    }

    fn introspection(&self) -> Route {
        let mut grants = self.resolved();
        (grants.policy.clients, grants.policy.ignored) = (self.introspection_clients.clone(), false);
        self.route(&self.introspection_path, Introspection(grants))
    }

    fn route(&self, path: &Arc<str>, endpoint: impl Endpoint + 'static) -> Route {
        Route { path: Arc::clone(path), endpoint: Arc::new(endpoint), options: Arc::new(self.options.clone()) }
    }
}
