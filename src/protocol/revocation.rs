//! The revocation endpoint's decision (RFC 7009).

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::Response;
use serde_json::json;

use super::{
    client::Client,
    client_policy::ClientPolicy,
    refresh_token::{RefreshToken, RefreshTokens},
    request::{Endpoint, Parameters, Request},
    response,
};
use crate::{
    error::{BoxFuture, TokenError},
    observe,
    store::DenyList,
    token::{LONGEST_LEEWAY, TokenValidator},
};

/// The parameters of introspection, too (RFC 7662, section 2.1).
pub(super) const PARAMETERS: Parameters = Parameters {
    known: &["token", "token_type_hint", "client_id", "client_secret"],
    required: &["token"],
    not_in_query: &["token", "client_secret"],
};

/// A token that never expires is denied for this long, which any store can add to the time of its clock.
const LONGEST_DENIAL: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Everything that decides a revocation request.
#[derive(Clone)]
pub(crate) struct Revocation {
    pub(crate) policy: ClientPolicy,
    pub(crate) refresh: Option<RefreshTokens>,
    pub(crate) validator: Arc<dyn TokenValidator>,
    pub(crate) deny_list: Option<Arc<dyn DenyList>>,
}

impl Endpoint for Revocation {
    fn parameters(&self) -> Parameters {
        PARAMETERS
    }

    fn decide<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Response<Bytes>, TokenError>> {
        Box::pin(async move {
            let client = self.policy.authenticate(request).await?;
            let token = request.required("token")?.expose();
            // The two kinds differ without the hint, so a wrong hint does no harm.
            if !self.revoke_refresh_token(token, client.as_ref(), request).await? {
                self.revoke_access_token(token, client.as_ref(), request).await?;
            }
            Ok(response::uncached(response::json(&json!({}))))
        })
    }
}

impl Revocation {
    /// False if there was no such token: an access token may have the same form.
    async fn revoke_refresh_token(
        &self,
        text: &str,
        client: Option<&Client>,
        request: &Request,
    ) -> Result<bool, TokenError> {
        let (Some(tokens), Some(token)) = (&self.refresh, RefreshToken::parse(text)) else { return Ok(false) };
        let Some(family) = tokens.find(&token, &request.budget).await? else { return Ok(false) };
        check_client(client, family.client_id.as_deref())?;
        tokens.revoke(&token, &request.budget).await?;
        observe::audit("revoke", Some(&family.subject), family.client_id.as_deref());
        Ok(true)
    }

    async fn revoke_access_token(
        &self,
        text: &str,
        client: Option<&Client>,
        request: &Request,
    ) -> Result<(), TokenError> {
        let Ok(token) = self.validator.validate(text) else { return Ok(()) };
        check_client(client, token.client_id())?;
        // A 200 would promise a revocation that cannot happen (RFC 7009, section 2.2.1).
        let (Some(deny_list), Some(id)) = (&self.deny_list, token.id()) else {
            return Err(TokenError::unsupported_token_type());
        };
        let left = match token.expires_at() {
            Some(end) => end.duration_since(SystemTime::now()).unwrap_or_default().min(LONGEST_DENIAL),
            None => LONGEST_DENIAL,
        };
        // Longer than the token lives, by the leeway that a guard may allow.
        request.budget.spend(|deadline| deny_list.deny(id, left + LONGEST_LEEWAY, deadline)).await?;
        observe::audit("revoke", Some(token.subject()), token.client_id());
        Ok(())
    }
}

/// A client may revoke its own tokens only (RFC 7009, section 2.1).
fn check_client(client: Option<&Client>, owner: Option<&str>) -> Result<(), TokenError> {
    match client {
        Some(client) if owner != Some(client.id()) => {
            Err(TokenError::invalid_grant("The token was not issued to this client"))
        }
        _ => Ok(()),
    }
}
