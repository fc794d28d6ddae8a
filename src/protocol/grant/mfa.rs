//! The second step of a login, in the wire format of Auth0's MFA API: `mfa_required`, then a grant with the code.

use std::{collections::BTreeMap, mem, time::Duration};

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Asker, Grants, common, granted, narrowed, requested_scope};
use crate::error::{TokenError, answer_within};
use crate::event::{Audit, EventKind};
use crate::protocol::refresh_token::{RefreshToken, RefreshTokens, Rotated};
use crate::protocol::response::{TokenResponse, members};
use crate::protocol::second_factor::{FactorCode, FactorVerdict, SecondFactors};
use crate::protocol::{client::Client, request::Request, session};
use crate::scope::Scope;
use crate::secret::Secret;
use crate::store::Session;
use crate::verifier::Identity;

/// A grant type, the parameter with its code, and the kind of the code.
type Step = (&'static str, &'static str, fn(Secret) -> FactorCode);

pub(super) const STEPS: [Step; 2] = [
    ("http://auth0.com/oauth/grant-type/mfa-otp", "otp", FactorCode::Otp),
    ("http://auth0.com/oauth/grant-type/mfa-recovery-code", "recovery_code", FactorCode::Recovery),
];

/// The parameters of both steps.
pub(super) const PARAMETERS: [&str; 5] = ["mfa_token", "otp", "recovery_code", "trust_device", "device_token"];

/// The longest code, in bytes.
const LONGEST_CODE: usize = 128;

/// What the first step knows, and the second needs.
#[derive(Serialize, Deserialize)]
struct Pending {
    account: String,
    requested: Option<Scope>,
    claims: Map<String, Value>,
    session_ttl: Option<Duration>,
    without_refresh_token: bool,
}

impl Grants {
    /// The error that asks the client for the second step, if a login with a right password needs it.
    pub(super) async fn ask_for_second_step(
        &self,
        asker: Asker<'_>,
        user: &Identity,
        (account, requested): (String, Option<Scope>),
    ) -> Result<Option<TokenError>, TokenError> {
        let Some(factors) = &self.second_factor else { return Ok(None) };
        if let (Some(devices), Some(token)) = (&factors.devices, asker.request.form.get("device_token"))
            && let Some((_, device)) = find(devices, token, asker).await?
            && (&*device.subject, &device.security_stamp) == (user.subject(), &user.security_stamp)
        {
            return Ok(None);
        }
        if !answer_within(self.verifier_timeout, "the second factor failed", factors.factor.is_required(user)).await? {
            return Ok(None);
        }
        granted(user, asker.client, requested.clone())?;
        let (claims, session_ttl, without_refresh_token) = (&user.claims, user.session_ttl, user.without_refresh_token);
        let pending = Pending { account, requested, claims: claims.clone(), session_ttl, without_refresh_token };
        let mut session = session::begin(user, asker.client, user.scope(), asker.began)?;
        session.claims = members(serde_json::to_value(pending).unwrap_or_default());
        let (token, _) = factors.pending.begin(session, None, asker.began, &asker.request.budget).await?;
        Audit { subject: Some(user.subject()), ..asker.audit }.record(EventKind::MfaRequired);
        let error = TokenError::custom("mfa_required", "Multifactor authentication required");
        Ok(Some(error.with_status(StatusCode::FORBIDDEN).with_field("mfa_token", token.expose())))
    }

