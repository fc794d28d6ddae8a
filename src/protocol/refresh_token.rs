//! Refresh tokens: one family a login, one secret at a time (RFC 6749, section 6; RFC 9700, section 4.14.2).

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    error::StoreError,
    scope::Scope,
    secret::{Secret, sha256},
    store::{DynRefreshStore, Family, FamilyId, RefreshStore, Rotation, SecretHash, StoreBudget, Successor},
    verifier::Identity,
};

/// Hands out refresh tokens and takes them back. Off unless given to
/// [`TokenEndpointLayer::with_refresh_tokens`](crate::TokenEndpointLayer::with_refresh_tokens). Cheap to clone.
///
/// Each use of a token returns a new one and spends the old; a spent token that comes back ends the whole family.
#[derive(Clone)]
pub struct RefreshTokens {
    store: Arc<dyn DynRefreshStore>,
    absolute_ttl: Duration,
    idle_ttl: Option<Duration>,
    grace: Option<Duration>,
}

impl RefreshTokens {
    /// Keeps families in `store`; they live 24 hours, used or not.
    #[must_use]
    pub fn new(store: impl RefreshStore) -> Self {
        let day = Duration::from_secs(86_400);
        Self { store: Arc::new(store), absolute_ttl: day, idle_ttl: None, grace: None }
    }

    /// How long a login can be extended at most, however often it is refreshed. Also caps the idle lifetime.
    #[must_use]
    pub fn with_absolute_ttl(mut self, ttl: Duration) -> Self {
        self.absolute_ttl = ttl;
        self
    }

    /// How long a token lives unused.
    #[must_use]
    pub fn with_idle_ttl(mut self, ttl: Duration) -> Self {
        self.idle_ttl = Some(ttl);
        self
    }

    /// For clients that lose replies: within `grace`, and while its successor is unused, the token before the current
    /// one is answered with that same successor again. Off by default: it delays the discovery of a stolen token.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Ends all sessions of a subject: the password changed, the account was closed. Returns how many there were.
    ///
    /// # Errors
    /// When the store failed; then it is not known whether they ended.
    pub async fn revoke_subject(&self, subject: &str) -> Result<u64, StoreError> {
        self.store.revoke_subject(subject).await
    }

    pub(crate) async fn begin(
        &self,
        identity: &Identity,
        client_id: Option<&str>,
        scope: &Scope,
        budget: &StoreBudget,
    ) -> Result<Secret, StoreError> {
        let token = RefreshToken { id: FamilyId(random()?), secret: Zeroizing::new(random()?) };
        let idle_ttl = self.idle_ttl.map_or(self.absolute_ttl, |ttl| ttl.min(self.absolute_ttl));
        let mut family = Family::new(token.hash(), identity.subject(), self.absolute_ttl, idle_ttl);
        family.client_id = client_id.map(str::to_owned);
        family.scope = scope.clone();
        family.security_stamp = identity.security_stamp().map(str::to_owned);
        budget.spend(|deadline| self.store.insert(token.id, family, deadline)).await?;
        Ok(token.encode())
    }

    pub(crate) async fn find(&self, token: &RefreshToken, budget: &StoreBudget) -> Result<Option<Family>, StoreError> {
        budget.spend(|deadline| self.store.find(token.id, deadline)).await
    }

    pub(crate) async fn revoke(&self, token: &RefreshToken, budget: &StoreBudget) -> Result<(), StoreError> {
        budget.spend(|deadline| self.store.revoke(token.id, deadline)).await
    }

    /// The successor that was already handed out for `token`, where the grace period allows to repeat it.
    pub(crate) fn repeat(&self, token: &RefreshToken, family: &Family) -> Option<Secret> {
        let previous = family.previous.as_ref()?;
        let fresh = self.grace.is_some_and(|grace| previous.age <= grace);
        if !fresh || !same(&previous.secret, &token.hash()) {
            return None;
        }
        let sealed: [u8; 32] = previous.sealed_successor.as_slice().try_into().ok()?;
        let successor = RefreshToken { id: token.id, secret: Zeroizing::new(token.seal(&sealed)) };
        same(&successor.hash(), &family.current).then(|| successor.encode())
    }

    /// Spends `token`, if it is still current.
    pub(crate) async fn rotate(&self, token: &RefreshToken, budget: &StoreBudget) -> Result<Turn, StoreError> {
        let next = RefreshToken { id: token.id, secret: Zeroizing::new(random()?) };
        let mut successor = Successor::new(next.hash());
        if self.grace.is_some() {
            successor = successor.with_sealed(token.seal(&next.secret).to_vec());
        }
        let rotated = budget.spend(|deadline| self.store.rotate(token.id, token.hash(), successor, deadline)).await?;
        match rotated {
            Rotation::Rotated => Ok(Turn::Taken(next.encode())),
            Rotation::Mismatch => {
                // A use at the same moment was first: the grace period is for that, too.
                if self.grace.is_none() {
                    return Ok(Turn::Spent);
                }
                let Some(family) = self.find(token, budget).await? else { return Ok(Turn::Gone) };
                Ok(self.repeat(token, &family).map_or(Turn::Spent, Turn::Taken))
            }
            Rotation::Gone => Ok(Turn::Gone),
        }
    }
}

/// What became of a token that was to be used.
pub(crate) enum Turn {
    /// It was, now or within the grace period, and this is its successor.
    Taken(Secret),
    /// Another use was first.
    Spent,
    /// The line has ended meanwhile.
    Gone,
}

impl fmt::Debug for RefreshTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshTokens")
            .field("absolute_ttl", &self.absolute_ttl)
            .field("idle_ttl", &self.idle_ttl)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

/// A refresh token as the client holds it: 64 characters, of which nothing can be read.
pub(crate) struct RefreshToken {
    id: FamilyId,
    secret: Zeroizing<[u8; 32]>,
}

impl RefreshToken {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; 48]);
        if text.len() != 64 || URL_SAFE_NO_PAD.decode_slice(text, bytes.as_mut_slice()).ok()? != 48 {
            return None;
        }
        let (id, secret) = bytes.split_first_chunk::<16>()?;
        Some(Self { id: FamilyId(*id), secret: Zeroizing::new(secret.try_into().ok()?) })
    }

    fn encode(&self) -> Secret {
        let bytes = Zeroizing::new([self.id.0.as_slice(), self.secret.as_slice()].concat());
        Secret::new(URL_SAFE_NO_PAD.encode(&*bytes))
    }

    fn hash(&self) -> SecretHash {
        SecretHash(sha256(self.secret.as_slice()))
    }

    pub(crate) fn is_current(&self, family: &Family) -> bool {
        same(&self.hash(), &family.current)
    }

    /// Seals or opens a successor: each secret is used as a pad for one other secret only.
    fn seal(&self, other: &[u8; 32]) -> [u8; 32] {
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(self.secret.as_slice()) else { return [0; 32] };
        let pad: Zeroizing<[u8; 32]> =
            Zeroizing::new(mac.chain_update("refresh token successor").finalize().into_bytes().into());
        let mut sealed = *other;
        sealed.iter_mut().zip(pad.iter()).for_each(|(byte, pad)| *byte ^= pad);
        sealed
    }
}

fn same(one: &SecretHash, other: &SecretHash) -> bool {
    one.0.ct_eq(&other.0).into()
}

fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(StoreError::new)?;
    Ok(bytes)
}
