//! Clients, and how they authenticate (RFC 6749, sections 2.3 and 3.2.1).

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, header::AUTHORIZATION};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::form::{Form, decode, is_visible_ascii, single};
use crate::error::{BoxError, BoxFuture, TokenError};
use crate::scope::Scope;
use crate::secret::{Secret, debug_only, sha256};

/// A registered client. Only the SHA-256 of its secret is kept, so the secret must be long and random.
///
/// ```
/// use tower_oauth2_password::Client;
///
/// let web = Client::confidential("web", "LWQ0YjQ5ZDMtZmY1NS00Y2Jm");
/// assert_eq!((web.id(), Client::public("cli").id()), ("web", "cli"));
/// assert_eq!(format!("{web:?}"), "Client { id: \"web\", .. }");
/// ```
#[derive(Clone)]
#[must_use]
pub struct Client {
    id: String,
    /// None for a public client.
    secrets: Vec<[u8; 32]>,
    grants: Option<Vec<String>>,
    pub(crate) subject: Option<String>,
    pub(crate) scope: Option<Scope>,
    pub(crate) session_ttl: Option<Duration>,
    pub(crate) access_token_ttl: Option<Duration>,
    /// Its refresh token is in a cookie.
    pub(crate) has_cookie: bool,
}

impl Client {
    /// A client that must authenticate. Give it a random secret of at least 128 bits.
    pub fn confidential(id: impl Into<String>, secret: &str) -> Self {
        Self::public(id).with_secret(secret)
    }

    /// A client without a secret, such as a command line tool.
    pub fn public(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            secrets: Vec::new(),
            grants: None,
            subject: None,
            scope: None,
            session_ttl: None,
            access_token_ttl: None,
            has_cookie: false,
        }
    }

    /// Also accepts this secret, so that secrets can be rotated.
    pub fn with_secret(mut self, secret: &str) -> Self {
        self.secrets.push(sha256(secret.as_bytes()));
        self
    }

    /// Sets the only grant types that this client may use, such as `password`. Without `refresh_token` it gets no refresh tokens.
    pub fn with_grants<T: Into<String>>(self, grants: impl IntoIterator<Item = T>) -> Self {
        Self { grants: Some(grants.into_iter().map(Into::into).collect()), ..self }
    }

    /// Sets the subject of the tokens that it gets for itself
    /// ([`with_client_credentials_grant`](crate::AuthorizationServer::with_client_credentials_grant)): their `sub`, such as
    /// `client:reports`. It must be no user's. There is no default, and the client needs a secret.
    pub fn with_subject(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }

    /// Sets the widest scope of its tokens, whatever their users may do. Tokens for itself have this scope, or none.
    pub fn with_scope(self, scope: Scope) -> Self {
        Self { scope: Some(scope), ..self }
    }

    /// Sets how long its logins can be extended. The default is the lifetime of
    /// [`RefreshTokens`](crate::RefreshTokens::with_absolute_ttl).
    pub fn with_session_ttl(self, ttl: Duration) -> Self {
        Self { session_ttl: Some(ttl), ..self }
    }

    /// Sets the lifetime of its access tokens. [`Jwt`](crate::Jwt::with_ttl) issues none that live longer than the others.
    pub fn with_access_token_ttl(self, ttl: Duration) -> Self {
        Self { access_token_ttl: Some(ttl), ..self }
    }

    /// Marks a single-page app of your own: its refresh token travels only in a cookie, which no script can read, and its requests
    /// must come from an allowed page. The server needs [`RefreshTokens::with_cookie`](crate::RefreshTokens::with_cookie).
    pub fn with_cookie(self) -> Self {
        Self { has_cookie: true, ..self }
    }

    /// The client's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn is_confidential(&self) -> bool {
        !self.secrets.is_empty()
    }

    pub(crate) fn accepts(&self, presented: Option<&Secret>) -> bool {
        let Some(presented) = presented else { return !self.is_confidential() };
        let presented = sha256(presented.expose().as_bytes());
        self.secrets.iter().fold(Choice::from(0), |found, secret| found | secret.ct_eq(&presented)).into()
    }

    pub(crate) fn may_use(&self, grant: &str) -> bool {
        self.grants.as_ref().is_none_or(|grants| grants.iter().any(|own| own == grant))
    }
}

debug_only!(Client { id });

