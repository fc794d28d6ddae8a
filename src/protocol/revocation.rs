//! The revocation endpoint's decision (RFC 7009).

use bytes::Bytes;
use http::Response;
use serde_json::json;

use super::request::{Endpoint, Request};
use super::{client::Client, cookie, grant::Grants, refresh_token::RefreshToken, response, session};
use crate::error::{BoxFuture, TokenError};
use crate::event::{Audit, EventKind};
use crate::token::InvalidToken;

/// Revokes the tokens that these grants issued.
pub(crate) struct Revocation(pub(crate) Grants);

impl Endpoint for Revocation {
    fn decide<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Response<Bytes>, TokenError>> {
        Box::pin(async move {
            let client = self.0.policy.authenticate(request).await?;
            let presented = cookie::presented("token", client.as_ref(), request)?;
            let token = presented.token.expose();
            // The two kinds differ without the hint, so a wrong hint does no harm.
            if !self.revoke_refresh(token, client.as_ref(), request).await? {
                self.revoke_access(token, client.as_ref(), request).await?;
            }
            let answer = response::uncached(response::json(&json!({})));
            Ok(if presented.in_cookie { cookie::clear(answer) } else { answer })
        })
    }
}

impl Revocation {
    /// False if there was no such token: an access token may have the same form.
    async fn revoke_refresh(&self, text: &str, client: Option<&Client>, request: &Request) -> Result<bool, TokenError> {
        let Some(token) = RefreshToken::parse(text) else { return Ok(false) };
        // The tokens of a second factor have the same form.
        let factors = self.0.second_factor.as_ref();
        let devices = factors.and_then(|factors| factors.devices.as_ref());
        let all = [self.0.refresh.as_ref(), devices, factors.map(|factors| &factors.pending)];
        for tokens in all.into_iter().flatten() {
            let Some(family) = tokens.find(&token, &request.budget).await? else { continue };
            check_client(client, family.session.client_id.as_deref())?;
            session::end(tokens, self.0.denials.as_ref(), (token.id, &family), &request.budget).await?;
            self.0.policy.audit_session(Some(request), &family).record(EventKind::Revoked);
            return Ok(true);
        }
        Ok(false)
    }

    async fn revoke_access(&self, text: &str, client: Option<&Client>, request: &Request) -> Result<(), TokenError> {
        // A 200 would promise a revocation that cannot happen (RFC 7009, section 2.2.1).
        let unsupported = |reason| TokenError::unsupported_token_type().because(reason);
        let token = match self.0.validator.validate_to_revoke(text) {
            Ok(token) => token,
            Err(InvalidToken::UnknownKey) => return Err(unsupported("the key of the token is not known here")),
            Err(_) => return Ok(()),
        };
        check_client(client, token.client_id())?;
        let denials = self.0.denials.as_ref().ok_or_else(|| unsupported("there is no deny list"))?;
        denials.deny_token(&token, &request.budget).await?;
        let (subject, client_id, session) = (Some(token.subject()), token.client_id(), token.session_id());
        Audit { subject, client_id, session, ..self.0.policy.audit(Some(request)) }.record(EventKind::Revoked);
        Ok(())
    }
}

/// A client may revoke its own tokens only (RFC 7009, section 2.1).
fn check_client(client: Option<&Client>, owner: Option<&str>) -> Result<(), TokenError> {
    let refused = TokenError::invalid_grant("The token was not issued to this client");
    if client.is_none_or(|client| owner == Some(client.id())) { Ok(()) } else { Err(refused) }
}
