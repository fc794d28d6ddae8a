//! The second factor: what the app decides, and what a login waits for.

use std::{iter, sync::Arc, time::Duration};

use http::request::Parts;

use crate::attempts::AttemptLimits;
use crate::error::{BoxError, BoxFuture, TokenError};
use crate::protocol::refresh_token::RefreshTokens;
use crate::secret::{Secret, debug_only};
use crate::store::{MemoryAttemptStore, RefreshStore};
use crate::verifier::Identity;

/// How long a user may take for the second step.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// How many logins of one subject may wait for their second step.
const MOST_PENDING: usize = 10;

/// What the client sends for the second step. It holds only printable ASCII without spaces, at most 128
/// characters.
///
/// ```
/// use tower_oauth2_password::FactorCode;
///
/// let code = FactorCode::Otp("123456".into());
/// assert!(!format!("{code:?}").contains("123456"));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FactorCode {
    /// A one-time password: of an authenticator app, or sent to the user.
    Otp(Secret),
    /// A code that the user kept for the day that the factor is lost.
    Recovery(Secret),
}

/// The answer of a [`SecondFactor`].
///
/// ```
/// use tower_oauth2_password::FactorVerdict;
///
/// let verdict = FactorVerdict::Accepted { amr: "otp", recovery_code: None };
/// assert!(!matches!(verdict, FactorVerdict::Denied));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FactorVerdict {
    /// The code is right.
    Accepted {
        /// How the user proved it (RFC 8176), such as `otp`, `sms` or `hwk`.
        amr: &'static str,
        /// The successor of a recovery code, which the client gets as `recovery_code`.
        recovery_code: Option<Secret>,
    },
    /// The code is wrong, or was used before.
    Denied,
}

/// The second factor of users: an authenticator app, a text message, a push notification. The package
/// `tower-oauth2-password-totp` has authenticator apps and recovery codes.
///
/// 1. It is asked only after a right password. Answers that take longer than the
///    [verifier may](crate::AuthorizationServer::with_verifier_timeout) are a 503.
/// 2. [`is_required`](Self::is_required) decides whether this login needs a second step. A factor that sends a code sends it
///    here. It is asked after every right password, without a limit, so limit how often you send.
/// 3. [`verify`](Self::verify) checks a code, and uses it up in one atomic step: of two requests with the same code, one at
///    most is accepted.
/// 4. Wrong codes are counted by the crate: five in five minutes.
///
/// ```
/// use tower_oauth2_password::{BoxError, FactorCode, FactorVerdict, Identity, SecondFactor};
///
/// struct TextMessage;
///
/// impl SecondFactor for TextMessage {
///     async fn is_required(&self, user: &Identity) -> Result<bool, BoxError> {
///         Ok(user.subject() == "alice") // look up the number, send a random code, and keep its hash
///     }
///
///     async fn verify(&self, _subject: &str, code: FactorCode) -> Result<FactorVerdict, BoxError> {
///         Ok(match code {
///             FactorCode::Otp(otp) if otp.expose() == "123456" => FactorVerdict::Accepted { amr: "sms", recovery_code: None },
///             _ => FactorVerdict::Denied,
///         })
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// assert!(TextMessage.is_required(&Identity::new("alice")).await?);
/// assert!(matches!(TextMessage.verify("alice", FactorCode::Otp("000000".into())).await?, FactorVerdict::Denied));
/// # Ok::<(), BoxError>(())
/// # })?;
/// # Ok::<(), BoxError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `SecondFactor`",
    label = "expected `Totp` of the package `tower-oauth2-password-totp`, or your own"
)]
pub trait SecondFactor: Send + Sync + 'static {
    /// Whether the login of this user, whose password was right, needs a second step.
    ///
    /// # Errors
    /// When what it needs is away: the client gets a 503, and the cause is logged. A [`TokenError`] is sent as it is.
    fn is_required(&self, user: &Identity) -> impl Future<Output = Result<bool, BoxError>> + Send;

    /// Checks a code of this subject, and uses it up.
    ///
    /// # Errors
    /// As for [`is_required`](Self::is_required). The attempt does not count then. For a code that cannot be one (letters, a
    /// wrong length) return [`TokenError::invalid_request`].
    fn verify(&self, subject: &str, code: FactorCode) -> impl Future<Output = Result<FactorVerdict, BoxError>> + Send;
}

/// `SecondFactor` with its futures boxed.
pub(crate) trait DynSecondFactor: Send + Sync {
    fn is_required<'a>(&'a self, user: &'a Identity) -> BoxFuture<'a, Result<bool, BoxError>>;
    fn verify<'a>(&'a self, subject: &'a str, code: FactorCode) -> BoxFuture<'a, Result<FactorVerdict, BoxError>>;
}

