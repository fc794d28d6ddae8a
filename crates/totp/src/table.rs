//! What the app keeps for each user.

use std::future::Future;

use tower_oauth2_password::BoxError;

use crate::{recovery::RecoveryCodeHash, secret::TotpSecret};

/// Where the app keeps the second factor of its users. [`MemoryFactors`](crate::MemoryFactors) is one for tests. The
/// [manual](https://docs.rs/tower-oauth2-password/latest/tower_oauth2_password/manual/second_factor/index.html) has the SQL.
///
/// 1. `enroll` replaces the secret, the last step and all recovery codes in one step. A user has a second factor from then on,
///    and none after you have deleted the row.
/// 2. `use_step` and `use_recovery_code` decide and write in one atomic step (one `UPDATE` or `DELETE`): of two calls with the
///    same code, one at most returns true.
/// 3. Each subject is on its own.
/// 4. When the table is away, return the error: the client gets a 503. Nobody gets past the second factor, and no code counts
///    as wrong.
///
/// Run `testkit::factor_table` (feature `testkit`) on your own.
///
/// ```
/// use tower_oauth2_password::BoxError;
/// use tower_oauth2_password_totp::{FactorTable, RecoveryCodes, TotpSecret};
///
/// async fn use_it(table: impl FactorTable) -> Result<(), BoxError> {
///     let (secret, codes) = (TotpSecret::generate()?, RecoveryCodes::generate(1)?.hashes());
///     table.enroll("alice", &secret, 100, &codes).await?;
///     assert!(table.secret("alice").await?.is_some() && table.secret("bob").await?.is_none());
///     assert!(!table.use_step("alice", 100).await?, "it ended the enrolment");
///     assert!(table.use_step("alice", 101).await?);
///     assert!(table.use_recovery_code("alice", &codes[0], None).await?);
///     assert!(!table.use_recovery_code("alice", &codes[0], None).await?, "it was used");
///     Ok(())
/// }
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(use_it(tower_oauth2_password_totp::MemoryFactors::new()))?;
/// # Ok::<(), BoxError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no table of second factors",
    label = "expected a `FactorTable`, such as `MemoryFactors` or one over your database"
)]
pub trait FactorTable: Send + Sync + 'static {
    /// The secret of a user, if they have a second factor.
    ///
    /// # Errors
    /// If the table cannot be read.
    fn secret(&self, subject: &str) -> impl Future<Output = Result<Option<TotpSecret>, BoxError>> + Send;

    /// The user has shown a code of this secret. `step` is its step (the number of 30 seconds since 1970), which is used up, and
    /// `recovery_codes` are the only ones from now on.
    ///
    /// # Errors
    /// If the table cannot be written.
    fn enroll(
        &self,
        subject: &str,
        secret: &TotpSecret,
        step: u64,
        recovery_codes: &[RecoveryCodeHash],
    ) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Makes `step` the last step if it is later than that, and returns whether it is.
    ///
    /// # Errors
    /// If the table cannot be written.
    fn use_step(&self, subject: &str, step: u64) -> impl Future<Output = Result<bool, BoxError>> + Send;

    /// Replaces a recovery code by its successor, or deletes it if there is none, and returns whether the user had it.
    ///
    /// # Errors
    /// If the table cannot be written.
    fn use_recovery_code(
        &self,
        subject: &str,
        used: &RecoveryCodeHash,
        successor: Option<&RecoveryCodeHash>,
    ) -> impl Future<Output = Result<bool, BoxError>> + Send;
}
