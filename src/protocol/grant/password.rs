//! The password grant (RFC 6749, section 4.3).

use super::{Asker, Grants, granted, requested_scope};
use crate::attempts::{Attempt, AttemptLimits};
use crate::error::{TokenError, answer_within};
use crate::event::{Audit, EventKind};
use crate::protocol::refresh_token::{RefreshToken, ended};
use crate::protocol::{client::Client, cookie, request::Request, response::TokenResponse, session};
use crate::scope::Scope;
use crate::usernames::account_of;
use crate::verifier::{Identity, Login, Verdict, is_credential_text};

impl Grants {
    pub(super) async fn password(&self, request: &Request) -> Result<TokenResponse, TokenError> {
        let (Some(username), Some(password)) = (request.form.get("username"), request.form.get("password")) else {
            let missing = ["username", "password"].into_iter().filter(|name| request.form.get(name).is_none());
            return Err(TokenError::missing(missing.collect()));
        };
        if !is_credential_text(username.expose()) || !is_credential_text(password.expose()) {
            return Err(TokenError::invalid_request("A character is not allowed in username or password"));
        }
        let devices = self.second_factor.as_ref().and_then(|factors| factors.devices.as_ref());
        let device_token = devices.and_then(|_| request.form.get("device_token"));
        if device_token.is_some_and(|token| RefreshToken::parse(token.expose()).is_none()) {
            return Err(TokenError::invalid_request("The device_token is malformed"));
        }
        let client = self.policy.authenticate_for("password", request).await?;
        let mut login = Login::new(account_of(self.usernames.as_ref(), username.expose()), password.clone());
        login.client_id = client.as_ref().map(|client| client.id().to_owned());
        login.client_address = self.policy.address(&request.parts);
        login.scope = requested_scope(request)?;
        let login = self.with_inputs(login, request)?;

        let (scope, account) = (login.scope.clone(), login.username.clone());
        let asker = self.asker(request, client.as_ref(), Some(username.expose()));
        let checked = async {
            let (identity, attempt) = self.verify(asker, login).await?;
            match self.ask_for_second_step(asker, &identity, (account, scope.clone())).await? {
                Some(error) => attempt.released().await.and(Err(error)),
                None => attempt.succeeded().await.map(|()| identity),
            }
        };
        let identity = asker.audit.unserved(checked.await)?;
        self.begin_session(asker, &identity, scope).await
    }

    async fn verify(&self, asker: Asker<'_>, login: Login) -> Result<(Identity, Attempt), TokenError> {
        let budget = &asker.request.budget;
        let (limits, address) = (self.policy.attempts.as_ref(), login.client_address);
        let attempt = AttemptLimits::reserve_within(limits, budget, &login.username, address).await?;
        let is_nobody = login.username.is_empty();
        // An error drops the attempt, which then counts neither as a failure nor as a success.
        match answer_within(self.verifier_timeout, "the verifier failed", self.verifier.verify(login)).await? {
            Verdict::Granted(identity) if !is_nobody => Ok((identity, attempt)),
            _ => {
                asker.audit.record(EventKind::Denied);
                attempt.failed().await?;
                Err(TokenError::invalid_grant("Incorrect username or password"))
            }
        }
    }

    /// What each grant of a user ends with.
    pub(super) async fn begin_session(
        &self,
        Asker { request, client, began, audit }: Asker<'_>,
        identity: &Identity,
        requested: Option<Scope>,
    ) -> Result<TokenResponse, TokenError> {
        let scope = granted(identity, client, requested)?;
        let session = session::begin(identity, client, &scope, began)?;
        let session_id = session.id.clone();
        let mut response = self.issue(identity, client, scope, &session).await?;
        self.end_replaced(client, request).await?;
        // A store of families may not know of it, and the list denies a whole subject when it has too much of one.
        if self.denials.as_ref().is_some_and(|list| list.has_ended_since(identity.subject(), began)) {
            return Err(ended());
        }
        let refreshes = !identity.without_refresh_token && client.is_none_or(|client| client.may_use("refresh_token"));
        if let Some(tokens) = self.refresh.as_ref().filter(|_| refreshes) {
            let ttl = identity.session_ttl.or(client.and_then(|client| client.session_ttl));
            response.refresh_token = Some(tokens.begin(session, ttl, began, &request.budget).await?);
        }
        Audit { subject: Some(identity.subject()), session: Some(&session_id), ..audit }.record(EventKind::Login);
        Ok(response)
    }

    /// Ends the session of the cookie beside a login, which no browser would hold any more (OWASP ASVS 5.0, 7.2.4).
    async fn end_replaced(&self, client: Option<&Client>, request: &Request) -> Result<(), TokenError> {
        let cookie = cookie::presented("refresh_token", client, request).ok().filter(|presented| presented.in_cookie);
        let token = cookie.and_then(|cookie| RefreshToken::parse(cookie.token.expose()));
        let (Some(tokens), Some(token)) = (&self.refresh, token) else { return Ok(()) };
        let found = tokens.find(&token, &request.budget).await?;
        let own = found.filter(|family| family.session.client_id.as_deref() == client.map(Client::id));
        let Some(family) = own else { return Ok(()) };
        session::end(tokens, self.denials.as_ref(), (token.id, &family), &request.budget).await?;
        self.policy.audit_session(Some(request), &family).record(EventKind::SessionEnded);
        Ok(())
    }
}
