//! Grants of the app (RFC 6749, section 4.5): what it is asked, and what it answers.

use std::{net::IpAddr, sync::Arc};

use crate::attempts::{Attempt, AttemptLimits};
use crate::error::{BoxError, BoxFuture, InvalidConfig, TokenError};
use crate::protocol::form::is_visible_ascii;
use crate::secret::{Secret, debug_only};
use crate::store::{STORE_BUDGET, StoreBudget};
use crate::usernames::{Usernames, account_of};
use crate::{scope::Scope, verifier::Verdict};

/// A token request with a grant type of the app.
///
/// The client has been authenticated. Parameters are as they were sent, and hold only the characters that RFC 6749, appendix A
/// allows in passwords.
///
/// ```
/// use tower_oauth2_password::GrantRequest;
///
/// let request = GrantRequest::new([("code", "123456")]);
/// assert_eq!(request.parameter("code").unwrap().expose(), "123456");
/// assert!(request.parameter("phone").is_none() && request.client_id.is_none());
/// ```
#[non_exhaustive]
#[must_use]
pub struct GrantRequest {
    /// The client, if there is one.
    pub client_id: Option<String>,
    /// The address that the request comes from, if [`AttemptLimits`] know it.
    pub client_address: Option<IpAddr>,
    /// The scope that was asked for, if any. A scope beyond that of the [`Identity`](crate::Identity) is refused anyway.
    pub scope: Option<Scope>,
    pub(crate) parameters: Vec<(&'static str, Secret)>,
    pub(crate) attempts: Option<AttemptLimits>,
    pub(crate) usernames: Option<Usernames>,
    pub(crate) budget: StoreBudget,
}

// Without the parameters: nobody knows what they hold.
debug_only!(GrantRequest { client_id, client_address, scope });

impl GrantRequest {
    /// A request with these parameters, for tests of a grant.
    pub fn new<V: Into<Secret>>(parameters: impl IntoIterator<Item = (&'static str, V)>) -> Self {
        let parameters = parameters.into_iter().map(|(name, value)| (name, value.into())).collect();
        let (client_id, client_address, scope, attempts, usernames) = (None, None, None, None, None);
        let budget = StoreBudget::new(STORE_BUDGET);
        Self { client_id, client_address, scope, parameters, attempts, usernames, budget }
    }

    /// A parameter of the grant, if it was sent and is not empty.
    pub fn parameter(&self, name: &str) -> Option<&Secret> {
        self.parameters.iter().find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    /// A parameter that the grant cannot do without.
    ///
    /// # Errors
    /// 400 `invalid_request` if it was not sent.
    pub fn required(&self, name: &'static str) -> Result<&Secret, TokenError> {
        self.parameter(name).ok_or_else(|| TokenError::missing(vec![name]))
    }

    /// Reserves a slot for one guess at what belongs to `account`, as the password grant does, so that guesses of both count
    /// together. Record the outcome with [`Attempt::failed`] or [`Attempt::succeeded`]. Without
    /// [attempt limits](crate::AuthorizationServer::with_attempt_limits) nothing is counted.
    ///
    /// # Errors
    /// 429 while the account is blocked from this address, and 503 if the store is unavailable.
    pub async fn reserve_attempt(&self, account: &str) -> Result<Attempt, TokenError> {
        let account = account_of(self.usernames.as_ref(), account);
        AttemptLimits::reserve_within(self.attempts.as_ref(), &self.budget, &account, self.client_address).await
    }
}

/// A grant of the app: by a code that was sent by text message, by a passkey, by a token of another service. So is each closure
/// `Fn(GrantRequest) -> impl Future`.
///
/// The crate reads the form, authenticates the client, begins the session, issues the tokens, writes the audit log and lists the
/// grant in the metadata. The grant returns the user. An answer that takes longer than the
/// [verifier may](crate::AuthorizationServer::with_verifier_timeout) is a 503. Refreshes ask the
/// [verifier](crate::Verifier::verify_subject), which must know the subject and return the same
/// [security stamp](crate::Identity::with_security_stamp). Whether the account is open is for the grant to check.
///
/// ```
/// use tower_oauth2_password::{BoxError, ExtensionGrant, GrantRequest, Identity, Verdict};
///
/// struct MailedCode;
///
/// impl ExtensionGrant for MailedCode {
///     async fn authorize(&self, request: GrantRequest) -> Result<Verdict, BoxError> {
///         let (mail, code) = (request.required("mail")?, request.required("code")?);
///         let attempt = request.reserve_attempt(mail.expose()).await?;
///         if code.expose() == "123456" { // compare it with what you sent, and use it up
///             attempt.succeeded().await?;
///             return Ok(Identity::new("alice").with_amr(["otp"]).into());
///         }
///         attempt.failed().await?;
///         Ok(Verdict::Denied)
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let guess = GrantRequest::new([("mail", "alice@api.example"), ("code", "000000")]);
/// assert!(matches!(MailedCode.authorize(guess).await?, Verdict::Denied));
/// assert!(MailedCode.authorize(GrantRequest::new([("code", "123456")])).await.is_err(), "no mail address");
/// # Ok::<(), BoxError>(())
/// # })?;
/// # Ok::<(), BoxError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an `ExtensionGrant`",
    note = "a closure must be `Fn(GrantRequest) -> impl Future<Output = Result<Verdict, BoxError>> + Send`, and `Send + Sync + 'static`"
)]
pub trait ExtensionGrant: Send + Sync + 'static {
    /// Decides one request. [`Verdict::Denied`] is a 400 `invalid_grant`.
    ///
    /// # Errors
    /// When what it needs is away: the client gets a 503, and the cause is logged. A [`TokenError`] is sent as it is.
    fn authorize(&self, request: GrantRequest) -> impl Future<Output = Result<Verdict, BoxError>> + Send;
}

impl<F, Fut> ExtensionGrant for F
where
    F: Fn(GrantRequest) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Verdict, BoxError>> + Send,
{
    fn authorize(&self, request: GrantRequest) -> impl Future<Output = Result<Verdict, BoxError>> + Send {
        self(request)
    }
}

type Authorize = dyn Fn(GrantRequest) -> BoxFuture<'static, Result<Verdict, BoxError>> + Send + Sync;

/// A registered grant of the app.
#[derive(Clone)]
pub(crate) struct OwnGrant {
    pub(crate) grant_type: Arc<str>,
    pub(crate) parameters: Vec<&'static str>,
    pub(crate) authorize: Arc<Authorize>,
}

debug_only!(OwnGrant { grant_type, parameters });

impl OwnGrant {
    pub(crate) fn new(
        grant_type: &str,
        parameters: impl IntoIterator<Item = &'static str>,
        grant: impl ExtensionGrant,
    ) -> Result<Self, InvalidConfig> {
        let is_uri = grant_type.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
        let is_printed = is_visible_ascii(grant_type) && !grant_type.contains(' ');
        let hint = "a grant type of your own is an absolute URI, such as urn:example:code (RFC 6749, section 4.5)";
        InvalidConfig::unless(is_uri && is_printed, format!("{grant_type:?} is no grant type: {hint}"))?;
        let (grant_type, parameters, grant) = (grant_type.into(), parameters.into_iter().collect(), Arc::new(grant));
        let authorize = Arc::new(move |request| -> BoxFuture<'static, _> {
            let grant = Arc::clone(&grant);
            Box::pin(async move { grant.authorize(request).await })
        });
        Ok(Self { grant_type, parameters, authorize })
    }
}
