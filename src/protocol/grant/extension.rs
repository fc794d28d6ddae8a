//! Grants of the app (RFC 6749, section 4.5), and of clients for themselves (section 4.4).

use super::{CLIENT_CREDENTIALS, Grants, inputs, narrowed, requested_scope};
use crate::error::{TokenError, answer_within};
use crate::event::EventKind;
use crate::protocol::extension_grant::{GrantRequest, OwnGrant};
use crate::protocol::{request::Request, response::TokenResponse};
use crate::store::Session;
use crate::token::GRANT_CLAIM;
use crate::verifier::{Identity, Verdict};

impl Grants {
    pub(super) async fn own(&self, grant: &OwnGrant, request: &Request) -> Result<TokenResponse, TokenError> {
        let parameters = inputs(&grant.parameters, request)?;
        let client = self.policy.authenticate_for(&grant.grant_type, request).await?;
        let (scope, asker) = (requested_scope(request)?, self.asker(request, client.as_ref(), None));
        let asked = GrantRequest {
            client_id: client.as_ref().map(|client| client.id().to_owned()),
            client_address: self.policy.address(&request.parts),
            scope: scope.clone(),
            parameters,
            attempts: self.policy.attempts.clone(),
            usernames: self.usernames.clone(),
            budget: request.budget.clone(),
        };
        let answer = answer_within(self.verifier_timeout, "a grant failed", (grant.authorize)(asked)).await;
        match asker.audit.unserved(answer)? {
            Verdict::Granted(identity) => self.begin_session(asker, &identity, scope).await,
            Verdict::Denied => {
                asker.audit.record(EventKind::Denied);
                Err(TokenError::invalid_grant("The grant is not valid"))
            }
        }
    }

    /// A token of the client itself. It gets no refresh token (RFC 6749, section 4.4.3).
    pub(super) async fn client_credentials(&self, request: &Request) -> Result<TokenResponse, TokenError> {
        let client = self.policy.authenticate_for(CLIENT_CREDENTIALS, request).await?;
        let client = client.ok_or_else(|| TokenError::invalid_client().because("this grant is for clients"))?;
        let requested = requested_scope(request)?;
        let Some(subject) = client.subject.as_ref().filter(|_| client.is_confidential()) else {
            return Err(TokenError::unauthorized_client().because("it needs a secret and `Client::with_subject`"));
        };
        let scope =
            narrowed(client.scope.clone().unwrap_or_default(), requested, "The scope is not allowed for this client")?;
        let identity = Identity::new(subject).with_claim(GRANT_CLAIM, CLIENT_CREDENTIALS);
        let response = self.issue(&identity, Some(&client), scope, &Session::default()).await?;
        self.asker(request, Some(&client), Some(subject)).audit.record(EventKind::ClientLogin);
        Ok(response)
    }
}
