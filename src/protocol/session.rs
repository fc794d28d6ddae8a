//! Sessions: what a login begins, and how the access tokens of a session or of a subject end.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{client::Client, refresh_token::RefreshTokens};
use crate::error::TokenError;
use crate::store::{Denial, Denied, DenyList, Family, FamilyId, Session, StoreBudget, TokenRef};
use crate::token::{AccessToken, LONGEST_LEEWAY};
use crate::{scope::Scope, secret::random, sync::sleep, verifier::Identity};

/// A token that never expires is denied for this long, which any store can add to the time of its clock.
const LONGEST_DENIAL: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The session of a login that was verified at `began`. Its id is this time in milliseconds and 80 random bits.
pub(crate) fn begin(
    identity: &Identity,
    client: Option<&Client>,
    scope: &Scope,
    began: Instant,
) -> Result<Session, TokenError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(began.elapsed());
    let [_, _, milliseconds @ ..] = (now.as_millis() as u64).to_be_bytes();
    let random: [u8; 10] = random().map_err(TokenError::no_random)?;
    Ok(Session {
        id: URL_SAFE_NO_PAD.encode([milliseconds.as_slice(), &random].concat()),
        server: String::new(),
        subject: identity.subject().to_owned(),
        client_id: client.map(|client| client.id().to_owned()),
        scope: scope.clone(),
        security_stamp: identity.security_stamp.clone(),
        label: identity.session_label.clone(),
        auth_time: now.as_secs(),
        amr: identity.amr.clone(),
        claims: identity.claims.clone(),
    })
}

/// Waits until a session that begins is later than all before, as it knows its begin in whole milliseconds.
pub(crate) async fn next_millisecond() {
    // Without a timer, a login of the same millisecond may be refused.
    let _ = sleep(Duration::from_millis(1)).await;
}

fn began(session_id: &str) -> Option<SystemTime> {
    let mut bytes = [0; 16];
    URL_SAFE_NO_PAD.decode_slice(session_id, &mut bytes).ok().filter(|length| *length == bytes.len())?;
    let [a, b, c, d, e, f, ..] = bytes;
    UNIX_EPOCH.checked_add(Duration::from_millis(u64::from_be_bytes([0, 0, a, b, c, d, e, f])))
}

/// Ends a session: first its access tokens, since a second try would not find them once the family is gone (RFC 7009, section
/// 2.1).
pub(crate) async fn end(
    tokens: &RefreshTokens,
    denials: Option<&Denials>,
    (id, family): (FamilyId, &Family),
    budget: &StoreBudget,
) -> Result<(), TokenError> {
    if let Some(denials) = denials {
        denials.deny_session(family, budget).await?;
    }
    tokens.revoke(id, budget).await
}

/// Whether a token was revoked. A guard of the server that issues the tokens knows the issuer, whatever the tokens say.
pub(crate) fn is_denied(list: &dyn DenyList, issuer: Option<&str>, token: &AccessToken) -> bool {
    let (id, issuer, subject) = (token.id(), issuer.or(token.issuer()), token.subject());
    let (session_id, issued_at) = (token.session_id(), token.issued_at());
    // Session ids of others hold no time, but may look so.
    let plausible = |began: &SystemTime| issued_at.is_some_and(|at| *began < at + Duration::from_secs(2));
    let session_began = session_id.and_then(began).filter(plausible);
    list.is_denied(TokenRef { id, session_id, session_began, issuer, subject, issued_at })
}

/// What ends access tokens before they expire.
#[derive(Clone)]
pub(crate) struct Denials {
    pub(crate) list: Arc<dyn DenyList>,
    /// Empty if it is not known.
    pub(crate) issuer: Arc<str>,
    /// The longest lifetime of an access token.
    pub(crate) longest_ttl: Duration,
}

impl Denials {
    pub(crate) fn is_denied(&self, token: &AccessToken) -> bool {
        is_denied(&*self.list, Some(&self.issuer), token)
    }

    pub(crate) async fn deny_token(&self, token: &AccessToken, budget: &StoreBudget) -> Result<(), TokenError> {
        let id = token.id().ok_or_else(|| TokenError::unsupported_token_type().because("the token has no id"))?;
        let now = SystemTime::now();
        let left = |end: SystemTime| end.duration_since(now).unwrap_or_default();
        let left = token.expires_at().map_or(LONGEST_DENIAL, left);
        // An entry of its session or subject lasts as long.
        if left <= self.longest_ttl && self.is_denied(token) {
            return Ok(());
        }
        // All that were issued up to the same second.
        let up_to = token.issued_at().map_or(now, |at| now.min(at + Duration::from_millis(999)));
        self.deny(self.denial(Denied::Token(id), token.subject(), left), up_to, budget).await
    }

    pub(crate) async fn deny_session(&self, family: &Family, budget: &StoreBudget) -> Result<(), TokenError> {
        let denied = Denied::Session(&family.session.id);
        self.deny(self.denial(denied, &family.session.subject, self.longest_ttl), SystemTime::now(), budget).await
    }

    /// Denies the subject up to a moment where its share of tokens and sessions is used up.
    async fn deny(&self, mut denial: Denial<'_>, up_to: SystemTime, budget: &StoreBudget) -> Result<(), TokenError> {
        if !budget.spend(|deadline| self.list.deny(denial, deadline)).await? {
            denial.denied = Denied::SubjectBefore(up_to);
            denial.ttl = denial.ttl.max(self.denial(denial.denied, denial.subject, self.longest_ttl).ttl);
            if !budget.spend(|deadline| self.list.deny(denial, deadline)).await? {
                return Err(TokenError::from_cause("a store failed", "the deny list refused to deny a subject".into()));
            }
            next_millisecond().await;
        }
        Ok(())
    }

    /// Whether all access tokens of a subject were ended since this moment.
    pub(crate) fn has_ended_since(&self, subject: &str, began: Instant) -> bool {
        let began = SystemTime::now().checked_sub(began.elapsed());
        let (issuer, session_began, issued_at) = (Some(&*self.issuer), began, began);
        self.list.is_denied(TokenRef { issuer, session_began, issued_at, ..TokenRef::new(subject) })
    }

    /// Ends all access tokens of a subject that were issued before now.
    pub(crate) async fn deny_subject(&self, subject: &str, budget: &StoreBudget) -> Result<(), TokenError> {
        let denial = self.denial(Denied::SubjectBefore(SystemTime::now()), subject, self.longest_ttl);
        budget.spend(|deadline| self.list.deny(denial, deadline)).await.map(drop)
    }

    fn denial<'a>(&'a self, denied: Denied<'a>, subject: &'a str, ttl: Duration) -> Denial<'a> {
        Denial::new(denied, Some(&self.issuer), subject, ttl.min(LONGEST_DENIAL) + LONGEST_LEEWAY)
    }
}