/// A table of registered clients.
///
/// ```
/// use tower_oauth2_password::{BoxError, Client, Clients};
///
/// struct Database;
///
/// impl Clients for Database {
///     async fn find(&self, id: &str) -> Result<Option<Client>, BoxError> {
///         Ok((id == "cli").then(|| Client::public(id))) // ask your database
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// assert!(Database.find("cli").await?.is_some() && Database.find("CLI").await?.is_none());
/// # Ok::<(), BoxError>(())
/// # })?;
/// # Ok::<(), BoxError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a table of `Clients`",
    label = "wrap a fixed set of clients: `StaticClients::new(..)`"
)]
pub trait Clients: Send + Sync + 'static {
    /// The client with this id, of at most 256 printable ASCII characters. It must answer within 5 seconds: see
    /// [`with_clients_timeout`](crate::AuthorizationServer::with_clients_timeout).
    ///
    /// # Errors
    /// When the table is unavailable. The client gets a 503, and the cause is logged.
    fn find(&self, id: &str) -> impl Future<Output = Result<Option<Client>, BoxError>> + Send;
}

impl<C: Clients> Clients for Arc<C> {
    fn find(&self, id: &str) -> impl Future<Output = Result<Option<Client>, BoxError>> + Send {
        C::find(self, id)
    }
}

/// A fixed set of clients.
///
/// ```
/// use tower_oauth2_password::{Client, Clients, StaticClients};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let clients = StaticClients::new([Client::public("cli")]);
/// assert!(clients.find("cli").await?.is_some());
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct StaticClients(HashMap<String, Client>);

impl StaticClients {
    /// Registers these clients. If two have the same id, the last one counts.
    pub fn new(clients: impl IntoIterator<Item = Client>) -> Self {
        Self(clients.into_iter().map(|client| (client.id.clone(), client)).collect())
    }
}

impl Clients for StaticClients {
    async fn find(&self, id: &str) -> Result<Option<Client>, BoxError> {
        Ok(self.0.get(id).cloned())
    }
}

/// `Clients` with its future boxed, so that an endpoint can hold any of them.
pub(crate) trait DynClients: Send + Sync {
    fn find<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Client>, BoxError>>;
}

impl<C: Clients> DynClients for C {
    fn find<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Client>, BoxError>> {
        Box::pin(Clients::find(self, id))
    }
}

/// The longest `client_id`, in bytes. It is looked up in a table.
const LONGEST_ID: usize = 256;

/// `VSCHAR` (RFC 6749, appendix A.1).
fn is_client_id(id: &str) -> bool {
    id.len() <= LONGEST_ID && is_visible_ascii(id)
}

/// The credentials of a client. Each candidate is one way to read them.
#[derive(Debug)]
pub(crate) struct ClientCredentials(pub(crate) Vec<(String, Option<Secret>)>);

impl ClientCredentials {
    /// Reads the Basic header or the body. Both together are an error.
    pub(crate) fn read(headers: &HeaderMap, form: &Form) -> Result<Option<Self>, TokenError> {
        let body_id = form.get("client_id").map(|id| id.expose().to_owned());
        if body_id.as_deref().is_some_and(|id| !is_client_id(id)) {
            return Err(TokenError::invalid_request("The client_id is too long, or a character in it is not allowed"));
        }
        match (basic(headers)?, body_id, form.get("client_secret").cloned()) {
            (Some(_), _, Some(_)) => Err(TokenError::invalid_request("The client authenticates in more than one way")),
            (Some(mut credentials), body_id, None) => {
                credentials.0.retain(|(id, _)| body_id.as_ref().is_none_or(|body_id| body_id == id));
                let other = TokenError::invalid_request("The body names another client than the header");
                if credentials.0.is_empty() { Err(other) } else { Ok(Some(credentials)) }
            }
            (None, Some(id), secret) => Ok(Some(Self(vec![(id, secret)]))),
            (None, None, Some(_)) => Err(TokenError::invalid_client()),
            (None, None, None) => Ok(None),
        }
    }

    /// The decoded id: the raw one has as many spellings as an attacker likes.
    pub(crate) fn id(&self) -> &str {
        self.0.last().map_or("", |(id, _)| id)
    }

    /// The registered clients that are named, each with the secret that was presented for it.
    pub(crate) async fn find(&self, clients: &dyn DynClients) -> Result<Vec<(Client, Option<&Secret>)>, BoxError> {
        let mut found = Vec::new();
        for (id, secret) in &self.0 {
            found.extend(clients.find(id).await?.map(|client| (client, secret.as_ref())));
        }
        Ok(found)
    }
}

