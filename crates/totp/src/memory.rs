//! A table in memory.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tower_oauth2_password::BoxError;

use crate::{recovery::RecoveryCodeHash, secret::TotpSecret, table::FactorTable};

/// Second factors in memory, for tests and examples: a restart forgets them, and a password is enough then. Clones share them.
///
/// ```
/// use tower_oauth2_password_totp::{FactorTable, MemoryFactors, TotpSecret};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let table = MemoryFactors::new();
/// table.enroll("alice", &TotpSecret::generate()?, 0, &[]).await?;
/// assert!(table.secret("alice").await?.is_some());
/// table.remove("alice");
/// assert!(table.secret("alice").await?.is_none());
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct MemoryFactors {
    rows: Arc<Mutex<HashMap<String, Row>>>,
}

#[derive(Debug)]
struct Row {
    secret: TotpSecret,
    last_step: u64,
    recovery_codes: HashSet<RecoveryCodeHash>,
}

impl MemoryFactors {
    /// A table without users.
    pub fn new() -> Self {
        Self::default()
    }

    /// The user has no second factor any more.
    pub fn remove(&self, subject: &str) {
        self.rows().remove(subject);
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<String, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FactorTable for MemoryFactors {
    async fn secret(&self, subject: &str) -> Result<Option<TotpSecret>, BoxError> {
        Ok(self.rows().get(subject).map(|row| row.secret.clone()))
    }

    async fn enroll(
        &self,
        subject: &str,
        secret: &TotpSecret,
        step: u64,
        recovery_codes: &[RecoveryCodeHash],
    ) -> Result<(), BoxError> {
        let recovery_codes = recovery_codes.iter().copied().collect();
        self.rows().insert(subject.to_owned(), Row { secret: secret.clone(), last_step: step, recovery_codes });
        Ok(())
    }

    async fn use_step(&self, subject: &str, step: u64) -> Result<bool, BoxError> {
        let mut rows = self.rows();
        let Some(row) = rows.get_mut(subject).filter(|row| step > row.last_step) else { return Ok(false) };
        row.last_step = step;
        Ok(true)
    }

    async fn use_recovery_code(
        &self,
        subject: &str,
        used: &RecoveryCodeHash,
        successor: Option<&RecoveryCodeHash>,
    ) -> Result<bool, BoxError> {
        let mut rows = self.rows();
        let Some(row) = rows.get_mut(subject) else { return Ok(false) };
        let had = row.recovery_codes.remove(used);
        row.recovery_codes.extend(successor.filter(|_| had));
        Ok(had)
    }
}
