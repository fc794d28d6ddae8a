//! The refresh grant (RFC 6749, section 6; RFC 9700, section 4.14.2).

use super::{Grants, requested_scope};
use crate::{
    error::TokenError,
    observe,
    protocol::{
        client::Client,
        form::is_visible_ascii,
        refresh_token::{RefreshToken, RefreshTokens, Rotated},
        request::Request,
        response::TokenResponse,
    },
    scope::Scope,
    store::Family,
    verifier::{Identity, Verdict},
};

impl Grants {
    pub(super) async fn refresh(&self, tokens: &RefreshTokens, request: &Request) -> Result<TokenResponse, TokenError> {
        let presented = request.required("refresh_token")?;
        if !is_visible_ascii(presented.expose()) {
            return Err(TokenError::invalid_request("A character is not allowed in refresh_token"));
        }
        let client = self.policy.authenticate(request).await?;
        let requested = requested_scope(request)?;

        let token = RefreshToken::parse(presented.expose()).ok_or_else(invalid)?;
        let family = tokens.find(&token, &request.budget).await?.ok_or_else(invalid)?;
        if family.client_id.as_deref() != client.as_ref().map(Client::id) {
            return Err(invalid());
        }
        let repeated = tokens.repeat(&token, &family);
        if repeated.is_none() && !token.is_current(&family) {
            return Err(reused(tokens, &token, &family, request).await);
        }

        let identity = self.verify_subject(&family.subject).await?;
        if identity.security_stamp() != family.security_stamp.as_deref() {
            tokens.revoke(&token, &request.budget).await?;
            return Err(invalid());
        }
        let scope = match requested {
            None => common(&family.scope, identity.scope()),
            Some(requested) if requested.is_subset_of(&family.scope) && requested.is_subset_of(identity.scope()) => {
                requested
            }
            Some(_) => return Err(TokenError::invalid_scope("The scope exceeds what was granted")),
        };
        // Before the rotation, so that a failure here leaves the old token valid.
        let issued = self.issue(&identity, client.as_ref(), &scope).await?;
        let refresh_token = match repeated {
            Some(successor) => successor,
            None => match tokens.rotate(&token, &request.budget).await? {
                Rotated::To(successor) => successor,
                Rotated::Gone => return Err(invalid()),
                Rotated::Reused => return Err(reused(tokens, &token, &family, request).await),
            },
        };
        observe::audit("refresh", Some(identity.subject()), client.as_ref().map(Client::id));
        Ok(TokenResponse { issued, scope, refresh_token: Some(refresh_token) })
    }

    async fn verify_subject(&self, subject: &str) -> Result<Identity, TokenError> {
        let verified = self.verifier.verify_subject(subject).await;
        match verified.map_err(|cause| TokenError::from_cause("the verifier failed", cause))? {
            // In a table whose usernames and subjects overlap, this subject may find another user.
            Verdict::Granted(identity) if identity.subject() == subject => Ok(identity),
            _ => Err(invalid()),
        }
    }
}

/// An old token was used again: a thief may have the family, so it ends for everyone.
async fn reused(tokens: &RefreshTokens, token: &RefreshToken, family: &Family, request: &Request) -> TokenError {
    observe::audit("reuse", Some(&family.subject), family.client_id.as_deref());
    tokens.revoke(token, &request.budget).await.err().unwrap_or_else(invalid)
}

fn invalid() -> TokenError {
    TokenError::invalid_grant("The refresh token is not valid")
}

fn common(granted: &Scope, allowed: &Scope) -> Scope {
    let tokens: Vec<&str> = granted.iter().filter(|token| allowed.contains(token)).collect();
    tokens.join(" ").parse().unwrap_or_default()
}
