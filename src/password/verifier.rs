//! The verifier for a table of users.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::pool::HashingPool;
use super::schemes::{HashCheck, HashSchemes};
use super::users::{StoredUser, Users};
use crate::verifier::{Login, Verdict, Verifier};
use crate::{error::BoxError, observe, sync::timeout_at};

/// A table that takes longer must not fail a correct login.
const LONGEST_UPDATE: Duration = Duration::from_secs(2);

/// Checks passwords against the Argon2 hashes in a [`Users`] table.
///
/// 1. Every attempt computes exactly one hash, whether the user exists, is disabled, has no password, or has a malformed
///    hash.
/// 2. An empty password, one with a control character, and one of more than 4,096 bytes is never correct.
/// 3. After a correct password, a hash with weaker parameters or of [another scheme](Self::with_old_hashes) is replaced.
/// 4. A hash that cannot be read is a wrong password to the client. The log names the user and the reason.
///
/// ```
/// use tower_oauth2_password::{Login, MemoryUsers, PasswordVerifier, Verdict, Verifier};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let users = MemoryUsers::from_phc([(
///     "alice",
///     "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$4XHlkW01o5HKkdwRDbV9q8aKWen4PIr0is91zg2e36k",
///     "items:read",
/// )])?;
/// let verifier = PasswordVerifier::new(users);
/// assert!(matches!(verifier.verify(Login::new("alice", "wonderland123")).await?, Verdict::Granted(_)));
/// assert!(matches!(verifier.verify(Login::new("alice", "guess")).await?, Verdict::Denied));
/// assert!(matches!(verifier.verify(Login::new("mallory", "guess")).await?, Verdict::Denied));
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct PasswordVerifier<U> {
    users: U,
    pool: HashingPool,
    old_hashes: Option<Arc<dyn HashSchemes>>,
}

impl<U: Users> PasswordVerifier<U> {
    /// Hashes on the [pool of the process](HashingPool::process_wide).
    pub fn new(users: U) -> Self {
        Self { users, pool: HashingPool::process_wide(), old_hashes: None }
    }

    /// Hashes on your own pool.
    pub fn with_pool(self, pool: HashingPool) -> Self {
        Self { pool, ..self }
    }

    /// Also checks hashes that another framework wrote. The next login with the right password replaces them by Argon2. The
    /// package `tower-oauth2-password-legacy-hashes` reads those of bcrypt, Django, passlib, Werkzeug, Spring, ASP.NET and
    /// WordPress.
    pub fn with_old_hashes(self, schemes: impl HashSchemes) -> Self {
        Self { old_hashes: Some(Arc::new(schemes)), ..self }
    }

    async fn rehash(&self, user: &StoredUser, login: &Login) {
        // If it fails, the next login tries again.
        let Ok(new) = self.pool.hash_for(login.password.clone(), login.client_address).await else { return };
        let updated = timeout_at(Instant::now() + LONGEST_UPDATE, self.users.update_password_hash(user, &new)).await;
        if let Err(cause) = updated.map_err(BoxError::from).flatten() {
            observe::failed("a new password hash was not stored", &*cause);
        }
    }
}

impl<U: Users> Verifier for PasswordVerifier<U> {
    async fn verify(&self, login: Login) -> Result<Verdict, BoxError> {
        let user = self.users.find(&login.username).await?.and_then(StoredUser::enabled);
        let (subject, row) = user.as_ref().map_or(("", None), |user| (user.identity().subject(), user.password_hash()));
        let read = |row: Option<&str>| self.old_hashes.as_ref()?.read(&login.username, row);
        let check = |params| HashCheck::of(read, subject, row, params);
        let correct = self.pool.check(check, login.password.clone(), login.client_address).await?;
        let (Some(is_outdated), Some(user)) = (correct, user) else { return Ok(Verdict::Denied) };
        if is_outdated {
            self.rehash(&user, &login).await;
        }
        Ok(user.identity().clone().into())
    }

    async fn verify_subject(&self, subject: &str) -> Result<Verdict, BoxError> {
        let user = self.users.find_subject(subject).await?.and_then(StoredUser::enabled);
        Ok(user.map_or(Verdict::Denied, |user| user.identity().clone().into()))
    }
}

#[cfg(test)]
#[path = "verifier_tests.rs"]
mod tests;
