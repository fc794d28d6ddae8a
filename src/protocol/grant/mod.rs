//! The token endpoint's decision.

mod password;
mod refresh;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Response;
use tokio::time::Instant;

use super::request::{Endpoint, Parameters, Request};
use super::response::{RenderToken, TokenResponse, uncached};
use super::{client::Client, client_policy::ClientPolicy, refresh_token::RefreshTokens, session::Denials};
use crate::error::{BoxError, BoxFuture, TokenError};
use crate::store::Session;
use crate::token::{DynIssuer, IssuedToken, TokenRequest};
use crate::verifier::{DynVerifier, Identity};
use crate::{scope::Scope, secret::Secret, sync::timeout_at};

/// Everything that decides a token request.
#[derive(Clone)]
pub(crate) struct Grants {
    pub(crate) verifier: Arc<dyn DynVerifier>,
    pub(crate) issuer: Arc<dyn DynIssuer>,
    pub(crate) policy: ClientPolicy,
    pub(crate) refresh: Option<RefreshTokens>,
    pub(crate) denials: Option<Denials>,
    pub(crate) verifier_timeout: Duration,
    pub(crate) optional_grant_type: bool,
    pub(crate) render: Arc<RenderToken>,
}

impl Endpoint for Grants {
    fn parameters(&self) -> Parameters {
        Parameters {
            known: &["grant_type", "username", "password", "scope", "client_id", "client_secret", "refresh_token"],
            required: if self.optional_grant_type { &["username", "password"] } else { &["grant_type"] },
            not_in_query: &["username", "password", "client_secret", "refresh_token"],
        }
    }

    fn decide<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Response<Bytes>, TokenError>> {
        Box::pin(async move { Ok(uncached((self.render)(&self.grant(request).await?))) })
    }
}

impl Grants {
    async fn grant(&self, request: &Request) -> Result<TokenResponse, TokenError> {
        match (request.form.get("grant_type").map(Secret::expose), &self.refresh) {
            (Some("password"), _) => self.password(request).await,
            (Some("refresh_token"), Some(tokens)) => self.refresh(tokens, request).await,
            (Some(other), _) => Err(TokenError::unsupported_grant_type().with_grant_type(other)),
            (None, _) if self.optional_grant_type => self.password(request).await,
            (None, _) => Err(TokenError::missing(vec!["grant_type"])),
        }
    }

    async fn issue(
        &self,
        identity: &Identity,
        client: Option<&Client>,
        scope: &Scope,
        session: &Session,
    ) -> Result<IssuedToken, TokenError> {
        let mut request = TokenRequest::new(identity.subject());
        request.client_id = client.map(|client| client.id().to_owned());
        request.scope = scope.clone();
        // Those of the login, unless the verifier has newer ones.
        request.claims = session.claims.clone();
        request.claims.extend(identity.claims().clone());
        request.claims.retain(|_, value| !value.is_null());
        request.amr.clone_from(&session.amr);
        // Only what can be ended is worth a name.
        if self.refresh.is_some() || self.denials.is_some() {
            (request.session_id, request.auth_time) = (Some(session.id.clone()), Some(session.auth_time));
        }
        self.ask("the token issuer failed", self.issuer.issue(request)).await
    }

    /// Awaits the user's code for as long as the verifier may take.
    async fn ask<T>(&self, failed: &str, answer: impl Future<Output = Result<T, BoxError>>) -> Result<T, TokenError> {
        let answer = timeout_at(Instant::now() + self.verifier_timeout, answer).await;
        answer.map_err(BoxError::from).flatten().map_err(|cause| TokenError::from_cause(failed, cause))
    }
}

/// The scope that the request asks for, if any.
fn requested_scope(request: &Request) -> Result<Option<Scope>, TokenError> {
    let Some(text) = request.form.get("scope") else { return Ok(None) };
    let scope: Scope = text.expose().parse().map_err(|_| TokenError::invalid_scope("The scope is malformed"))?;
    Ok((!scope.is_empty()).then_some(scope))
}
