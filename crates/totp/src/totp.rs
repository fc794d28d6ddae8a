//! The second factor over a table of the app.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tower_oauth2_password::{BoxError, FactorCode, FactorVerdict, Identity, SecondFactor, TokenError};

use crate::recovery::{RecoveryCodeHash, RecoveryCodes};
use crate::{secret::TotpSecret, table::FactorTable};

/// How many recovery codes a user gets.
const RECOVERY_CODES: usize = 10;

/// How a user proved it (RFC 8176, section 2). A recovery code is a one-time password, too: the text names RFC 4226 and 6238 as
/// examples. `kba` is about facts of a life, and the registry has no value of its own for codes on paper.
const AMR: &str = "otp";

type Clock = dyn Fn() -> u64 + Send + Sync;

/// Authenticator apps (TOTP, RFC 6238) and recovery codes as a
/// [`SecondFactor`](tower_oauth2_password::SecondFactor). Cheap to clone.
///
/// 1. SHA-1, six digits, 30 seconds: what all authenticator apps can do. Some ignore other settings without a word.
/// 2. The code of the step before and of the one after is right, too: clocks differ (RFC 6238, section 5.2).
/// 3. A code is good once. Once a code was used, those of older steps are wrong, too.
/// 4. A recovery code is good once. `amr` is `otp` for both kinds.
/// 5. What cannot be a code (letters, other digits, a wrong length) is a 400 `invalid_request` that spends nothing and does not
///    count.
/// 6. When the table is away, nobody gets in, and nothing counts.
///
/// ```
/// use tower_oauth2_password::{AuthorizationServer, BoxError, Jwt, Key, Login, SecondFactors, Verdict, store::MemoryRefreshStore};
/// use tower_oauth2_password_totp::{MemoryFactors, Totp, TotpSecret};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let totp = Totp::new(MemoryFactors::new()); // or your own `FactorTable`
/// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
/// let auth = AuthorizationServer::new(|_: Login| async { Ok(Verdict::Denied) }, jwt)
///     .with_second_factor(SecondFactors::new(totp.clone(), MemoryRefreshStore::new()));
///
/// // Your own routes enrol users: show the URL as a QR code, and keep the secret until the first code of the app.
/// let secret = TotpSecret::generate()?;
/// let url = secret.url("Tea & Co", "alice")?;
/// assert!(url.expose().starts_with("otpauth://totp/Tea%20%26%20Co:alice?secret="));
/// let recovery_codes = totp.enroll("alice", &secret, "123456").await?;
/// assert!(recovery_codes.is_none(), "a wrong code");
/// # drop(auth);
/// # Ok::<(), BoxError>(())
/// # })?;
/// # Ok::<(), BoxError>(())
/// ```
#[must_use]
pub struct Totp<T> {
    table: Arc<T>,
    new_recovery_codes: bool,
    clock: Arc<Clock>,
}

impl<T: FactorTable> Totp<T> {
    /// Asks the users that `table` has a secret of.
    pub fn new(table: T) -> Self {
        // A clock before 1970 is wrong anyway, and no code is right.
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Self { table: Arc::new(table), new_recovery_codes: false, clock: Arc::new(now) }
    }

    /// A login by recovery code returns a new one as `recovery_code`, which replaces it: for clients that show it to the user.
    /// Without this a user has one fewer after each.
    pub fn with_new_recovery_codes(self) -> Self {
        Self { new_recovery_codes: true, ..self }
    }

    /// Reads the time, in seconds since 1970, from this function. For tests.
    pub fn with_clock(self, clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    /// Makes `secret` the second factor of a user whose app shows `code`, and returns ten recovery codes: show them once. They
    /// replace those from before. Nothing is changed and `None` is returned if the code is wrong.
    ///
    /// Whoever may call this for a user can take the account over. So ask users who have a second factor for it again.
    ///
    /// # Errors
    /// If the table fails. 400 `invalid_request` ([`TokenError`]) if that cannot be a code, or the user has this secret already.
    pub async fn enroll(
        &self,
        subject: &str,
        secret: &TotpSecret,
        code: &str,
    ) -> Result<Option<RecoveryCodes>, BoxError> {
        let Some(step) = self.step_of(secret, code)? else { return Ok(None) };
        // Or its last step could go back, and a code be good twice.
        if self.table.secret(subject).await?.is_some_and(|old| old.0 == secret.0) {
            return Err(TokenError::invalid_request("The secret is in use already").into());
        }
        let codes = RecoveryCodes::generate(RECOVERY_CODES)?;
        self.table.enroll(subject, secret, step, &codes.hashes()).await?;
        Ok(Some(codes))
    }

    fn step_of(&self, secret: &TotpSecret, code: &str) -> Result<Option<u64>, TokenError> {
        check_digits(code)?;
        Ok(secret.step_of(code, (self.clock)()))
    }

    async fn verify_otp(&self, subject: &str, otp: &str) -> Result<FactorVerdict, BoxError> {
        // Before the table is asked.
        check_digits(otp)?;
        let Some(secret) = self.table.secret(subject).await? else { return Ok(FactorVerdict::Denied) };
        let Some(step) = self.step_of(&secret, otp)? else { return Ok(FactorVerdict::Denied) };
        let used = self.table.use_step(subject, step).await?;
        Ok(if used { FactorVerdict::Accepted { amr: AMR, recovery_code: None } } else { FactorVerdict::Denied })
    }

    async fn verify_recovery_code(&self, subject: &str, code: &str) -> Result<FactorVerdict, BoxError> {
        let hint = "A recovery code has 24 characters: letters, and digits from 2 to 7";
        let hash = RecoveryCodeHash::of(code).ok_or_else(|| TokenError::invalid_request(hint))?;
        let successor = RecoveryCodes::generate(usize::from(self.new_recovery_codes))?;
        let used = self.table.use_recovery_code(subject, &hash, successor.hashes().first()).await?;
        let accepted = FactorVerdict::Accepted { amr: AMR, recovery_code: successor.into_first() };
        Ok(if used { accepted } else { FactorVerdict::Denied })
    }
}

fn check_digits(code: &str) -> Result<(), TokenError> {
    let is_code = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
    if is_code { Ok(()) } else { Err(TokenError::invalid_request("A one-time password has six digits")) }
}

impl<T: FactorTable> SecondFactor for Totp<T> {
    async fn is_required(&self, user: &Identity) -> Result<bool, BoxError> {
        Ok(self.table.secret(user.subject()).await?.is_some())
    }

    async fn verify(&self, subject: &str, code: FactorCode) -> Result<FactorVerdict, BoxError> {
        match code {
            FactorCode::Otp(otp) => self.verify_otp(subject, otp.expose()).await,
            FactorCode::Recovery(code) => self.verify_recovery_code(subject, code.expose()).await,
            _ => Err(TokenError::invalid_request("This kind of code is not known").into()),
        }
    }
}

// By hand: a derived one would ask for `T: Clone`.
impl<T> Clone for Totp<T> {
    fn clone(&self) -> Self {
        let (table, clock) = (Arc::clone(&self.table), Arc::clone(&self.clock));
        Self { table, new_recovery_codes: self.new_recovery_codes, clock }
    }
}

impl<T> fmt::Debug for Totp<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Totp").field("new_recovery_codes", &self.new_recovery_codes).finish_non_exhaustive()
    }
}
