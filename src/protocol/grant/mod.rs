//! The token endpoint's decision.

mod password;
mod refresh;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use http::Response;

use super::{
    client::Client,
    client_policy::ClientPolicy,
    refresh_token::RefreshTokens,
    request::{Endpoint, Parameters, Request},
    response::{RenderToken, TokenResponse, uncached},
};
use crate::{
    error::{BoxFuture, TokenError},
    scope::Scope,
    secret::Secret,
    token::{DynIssuer, IssuedToken, TokenRequest},
    verifier::{DynVerifier, Identity},
};

/// Everything that decides a token request.
#[derive(Clone)]
pub(crate) struct Grants {
    pub(crate) verifier: Arc<dyn DynVerifier>,
    pub(crate) issuer: Arc<dyn DynIssuer>,
    pub(crate) policy: ClientPolicy,
    pub(crate) refresh: Option<RefreshTokens>,
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
    ) -> Result<IssuedToken, TokenError> {
        let mut request = TokenRequest::new(identity.subject());
        request.client_id = client.map(|client| client.id().to_owned());
        request.scope = scope.clone();
        request.claims = identity.claims().clone();
        self.issuer.issue(request).await.map_err(|cause| TokenError::from_cause("the token issuer failed", cause))
    }
}

/// The scope that the request asks for, if any.
fn requested_scope(request: &Request) -> Result<Option<Scope>, TokenError> {
    let Some(text) = request.form.get("scope") else { return Ok(None) };
    let scope: Scope = text.expose().parse().map_err(|_| TokenError::invalid_scope("The scope is malformed"))?;
    Ok((!scope.is_empty()).then_some(scope))
}
