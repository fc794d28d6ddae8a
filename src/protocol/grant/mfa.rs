//! The second step of a login, in the wire format of Auth0's MFA API: `mfa_required`, then a grant with the code.

use std::mem;
use std::time::{Duration, Instant};

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Grants, common, requested_scope};
use crate::error::{TokenError, answer_within};
use crate::event::{Audit, EventKind};
use crate::protocol::refresh_token::{RefreshToken, RefreshTokens, Rotated};
use crate::protocol::response::{TokenResponse, members};
use crate::protocol::second_factor::{FactorCode, FactorVerdict, SecondFactors};
use crate::protocol::{client::Client, request::Request, session};
use crate::scope::Scope;
use crate::secret::Secret;
use crate::store::{Family, Session};
use crate::verifier::Identity;

pub(super) const OTP: &str = "http://auth0.com/oauth/grant-type/mfa-otp";
pub(super) const RECOVERY_CODE: &str = "http://auth0.com/oauth/grant-type/mfa-recovery-code";

/// The longest code, in bytes.
const LONGEST_CODE: usize = 128;

/// What the first step knows, and the second needs.
#[derive(Serialize, Deserialize)]
struct Pending {
    account: String,
    requested: Option<String>,
    claims: Map<String, Value>,
    session_ttl: Option<Duration>,
    without_refresh_token: bool,
}

impl Grants {
    /// Whether a login with a right password needs a second step.
    pub(super) async fn needs_second_step(
        &self,
        factors: &SecondFactors,
        user: &Identity,
        client: Option<&Client>,
        request: &Request,
    ) -> Result<bool, TokenError> {
        if let (Some(devices), Some(token)) = (&factors.devices, request.form.get("device_token"))
            && let Some((_, device)) = find(devices, token, request).await?
            && (&*device.subject, device.client_id.as_deref()) == (user.subject(), client.map(Client::id))
            && device.security_stamp == user.security_stamp
        {
            return Ok(false);
        }
        answer_within(self.verifier_timeout, "the second factor failed", factors.factor.is_required(user)).await
    }

    /// The error that asks the client for the second step.
    pub(super) async fn require_second_step(
        &self,
        factors: &SecondFactors,
        user: &Identity,
        client: Option<&Client>,
        (account, requested): (String, Option<&Scope>),
        began: Instant,
        request: &Request,
    ) -> Result<TokenError, TokenError> {
        let pending = Pending {
            account,
            requested: requested.map(ToString::to_string),
            claims: user.claims.clone(),
            session_ttl: user.session_ttl,
            without_refresh_token: user.without_refresh_token,
        };
        let mut session = session::begin(user, began)?;
        session.claims = members(serde_json::to_value(pending).unwrap_or_default());
        let token = begin(&factors.pending, user, client, (session, began), request).await?;
        let error = TokenError::custom("mfa_required", "Multifactor authentication required");
        Ok(error.with_status(StatusCode::FORBIDDEN).with_field("mfa_token", token.expose()))
    }

    pub(super) async fn second_step(
        &self,
        factors: &SecondFactors,
        (grant, parameter): (&'static str, &'static str),
        request: &Request,
    ) -> Result<TokenResponse, TokenError> {
        let (token, code) = (request.required("mfa_token")?, request.required(parameter)?.clone());
        let is_code = code.expose().len() <= LONGEST_CODE && code.expose().bytes().all(|byte| byte.is_ascii_graphic());
        if !is_code {
            return Err(TokenError::invalid_request("The code is too long, or a character in it is not allowed"));
        }
        let client = self.policy.authenticate_for(grant, request).await?;
        let (narrower, began) = (requested_scope(request)?, Instant::now());
        let (token, family) =
            find(&factors.pending, token, request).await?.ok_or_else(|| invalid("it is unknown, expired or used"))?;
        if family.client_id.as_deref() != client.as_ref().map(Client::id) {
            return Err(invalid("it belongs to another client"));
        }
        let pending: Pending = serde_json::from_value(Value::Object(family.session.claims.clone()))
            .map_err(|cause| TokenError::from_cause("a login that waits is unreadable", cause.into()))?;
        let requested = pending.requested.as_deref().and_then(|scope| scope.parse::<Scope>().ok());
        if let (Some(first), Some(narrower)) = (&requested, &narrower)
            && !narrower.is_subset_of(first)
        {
            return Err(TokenError::invalid_scope("The scope exceeds what was asked for at first"));
        }
        let user = self.verify_subject(&family.subject, invalid).await?;
        if user.security_stamp() != family.security_stamp.as_deref() {
            factors.pending.revoke(token.id, &request.budget).await?;
            return Err(invalid("the security stamp of the user has changed"));
        }

        let (subject, client_id) = (Some(&*family.subject), client.as_ref().map(Client::id));
        let audit = Audit { subject, client_id, ..self.policy.audit(Some(request)) };
        let accepted = self.check_code(factors, grant, code, &user, audit, request).await;
        let (amr, recovery_code) = audit.unserved(accepted)?;
        // Of two right codes at once, one ends here.
        let Rotated::To(_) = factors.pending.rotate(&token, &request.budget).await? else {
            return Err(invalid("it was used meanwhile"));
        };
        factors.pending.revoke(token.id, &request.budget).await?;
        if let Some(limits) = &self.policy.attempts {
            limits.clear(&request.budget, &pending.account, self.policy.address(&request.parts)).await?;
        }

        let identity = completed(user, &family, pending, amr);
        let requested = narrower.or(requested);
        let mut response = self.begin_session(request, &identity, client.as_ref(), requested, began, audit).await?;
        response.others.extend(recovery_code.map(|code| ("recovery_code", code)));
        let asked_for = request.form.get("trust_device").is_some_and(|wish| wish.expose() == "true");
        if let Some(devices) = factors.devices.as_ref().filter(|_| asked_for) {
            let session = session::begin(&Identity::new(identity.subject()), began)?;
            let token = begin(devices, &identity, client.as_ref(), (session, began), request).await?;
            response.others.insert("device_token", token);
        }
        Ok(response)
    }