/// Basic credentials, raw and form-decoded, as clients send either (RFC 6749, section 2.3.1). `Og==`, an empty id and secret,
/// names no client.
fn basic(headers: &HeaderMap) -> Result<Option<ClientCredentials>, TokenError> {
    let several = TokenError::invalid_request("More than one Authorization header");
    let Some(field) = single(headers, &AUTHORIZATION, several)? else { return Ok(None) };
    // Interceptors put the old access token on every request.
    let scheme = field.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
    if scheme.is_empty() || scheme.eq_ignore_ascii_case(b"bearer") {
        return Ok(None);
    }
    let credentials = field
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, encoded)| decode_base64(encoded.trim_matches(' ')))
        .ok_or_else(TokenError::invalid_client)?;
    let (id, secret) = credentials.expose().split_once(':').ok_or_else(TokenError::invalid_client)?;
    if id.is_empty() {
        return if secret.is_empty() { Ok(None) } else { Err(TokenError::invalid_client()) };
    }
    let optional = |secret: &str| (!secret.is_empty()).then(|| Secret::from(secret));
    let mut candidates = vec![(id.to_owned(), optional(secret))];
    if let (Some(decoded_id), Some(decoded_secret)) = (decode(id.as_bytes()), decode(secret.as_bytes()))
        && (decoded_id.as_str(), decoded_secret.as_str()) != (id, secret)
    {
        candidates.push((decoded_id.to_string(), optional(&decoded_secret)));
    }
    candidates.retain(|(id, _)| is_client_id(id));
    if candidates.is_empty() { Err(TokenError::invalid_client()) } else { Ok(Some(ClientCredentials(candidates))) }
}

/// Decodes into memory that is wiped, whatever comes of it.
fn decode_base64(encoded: &str) -> Option<Secret> {
    let mut bytes = Zeroizing::new(vec![0; encoded.len()]);
    let length = STANDARD.decode_slice(encoded, &mut bytes).ok()?;
    std::str::from_utf8(bytes.get(..length)?).ok().map(Secret::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_arc_asks_the_clients_in_it() {
        let clients = Arc::new(StaticClients::new([Client::public("cli"), Client::confidential("web", "secret")]));
        let web = Clients::find(&clients, "web").await.unwrap().unwrap();
        assert_eq!((web.id(), web.is_confidential()), ("web", true));
        assert!(Clients::find(&clients, "WEB").await.unwrap().is_none());
        assert!(!Clients::find(&clients, "cli").await.unwrap().unwrap().is_confidential());
    }

    #[tokio::test]
    async fn only_a_secret_of_a_confidential_client_may_be_a_guess() {
        let clients = StaticClients::new([Client::public("cli"), Client::confidential("web", "secret")]);
        for (body, expected) in [
            ("client_id=web", vec![false]),
            ("client_id=web&client_secret=x", vec![true]),
            ("client_id=cli&client_secret=x", vec![false]),
            ("client_id=unknown&client_secret=x", vec![]),
        ] {
            let form = Form::parse(body.as_bytes(), &["client_id", "client_secret"]).unwrap();
            let credentials = ClientCredentials::read(&HeaderMap::new(), &form).unwrap().unwrap();
            let found = credentials.find(&clients).await.unwrap();
            let is_guess = |(client, secret): &(Client, Option<&Secret>)| client.is_confidential() && secret.is_some();
            assert_eq!(found.iter().map(is_guess).collect::<Vec<_>>(), expected, "{body}");
        }
    }

    #[test]
    fn a_client_id_is_short_and_visible() {
        for (id, expected) in
            [("web", true), (&"x".repeat(256), true), (&"x".repeat(257), false), ("a%00", false), ("%C3%A9", false)]
        {
            let form = Form::parse(format!("client_id={id}").as_bytes(), &["client_id"]).unwrap();
            assert_eq!(ClientCredentials::read(&HeaderMap::new(), &form).is_ok(), expected, "{id}");
            let mut headers = HeaderMap::new();
            let basic =
                format!("Basic {}", STANDARD.encode(format!("{}:secret", decode(id.as_bytes()).unwrap().as_str())));
            headers.insert(AUTHORIZATION, basic.parse().unwrap());
            let read = ClientCredentials::read(&headers, &Form::parse(b"", &[]).unwrap());
            assert_eq!(read.map_err(|error| error.status().as_u16()).err(), (!expected).then_some(401), "{id}");
        }
    }

    #[test]
    fn a_client_is_printed_without_its_secret() {
        let printed = format!("{:?}", Client::confidential("web", "secret"));
        assert_eq!(printed, "Client { id: \"web\", .. }");
    }

    #[test]
    fn a_secret_is_accepted_from_a_confidential_client_only() {
        let (web, cli) = (Client::confidential("web", "secret"), Client::public("cli"));
        let (right, wrong) = (Secret::from("secret"), Secret::from("Secret"));
        for (client, presented, expected) in [
            (&web, Some(&right), true),
            (&web, Some(&wrong), false),
            (&web, None, false),
            (&cli, None, true),
            (&cli, Some(&right), false),
        ] {
            assert_eq!(client.accepts(presented), expected, "{client:?} {}", presented.is_some());
        }
    }
}
