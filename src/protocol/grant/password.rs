//! The password grant (RFC 6749, section 4.3).

use super::{Grants, requested_scope};
use crate::{
    error::TokenError,
    observe,
    protocol::{client::Client, form::is_credential_text, request::Request, response::TokenResponse},
    scope::Scope,
    verifier::{Identity, Login, Verdict},
};

impl Grants {
    pub(super) async fn password(&self, request: &Request) -> Result<TokenResponse, TokenError> {
        let (username, password) = (request.form.get("username"), request.form.get("password"));
        let (Some(username), Some(password)) = (username, password) else {
            let missing =
                [("username", username), ("password", password)].into_iter().filter(|(_, value)| value.is_none());
            return Err(TokenError::missing(missing.map(|(name, _)| name).collect()));
        };
        if !is_credential_text(username.expose()) || !is_credential_text(password.expose()) {
            return Err(TokenError::invalid_request("A character is not allowed in username or password"));
        }
        let client = self.policy.authenticate(request).await?;
        let mut login = Login::new(username.expose(), password.clone());
        login.client_id = client.as_ref().map(|client| client.id().to_owned());
        login.client_address = self.policy.address(&request.parts);
        login.scope = requested_scope(request)?;

        let scope = login.scope.clone();
        let identity = self.verify(request, login).await?;
        self.begin_session(request, &identity, client.as_ref(), scope).await
    }

    /// Verifies a login and records the outcome in the audit log.
    async fn verify(&self, request: &Request, login: Login) -> Result<Identity, TokenError> {
        let (username, client_id) = (login.username.clone(), login.client_id.clone());
        let audit = |event| observe::audit(event, Some(&username), client_id.as_deref());
        let verified = self.attempt(request, login, || audit("denied")).await;
        verified.inspect_err(|error| match error.status().as_u16() {
            429 => audit("blocked"),
            503 => audit("overloaded"),
            _ => {}
        })
    }

    async fn attempt(&self, request: &Request, login: Login, denied: impl FnOnce()) -> Result<Identity, TokenError> {
        let attempt = match &self.policy.attempts {
            Some(limits) => Some(limits.reserve_within(&request.budget, &login.username, login.client_address).await?),
            None => None,
        };
        // An error drops the attempt, which then counts neither as a failure nor as a success.
        let verified = self.verifier.verify(login).await;
        match verified.map_err(|cause| TokenError::from_cause("the verifier failed", cause))? {
            Verdict::Granted(identity) => {
                if let Some(attempt) = attempt {
                    attempt.succeeded().await?;
                }
                Ok(identity)
            }
            Verdict::Denied => {
                denied();
                if let Some(attempt) = attempt {
                    attempt.failed().await?;
                }
                Err(TokenError::invalid_grant("Incorrect username or password"))
            }
        }
    }

    async fn begin_session(
        &self,
        request: &Request,
        identity: &Identity,
        client: Option<&Client>,
        requested: Option<Scope>,
    ) -> Result<TokenResponse, TokenError> {
        let scope = match requested {
            None => identity.scope().clone(),
            Some(requested) if requested.is_subset_of(identity.scope()) => requested,
            Some(_) => return Err(TokenError::invalid_scope("The scope is not allowed for this user")),
        };
        let issued = self.issue(identity, client, &scope).await?;
        let refresh_token = match &self.refresh {
            Some(tokens) => Some(tokens.begin(identity, client, &scope, &request.budget).await?),
            None => None,
        };
        observe::audit("login", Some(identity.subject()), client.map(Client::id));
        Ok(TokenResponse { issued, scope, refresh_token })
    }
}