    pub(super) async fn second_step(
        &self,
        factors: &SecondFactors,
        (grant, parameter, code): Step,
        request: &Request,
    ) -> Result<TokenResponse, TokenError> {
        let (token, text) = (request.required("mfa_token")?, request.required(parameter)?);
        if text.expose().len() > LONGEST_CODE || !text.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::invalid_request("The code is too long, or a character in it is not allowed"));
        }
        let wish = request.form.get("trust_device").map_or("false", Secret::expose);
        if factors.devices.is_some() && !["true", "false"].contains(&wish) {
            return Err(TokenError::invalid_request("trust_device is neither true nor false"));
        }
        let client = self.policy.authenticate_for(grant, request).await?;
        let asker = self.asker(request, client.as_ref(), None);
        let narrower = requested_scope(request)?;
        let found = find(&factors.pending, token, asker).await?;
        let (token, session) = found.ok_or_else(|| invalid("it is unknown, expired, used or of another client"))?;
        let asker = Asker { audit: Audit { subject: Some(&session.subject), ..asker.audit }, ..asker };
        let pending: Pending = serde_json::from_value(Value::Object(session.claims.clone()))
            .map_err(|cause| TokenError::from_cause("a login that waits is unreadable", cause.into()))?;
        let requested = match pending.requested.clone() {
            Some(first) => Some(narrowed(first, narrower, "The scope exceeds what was asked for at first")?),
            None => narrower,
        };
        let mut user = self.verify_subject(&session.subject, invalid).await?;
        if user.security_stamp != session.security_stamp {
            return Err(invalid("the security stamp of the user has changed"));
        }
        user.scope = common(&session.scope, &user.scope);
        // A refusal after the code would have used it up, and lost the successor of a recovery code.
        granted(&user, asker.client, requested.clone())?;

        let accepted = self.check_code(asker, factors, user.subject(), code(text.clone())).await;
        let (amr, recovery_code) = asker.audit.unserved(accepted)?;
        // Of two right codes at once, one ends here.
        let Rotated::To(_) = factors.pending.rotate(&token, &request.budget).await? else {
            return Err(invalid("it was used meanwhile"));
        };
        if let Some(limits) = &self.policy.attempts {
            let address = self.policy.address(&request.parts);
            limits.whole_login(&request.budget, &pending.account, address).succeeded().await?;
        }

        let identity = completed(user, &session, pending, amr);
        let mut others = BTreeMap::from_iter(recovery_code.map(|code| ("recovery_code", code)));
        if let Some(devices) = factors.devices.as_ref().filter(|_| wish == "true") {
            let device = Session { claims: Map::new(), ..session.clone() };
            let (token, _) = devices.begin(device, None, asker.began, &request.budget).await?;
            others.insert("device_token", token);
        }
        // Last, so that no session begins that nobody gets.
        let response = self.begin_session(asker, &identity, requested).await?;
        Ok(TokenResponse { others, ..response })
    }

    async fn check_code(
        &self,
        asker: Asker<'_>,
        factors: &SecondFactors,
        subject: &str,
        code: FactorCode,
    ) -> Result<(&'static str, Option<Secret>), TokenError> {
        let limits = self.policy.attempts.as_ref().unwrap_or(&factors.attempts);
        let attempt = limits.reserve_code(&asker.request.budget, subject).await?;
        // An error drops the attempt, which then does not count.
        let answer = factors.factor.verify(subject, code);
        match answer_within(self.verifier_timeout, "the second factor failed", answer).await? {
            FactorVerdict::Accepted { amr, recovery_code } => attempt.succeeded().await.map(|()| (amr, recovery_code)),
            FactorVerdict::Denied => {
                asker.audit.record(EventKind::MfaDenied);
                attempt.failed().await?;
                Err(TokenError::invalid_grant("The code is wrong"))
            }
        }
    }
}

/// The session of a token, if the token is current and belongs to the client.
async fn find(
    tokens: &RefreshTokens,
    presented: &Secret,
    asker: Asker<'_>,
) -> Result<Option<(RefreshToken, Session)>, TokenError> {
    let Some(token) = RefreshToken::parse(presented.expose()) else { return Ok(None) };
    let found = tokens.find(&token, &asker.request.budget).await?.filter(|family| token.has(&family.current));
    let session = found.map(|family| family.session);
    let session = session.filter(|session| session.client_id.as_deref() == asker.client.map(Client::id));
    Ok(session.map(|session| (token, session)))
}

/// The user of both steps: what they may do is as new as the second.
fn completed(mut user: Identity, first: &Session, pending: Pending, amr: &str) -> Identity {
    let newer = mem::replace(&mut user.claims, pending.claims);
    user.claims.extend(newer);
    let password = if first.amr.is_empty() { &["pwd".to_owned()] } else { first.amr.as_slice() };
    user.amr = password.iter().cloned().chain([amr.to_owned(), "mfa".to_owned()]).collect();
    user.session_label.clone_from(&first.label);
    (user.session_ttl, user.without_refresh_token) = (pending.session_ttl, pending.without_refresh_token);
    user
}

fn invalid(reason: &'static str) -> TokenError {
    TokenError::invalid_grant("The mfa_token is not valid").because(reason)
}
