//! Which clients may use an endpoint. All endpoints of a server share it.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::request::Parts;

use super::client::{Client, ClientCredentials, DynClients};
use super::{origin::Origins, request::Request};
use crate::error::{TokenError, answer_within};
use crate::event::{Audit, EventKind, Events};
use crate::store::Family;
use crate::{attempts::AttemptLimits, observe, secret::debug_only};

/// How long the table of clients may take by default.
const CLIENTS_TIMEOUT: Duration = Duration::from_secs(5);

/// The registered clients, and the limits on guessing their secrets.
#[derive(Clone, Default)]
pub(crate) struct ClientPolicy {
    pub(crate) clients: Option<Arc<dyn DynClients>>,
    pub(crate) ignored: bool,
    /// Requests without a client are refused.
    pub(crate) required: bool,
    pub(crate) attempts: Option<AttemptLimits>,
    pub(crate) events: Option<Events>,
    /// The pages of clients with a cookie.
    pub(crate) origins: Option<Origins>,
    /// How long the table of clients may take, if not for the default.
    pub(crate) timeout: Option<Duration>,
}

debug_only!(ClientPolicy { ignored, attempts });

impl ClientPolicy {
    pub(crate) fn address(&self, parts: &Parts) -> Option<IpAddr> {
        self.attempts.as_ref().and_then(|attempts| attempts.address_of(parts))
    }

    /// The client that the request names, if it names one. Wrong credentials are an error.
    pub(crate) async fn authenticate(&self, request: &Request) -> Result<Option<Client>, TokenError> {
        if self.ignored && !self.required {
            return Ok(None);
        }
        let Some(credentials) = ClientCredentials::read(&request.parts.headers, &request.form)? else {
            let missing = || TokenError::invalid_client().because("a client is required");
            return if self.required { Err(missing()) } else { Ok(None) };
        };
        let authenticated = self.check(&credentials, request).await;
        let client = authenticated.inspect_err(|error| {
            if error.status() == 401 {
                Audit { client_id: Some(credentials.id()), ..self.audit(Some(request)) }
                    .record(EventKind::ClientDenied);
            }
        })?;
        if client.has_cookie {
            let Some(origins) = &self.origins else {
                observe::misconfigured("a client keeps its session in a cookie: call `RefreshTokens::with_cookie`");
                return Err(TokenError::server_error());
            };
            origins.check(&request.parts)?;
        }
        Ok(Some(client))
    }

    /// The client, if it may use this grant.
    pub(crate) async fn authenticate_for(&self, grant: &str, request: &Request) -> Result<Option<Client>, TokenError> {
        let client = self.authenticate(request).await?;
        let allowed = client.as_ref().is_none_or(|client| client.may_use(grant));
        if allowed { Ok(client) } else { Err(TokenError::unauthorized_client()) }
    }

    async fn check(&self, credentials: &ClientCredentials, request: &Request) -> Result<Client, TokenError> {
        let Some(clients) = self.clients.as_deref() else {
            return Err(TokenError::invalid_client().because("no clients are registered"));
        };
        let timeout = self.timeout.unwrap_or(CLIENTS_TIMEOUT);
        let found = answer_within(timeout, "the table of clients failed", credentials.find(clients)).await?;
        // Only for clients that exist: strangers' inventions must not fill the store.
        let attempt = match &self.attempts {
            Some(attempts) if found.iter().any(|(client, secret)| client.is_confidential() && secret.is_some()) => {
                let address = self.address(&request.parts);
                Some(attempts.reserve_client(&request.budget, credentials.id(), address).await?)
            }
            _ => None,
        };
        let accepted = found.into_iter().find(|(client, secret)| client.accepts(*secret)).map(|(client, _)| client);
        if let Some(attempt) = attempt {
            if accepted.is_some() { attempt.succeeded().await? } else { attempt.failed().await? }
        }
        accepted.ok_or_else(|| TokenError::invalid_client().because("the client is unknown, or its secret is wrong"))
    }

    /// What the audit log should know of a session, and of the request that concerns it.
    pub(crate) fn audit_session<'a>(&'a self, request: Option<&'a Request>, family: &'a Family) -> Audit<'a> {
        let (subject, client_id) = (Some(&*family.session.subject), family.session.client_id.as_deref());
        Audit { subject, client_id, session: Some(&family.session.id), ..self.audit(request) }
    }

    /// What the audit log should know of a request; `None` if the app acts by itself.
    pub(crate) fn audit<'a>(&'a self, request: Option<&'a Request>) -> Audit<'a> {
        let parts = request.map(|request| &request.parts);
        let (address, path) = (parts.and_then(|parts| self.address(parts)), parts.map_or("", |parts| parts.uri.path()));
        Audit { address, path, events: self.events.as_ref(), ..Audit::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        error::BoxError,
        protocol::{
            client::{Clients, StaticClients},
            form::Form,
        },
        store::{AttemptLimit, MemoryAttemptStore, StoreBudget},
    };

    async fn ask(policy: &ClientPolicy, body: &str) -> u16 {
        let (parts, ()) = http::Request::new(()).into_parts();
        let form = Form::parse(body.as_bytes(), &["client_id", "client_secret"]).unwrap();
        let request = Request { parts, form, budget: StoreBudget::new(Duration::from_millis(200)) };
        policy.authenticate(&request).await.map_or_else(|error| error.status().as_u16(), |_| 200)
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_of_clients_that_hangs_is_a_503() {
        struct Stuck;
        impl Clients for Stuck {
            async fn find(&self, _: &str) -> Result<Option<Client>, BoxError> {
                std::future::pending().await
            }
        }
        let policy = ClientPolicy { clients: Some(Arc::new(Stuck)), ..ClientPolicy::default() };
        assert_eq!(ask(&policy, "client_id=web").await, 503);
    }

    #[tokio::test]
    async fn wrong_secrets_count_and_requests_without_one_do_not() {
        let once = AttemptLimit { failures: 1, window: Duration::from_secs(60) };
        let limits = AttemptLimits::new(MemoryAttemptStore::new(), |_: &Parts| None).with_client_secret_limit(once);
        let clients = StaticClients::new([Client::confidential("web", "right")]);
        let policy =
            ClientPolicy { clients: Some(Arc::new(clients)), attempts: Some(limits), ..ClientPolicy::default() };
        for _ in 0..3 {
            assert_eq!(ask(&policy, "client_id=web").await, 401);
        }
        assert_eq!(ask(&policy, "client_id=web&client_secret=right").await, 200);
        assert_eq!(ask(&policy, "client_id=web&client_secret=wrong").await, 401);
        assert_eq!(ask(&policy, "client_id=web&client_secret=right").await, 429);
    }
}
