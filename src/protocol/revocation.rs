//! The revocation endpoint's decision (RFC 7009).

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Response, request::Parts};
use serde_json::json;

use super::{
    client::Client,
    client_policy::ClientPolicy,
    form::Form,
    refresh_token::{RefreshToken, RefreshTokens},
    response,
};
use crate::error::TokenError;
use crate::error::store_unavailable;
use crate::{
    observe,
    store::{DynDenyList, StoreBudget},
    token::{LONGEST_LEEWAY, TokenValidator},
};

/// Those of introspection, too (RFC 7662, section 2.1).
pub(crate) const PARAMETERS: &[&str] = &["token", "token_type_hint", "client_id", "client_secret"];
/// Parameters that must not be in the query string.
pub(crate) const NOT_IN_QUERY: &[&str] = &["token", "client_secret"];

pub(crate) const REQUIRED: &[&str] = &["token"];

/// How long a token is denied, at most: as good as for ever, and small enough for any store to add to what its clock says.
const LONGEST_DENIAL: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Everything that a revocation request is decided by.
#[derive(Clone)]
pub(crate) struct Revocation {
    pub(crate) refresh: RefreshTokens,
    pub(crate) policy: ClientPolicy,
    pub(crate) access: Option<Arc<dyn TokenValidator>>,
    pub(crate) deny_list: Option<Arc<dyn DynDenyList>>,
}

impl Revocation {
    pub(crate) async fn decide(&self, parts: &Parts, body: &[u8], budget: &StoreBudget) -> Result<(), TokenError> {
        let form = Form::parse(body, PARAMETERS)?;
        let client = self.policy.authenticate(parts, &form, budget).await?;
        let text = form.get("token").ok_or_else(|| TokenError::missing(REQUIRED.to_vec()))?.expose();
        // The hint is not needed to tell the two kinds apart, so a wrong one does no harm.
        if let Some(token) = RefreshToken::parse(text)
            && self.revoke_refresh(&token, client.as_ref(), budget).await?
        {
            return Ok(());
        }
        self.revoke_access(text, client.as_ref(), budget).await
    }

    /// Whether there was such a token: one of the same form may still be an access token.
    async fn revoke_refresh(
        &self,
        token: &RefreshToken,
        client: Option<&Client>,
        budget: &StoreBudget,
    ) -> Result<bool, TokenError> {
        let family = self.refresh.find(token, budget).await.map_err(|error| store_unavailable(&error))?;
        let Some(family) = family else { return Ok(false) };
        check_client(client, family.client_id.as_deref())?;
        self.refresh.revoke(token, budget).await.map_err(|error| store_unavailable(&error))?;
        observe::audit("revoke", Some(&family.subject), family.client_id.as_deref());
        Ok(true)
    }

    async fn revoke_access(&self, text: &str, client: Option<&Client>, budget: &StoreBudget) -> Result<(), TokenError> {
        let Some(access) = &self.access else {
            // A 200 would promise what does not happen, should this be an access token (section 2.2.1).
            return if is_jws(text) { Err(TokenError::unsupported_token_type()) } else { Ok(()) };
        };
        let Ok(token) = access.validate(text) else { return Ok(()) };
        check_client(client, token.client_id())?;
        let (Some(deny_list), Some(id)) = (&self.deny_list, token.id()) else {
            return Err(TokenError::unsupported_token_type());
        };
        let left = match token.expires_at() {
            Some(end) => end.duration_since(SystemTime::now()).unwrap_or_default().min(LONGEST_DENIAL),
            None => LONGEST_DENIAL,
        };
        // Longer than the token lives, by what a guard may allow.
        let ttl = left + LONGEST_LEEWAY;
        let denied = budget.spend(|deadline| deny_list.deny(id, ttl, deadline)).await;
        denied.map_err(|error| store_unavailable(&error))?;
        observe::audit("revoke", Some(token.subject()), token.client_id());
        Ok(())
    }
}

/// Whether it has the form of a signed JWT (RFC 7515, section 3.1).
fn is_jws(text: &str) -> bool {
    text.split('.').count() == 3
}

/// A client that identified itself may revoke its own tokens only (RFC 7009, section 2.1).
fn check_client(client: Option<&Client>, owner: Option<&str>) -> Result<(), TokenError> {
    match client {
        Some(client) if owner != Some(client.id()) => {
            Err(TokenError::invalid_grant("The token was not issued to this client"))
        }
        _ => Ok(()),
    }
}

pub(crate) fn revoked() -> Response<Bytes> {
    response::uncached(response::json(&json!({})))
}