impl<F: SecondFactor> DynSecondFactor for F {
    fn is_required<'a>(&'a self, user: &'a Identity) -> BoxFuture<'a, Result<bool, BoxError>> {
        Box::pin(SecondFactor::is_required(self, user))
    }

    fn verify<'a>(&'a self, subject: &'a str, code: FactorCode) -> BoxFuture<'a, Result<FactorVerdict, BoxError>> {
        Box::pin(SecondFactor::verify(self, subject, code))
    }
}

/// A second factor, and where logins wait for it: for
/// [`with_second_factor`](crate::AuthorizationServer::with_second_factor).
///
/// ```
/// use std::time::Duration;
/// use tower_oauth2_password::{
///     AuthorizationServer, BoxError, FactorCode, FactorVerdict, Identity, Jwt, Key, Login, SecondFactor, SecondFactors, Verdict,
///     store::MemoryRefreshStore,
/// };
///
/// struct Nobody;
///
/// impl SecondFactor for Nobody {
///     async fn is_required(&self, _user: &Identity) -> Result<bool, BoxError> {
///         Ok(false)
///     }
///
///     async fn verify(&self, _subject: &str, _code: FactorCode) -> Result<FactorVerdict, BoxError> {
///         Ok(FactorVerdict::Denied)
///     }
/// }
///
/// let factors = SecondFactors::new(Nobody, MemoryRefreshStore::new()); // or a shared store
/// let month = Duration::from_secs(30 * 86_400);
/// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
/// let auth = AuthorizationServer::new(|_: Login| async { Ok(Verdict::Denied) }, jwt)
///     .with_second_factor(factors.with_trusted_devices(MemoryRefreshStore::new(), month));
/// let grants = auth.metadata()?.to_json()["grant_types_supported"].to_string();
/// assert!(grants.contains("http://auth0.com/oauth/grant-type/mfa-otp"));
/// # Ok::<(), BoxError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct SecondFactors {
    pub(crate) factor: Arc<dyn DynSecondFactor>,
    /// For a server without limits.
    pub(crate) attempts: AttemptLimits,
    /// Logins that wait for their second step. What the client holds of one is its `mfa_token`.
    pub(crate) pending: RefreshTokens,
    /// Devices that need no second step for a while.
    pub(crate) devices: Option<RefreshTokens>,
}

debug_only!(SecondFactors { pending, devices });

impl SecondFactors {
    /// Keeps logins that wait for their second step in `store`: for five minutes, and at most ten for each subject. One more ends
    /// the oldest. A memory store should hold nothing else: when it is full, it drops first what would expire first. Redis and SQL
    /// stores may be those of the refresh tokens. Wrong codes count in the store of the
    /// [attempt limits](crate::AuthorizationServer::with_attempt_limits), without them in memory.
    pub fn new(factor: impl SecondFactor, store: impl RefreshStore) -> Self {
        let pending = RefreshTokens::new(store).with_absolute_ttl(LONGEST_WAIT).with_sessions_per_subject(MOST_PENDING);
        let attempts = AttemptLimits::new(MemoryAttemptStore::new(), |_: &Parts| None);
        Self { factor: Arc::new(factor), attempts, pending, devices: None }
    }

    /// Lets clients ask for a device to be trusted: if the second step has `trust_device=true`, its response has a `device_token`,
    /// and a password with this `device_token` needs no second step for `ttl`. The token is opaque, bound to the subject, the
    /// client and the security stamp. It ends with `POST /revoke` or
    /// [`revoke_subject`](crate::AuthorizationServer::revoke_subject). A subject may have a hundred, and one more ends the oldest.
    /// One that has ended is ignored: the second step is required. A value of `trust_device` other than `true` and `false`, and a
    /// `device_token` that cannot be one, are an `invalid_request`, before the code or the password is checked. Off by default,
    /// since the device and the password are enough then. Both parameters are ignored while it is off.
    pub fn with_trusted_devices(self, store: impl RefreshStore, ttl: Duration) -> Self {
        let devices = RefreshTokens::new(store).with_absolute_ttl(ttl);
        Self { devices: Some(devices), ..self }
    }

    pub(crate) fn for_server(self, server: &str) -> Self {
        let name = |kind: &str| format!("{server}\n{kind}").into();
        let devices = self.devices.map(|devices| devices.for_server(name("trusted devices")));
        let attempts = self.attempts.for_server(server.into());
        Self { attempts, pending: self.pending.for_server(name("second factor")), devices, ..self }
    }

    /// Ends what a subject may still go on with.
    pub(crate) async fn revoke_subject(&self, subject: &str) -> Result<(), TokenError> {
        for tokens in iter::once(&self.pending).chain(&self.devices) {
            tokens.revoke_subject(subject, None).await?;
        }
        Ok(())
    }
}
