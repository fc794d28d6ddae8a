//! The refresh grant (RFC 6749, section 6; RFC 9700, section 4.14.2).

use super::{Grants, allowed, common, narrowed, requested_scope};
use crate::error::{TokenError, answer_within};
use crate::protocol::refresh_token::{RefreshToken, RefreshTokens, Rotated};
use crate::protocol::{client::Client, cookie, form::is_visible_ascii, request::Request, response::TokenResponse};
use crate::store::{Family, FamilyId};
use crate::verifier::{Identity, Verdict};
use crate::{event::EventKind, observe};

impl Grants {
    pub(super) async fn refresh(&self, tokens: &RefreshTokens, request: &Request) -> Result<TokenResponse, TokenError> {
        let in_body = request.form.get("refresh_token");
        if in_body.is_none() && !cookie::is_sent(&request.parts.headers) {
            return Err(TokenError::missing(vec!["refresh_token"]));
        }
        if in_body.is_some_and(|token| !is_visible_ascii(token.expose())) {
            return Err(TokenError::invalid_request("A character is not allowed in refresh_token"));
        }
        let client = self.policy.authenticate_for("refresh_token", request).await?;
        let tokens = &tokens.for_client(client.as_ref());
        let presented = cookie::presented("refresh_token", client.as_ref(), request)?;
        let requested = requested_scope(request)?;

        let token = RefreshToken::parse(presented.token.expose()).ok_or_else(|| invalid("it is malformed"))?;
        let unknown = || invalid("it is unknown, expired or revoked");
        let family = tokens.find(&token, &request.budget).await?.ok_or_else(unknown)?;
        if family.session.client_id.as_deref() != client.as_ref().map(Client::id) {
            return Err(invalid("it belongs to another client"));
        }
        let repeated = tokens.repeat(&token, &family);
        if repeated.is_none() && !token.has(&family.current) {
            return Err(self.reuse(tokens, (token.id, &family), presented.in_cookie, request).await);
        }

        let identity = self.verify_subject(&family.session.subject, invalid).await?;
        if identity.security_stamp() != family.session.security_stamp.as_deref() {
            self.end(tokens, token.id, &family, request).await?;
            self.policy.audit_session(Some(request), &family).record(EventKind::SessionEnded);
            return Err(invalid("the security stamp of the user has changed"));
        }
        let allowed = common(&family.session.scope, &allowed(&identity, client.as_ref()));
        let scope = narrowed(allowed, requested, "The scope exceeds what was granted")?;
        // Before the rotation, so that a failure here leaves the old token valid.
        let mut response = self.issue(&identity, client.as_ref(), scope, &family.session).await?;
        let successor = match repeated {
            Some(_) => {
                // It may have been revoked or used since, and there is no rotation that would fail.
                let family = tokens.find(&token, &request.budget).await?.ok_or_else(unknown)?;
                tokens.repeat(&token, &family).ok_or_else(unknown)?
            }
            None => match tokens.rotate(&token, &request.budget).await? {
                Rotated::To(successor) => successor,
                Rotated::Gone => return Err(unknown()),
                Rotated::Reused => {
                    return Err(self.reuse(tokens, (token.id, &family), presented.in_cookie, request).await);
                }
            },
        };
        self.policy.audit_session(Some(request), &family).record(EventKind::Refresh);
        response.refresh_token = Some((successor, family.absolute_ttl.min(family.idle_ttl)));
        Ok(response)
    }

    /// The user as the verifier knows it now. `invalid` makes the error if it is no longer known.
    pub(super) async fn verify_subject(
        &self,
        subject: &str,
        invalid: fn(&'static str) -> TokenError,
    ) -> Result<Identity, TokenError> {
        let verdict = self.verifier.verify_subject(subject);
        match answer_within(self.verifier_timeout, "the verifier failed", verdict).await? {
            Verdict::Granted(identity) if identity.subject() == subject => Ok(identity),
            // In a table whose usernames and subjects overlap, this subject may find another user.
            Verdict::Granted(_) => {
                observe::misconfigured(
                    "a refresh or a second step found another user than the one who logged in: `verify_subject` must find \
                     users by their subject",
                );
                Err(invalid("the verifier returned another subject"))
            }
            Verdict::Denied => Err(invalid("the verifier denied the subject")),
        }
    }

    /// An old token was used again: a thief may have the family, so it ends for everyone.
    async fn reuse(
        &self,
        tokens: &RefreshTokens,
        (id, family): (FamilyId, &Family),
        in_cookie: bool,
        request: &Request,
    ) -> TokenError {
        self.policy.audit_session(Some(request), family).record(EventKind::Reuse);
        let ended = self.end(tokens, id, family, request).await;
        ended.err().unwrap_or_else(|| invalid("it was used before").with_cookie_cleared(in_cookie))
    }

    /// Ends a session: first its refresh tokens, so that it gets no other token, whatever happens to those that it has.
    async fn end(
        &self,
        tokens: &RefreshTokens,
        id: FamilyId,
        family: &Family,
        request: &Request,
    ) -> Result<(), TokenError> {
        let revoked = tokens.revoke(id, &request.budget).await;
        let Some(denials) = &self.denials else { return revoked };
        revoked.and(denials.deny_session(family, &request.budget).await)
    }
}

fn invalid(reason: &'static str) -> TokenError {
    TokenError::invalid_grant("The refresh token is not valid").because(reason)
}
