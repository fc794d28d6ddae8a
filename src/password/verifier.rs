//! The verifier over a table of users.

use super::{
    argon::StoredHash,
    pool::HashingPool,
    users::{User, Users},
};
use crate::verifier::{Login, Verdict, Verifier, VerifyError};

/// Checks passwords against the Argon2 hashes of a [`Users`] table.
///
/// Every attempt spends exactly one hash on the pool, whether the user exists, is disabled, has no password, or has a
/// hash that cannot be read. After a right password a hash with outdated parameters is replaced.
#[derive(Clone, Debug)]
pub struct PasswordVerifier<U> {
    users: U,
    pool: HashingPool,
}

impl<U: Users> PasswordVerifier<U> {
    /// Hashes on the process-wide pool.
    #[must_use]
    pub fn new(users: U) -> Self {
        Self { users, pool: HashingPool::process_wide() }
    }

    /// Hashes on a pool of one's own.
    #[must_use]
    pub fn with_pool(mut self, pool: HashingPool) -> Self {
        self.pool = pool;
        self
    }

    async fn rehash(&self, user: &User, login: &Login) {
        // A hash that cannot be renewed now is renewed at the next login.
        if let Ok(new) = self.pool.hash(login.password.clone()).await
            && let Err(error) = self.users.update_password_hash(user, &new).await
        {
            crate::observe::verifier_failed(&VerifyError::Unavailable(error));
        }
    }
}

impl<U: Users> Verifier for PasswordVerifier<U> {
    async fn verify(&self, login: Login) -> Result<Verdict, VerifyError> {
        let user = self.users.find(&login.username).await.map_err(VerifyError::Unavailable)?;
        let user = user.and_then(User::usable);
        // Some key derivations read a NUL as the end of the password.
        let clean = !login.password.is_empty() && !login.password.expose().contains('\0');
        let stored = user.as_ref().filter(|_| clean).and_then(|user| StoredHash::parse(user.password_hash()?));
        let right = self.pool.verify(stored, login.password.clone(), login.client_address).await?;
        match (right, user) {
            (Some(outdated), Some(user)) => {
                if outdated {
                    self.rehash(&user, &login).await;
                }
                Ok(user.identity().clone().into())
            }
            _ => Ok(Verdict::Denied),
        }
    }

    async fn verify_subject(&self, subject: &str) -> Result<Verdict, VerifyError> {
        let user = self.users.find_subject(subject).await.map_err(VerifyError::Unavailable)?;
        Ok(user.and_then(User::usable).map_or(Verdict::Denied, |user| user.identity().clone().into()))
    }
}

#[cfg(test)]
#[path = "verifier_tests.rs"]
mod tests;