    async fn check_code(
        &self,
        factors: &SecondFactors,
        grant: &str,
        code: Secret,
        user: &Identity,
        audit: Audit<'_>,
        request: &Request,
    ) -> Result<(&'static str, Option<Secret>), TokenError> {
        let limits = self.policy.attempts.as_ref().unwrap_or(&factors.attempts);
        let attempt = limits.reserve_code(&request.budget, user.subject()).await?;
        let code = if grant == OTP { FactorCode::Otp(code) } else { FactorCode::Recovery(code) };
        let answer = factors.factor.verify(user.subject(), code);
        // An error drops the attempt, which then does not count.
        match answer_within(self.verifier_timeout, "the second factor failed", answer).await? {
            FactorVerdict::Accepted { amr, recovery_code } => attempt.succeeded().await.map(|()| (amr, recovery_code)),
            FactorVerdict::Denied => {
                audit.record(EventKind::MfaDenied);
                attempt.failed().await?;
                Err(TokenError::invalid_grant("The code is wrong"))
            }
        }
    }
}

/// Begins a family of its own lifetime, whatever the client and the user have, and returns the token.
async fn begin(
    tokens: &RefreshTokens,
    user: &Identity,
    client: Option<&Client>,
    session: (Session, Instant),
    request: &Request,
) -> Result<Secret, TokenError> {
    let mut owner = Identity::new(user.subject()).with_session_ttl(tokens.absolute_ttl);
    owner.security_stamp.clone_from(&user.security_stamp);
    let begun = tokens.begin(&owner, client, user.scope(), session, &request.budget).await?;
    begun.map(|(token, _)| token).ok_or_else(|| invalid("the sessions of the subject were ended meanwhile"))
}

/// The family of a token, if it is the current one.
async fn find(
    tokens: &RefreshTokens,
    presented: &Secret,
    request: &Request,
) -> Result<Option<(RefreshToken, Family)>, TokenError> {
    let Some(token) = RefreshToken::parse(presented.expose()) else { return Ok(None) };
    let family = tokens.find(&token, &request.budget).await?.filter(|family| token.has(&family.current));
    Ok(family.map(|family| (token, family)))
}

/// The user of both steps: what they may do is as new as the second.
fn completed(mut user: Identity, family: &Family, pending: Pending, amr: &str) -> Identity {
    user.scope = common(&family.scope, &user.scope);
    let newer = mem::replace(&mut user.claims, pending.claims);
    user.claims.extend(newer);
    let first = if family.session.amr.is_empty() { &["pwd".to_owned()] } else { family.session.amr.as_slice() };
    user.amr = first.iter().cloned().chain([amr.to_owned(), "mfa".to_owned()]).collect();
    user.session_label.clone_from(&family.session.label);
    (user.session_ttl, user.without_refresh_token) = (pending.session_ttl, pending.without_refresh_token);
    user
}

fn invalid(reason: &'static str) -> TokenError {
    TokenError::invalid_grant("The mfa_token is not valid").because(reason)
}
