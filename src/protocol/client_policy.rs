//! Which clients may ask, and how wrong ones are held back: the same at every endpoint.

use std::{net::IpAddr, sync::Arc};

use http::request::Parts;

use super::{
    client::{Client, ClientCredentials, DynClients},
    form::Form,
};
use crate::error::TokenError;
use crate::error::store_unavailable;
use crate::{attempts::AttemptLimits, store::StoreBudget};

/// Who may ask: the part that the token and the revocation endpoint share.
#[derive(Clone, Default)]
pub(crate) struct ClientPolicy {
    pub(crate) clients: Option<Arc<dyn DynClients>>,
    pub(crate) ignored: bool,
    pub(crate) attempts: Option<AttemptLimits>,
}

impl ClientPolicy {
    pub(crate) fn address(&self, parts: &Parts) -> Option<IpAddr> {
        self.attempts.as_ref().and_then(|attempts| attempts.address_of(parts))
    }

    /// The client that the request identifies, if it does; wrong credentials are an error.
    pub(crate) async fn authenticate(
        &self,
        parts: &Parts,
        form: &Form,
        budget: &StoreBudget,
    ) -> Result<Option<Client>, TokenError> {
        if self.ignored {
            return Ok(None);
        }
        let Some(credentials) = ClientCredentials::read(&parts.headers, form)? else { return Ok(None) };
        let Some(clients) = self.clients.as_deref() else { return Err(TokenError::invalid_client()) };
        // Counted by the decoded id: the raw one has as many spellings as an attacker likes.
        let attempt = match (&self.attempts, credentials.candidates.last()) {
            (Some(attempts), Some((id, _))) if credentials.has_secret() => {
                Some(attempts.client(id, self.address(parts), budget).await?)
            }
            _ => None,
        };
        let found =
            budget.spend(|_| credentials.authenticate(clients)).await.map_err(|error| store_unavailable(&error))?;
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
        protocol::client::StaticClients,
        store::{AttemptLimit, MemoryAttemptStore},
    };

    async fn ask(policy: &ClientPolicy, body: &str) -> u16 {
        let (parts, ()) = http::Request::new(()).into_parts();
        let form = Form::parse(body.as_bytes(), &["client_id", "client_secret"]).unwrap();
        let asked = policy.authenticate(&parts, &form, &StoreBudget::new(Duration::from_millis(200))).await;
        asked.map_or_else(|error| error.status().as_u16(), |_| 200)
    }

    #[tokio::test]
    async fn a_table_of_clients_that_does_not_answer_is_not_waited_for() {
        struct Stuck;
        impl crate::protocol::client::Clients for Stuck {
            async fn find(&self, _: &str) -> Result<Option<Client>, crate::error::StoreError> {
                std::future::pending().await
            }
        }
        let policy = ClientPolicy { clients: Some(Arc::new(Stuck)), ..ClientPolicy::default() };
        assert_eq!(ask(&policy, "client_id=web").await, 503);
    }

    #[tokio::test]
    async fn guesses_of_a_secret_are_counted_and_names_without_one_are_not() {
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
