//! Which clients may use an endpoint. All endpoints of a server share it.

use std::{net::IpAddr, sync::Arc};

use http::request::Parts;

use super::{
    client::{Client, ClientCredentials, DynClients},
    request::Request,
};
use crate::{attempts::AttemptLimits, error::TokenError, secret::debug_only};

/// The registered clients, and the limits on guessing their secrets.
#[derive(Clone, Default)]
pub(crate) struct ClientPolicy {
    pub(crate) clients: Option<Arc<dyn DynClients>>,
    pub(crate) ignored: bool,
    pub(crate) attempts: Option<AttemptLimits>,
}

debug_only!(ClientPolicy { ignored, attempts });

impl ClientPolicy {
    pub(crate) fn address(&self, parts: &Parts) -> Option<IpAddr> {
        self.attempts.as_ref().and_then(|attempts| attempts.address_of(parts))
    }

    /// The client that the request names, if it names one. Wrong credentials are an error.
    pub(crate) async fn authenticate(&self, request: &Request) -> Result<Option<Client>, TokenError> {
        if self.ignored {
            return Ok(None);
        }
        let Some(credentials) = ClientCredentials::read(&request.parts.headers, &request.form)? else {
            return Ok(None);
        };
        let Some(clients) = self.clients.as_deref() else { return Err(TokenError::invalid_client()) };
        // By the decoded id: the raw one has as many spellings as an attacker likes.
        let attempt = match (&self.attempts, credentials.candidates.last()) {
            (Some(attempts), Some((id, _))) if credentials.has_secret() => {
                Some(attempts.reserve_client(&request.budget, id, self.address(&request.parts)).await?)
            }
            _ => None,
        };
        let found = request.budget.spend(|_| credentials.authenticate(clients)).await?;
        if let Some(attempt) = attempt {
            if found.is_some() { attempt.succeeded().await? } else { attempt.failed().await? }
        }
        found.map(Some).ok_or_else(TokenError::invalid_client)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        let limits = AttemptLimits::new(MemoryAttemptStore::new(), |_| None).with_client_secret_limit(once);
        let clients = StaticClients::new([Client::confidential("web", "right")]);
        let policy = ClientPolicy { clients: Some(Arc::new(clients)), ignored: false, attempts: Some(limits) };
        for _ in 0..3 {
            assert_eq!(ask(&policy, "client_id=web").await, 401);
        }
        assert_eq!(ask(&policy, "client_id=web&client_secret=right").await, 200);
        assert_eq!(ask(&policy, "client_id=web&client_secret=wrong").await, 401);
        assert_eq!(ask(&policy, "client_id=web&client_secret=right").await, 429);
    }
}
