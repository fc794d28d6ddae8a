//! The configuration of a server, given once. It makes the layers, so that none can disagree with another.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, Response, request::Parts};

use super::endpoint::{Options, checked_path};
use super::https::RequireHttps;
use crate::attempts::AttemptLimits;
use crate::error::{InvalidConfig, TokenError};
use crate::event::{Event, Events};
use crate::protocol::client::{Clients, DynClients};
use crate::protocol::extension_grant::{ExtensionGrant, OwnGrant};
use crate::protocol::response::{Realm, TokenResponse};
use crate::protocol::{grant::Grants, refresh_token::RefreshTokens, second_factor::SecondFactors, session::Denials};
use crate::token::{TokenIssuer, TokenValidator};
use crate::{scope::Scope, secret::debug_only, store::DenyList, usernames::Usernames, verifier::Verifier};

/// An OAuth2 authorization server: its configuration, given once, from which it makes the layers of its endpoints, the guard
/// of its routes, its metadata, its JWK Set and its OpenAPI scheme. Cheap to clone.
///
/// | to serve | use |
/// | --- | --- |
/// | `POST /token`, `POST /revoke`, and whatever else is configured | [`endpoints`](Self::endpoints) |
/// | one of them | [`token_endpoint`](Self::token_endpoint), [`revocation_endpoint`](Self::revocation_endpoint), [`introspection_endpoint`](Self::introspection_endpoint) |
/// | routes that need a token | [`guard`](Self::guard) |
/// | `GET /.well-known/oauth-authorization-server` | [`metadata`](Self::metadata) |
/// | the public keys | [`jwks`](Self::jwks) |
///
/// ```
/// use std::net::SocketAddr;
/// use axum::{Router, extract::ConnectInfo, routing::get};
/// use tower::ServiceExt;
/// use tower_oauth2_password::{
///     AttemptLimits, AuthorizationServer, ClientAddress, Jwt, Key, MemoryUsers, PasswordVerifier, RefreshTokens,
///     RequiredScope,
///     store::{MemoryAttemptStore, MemoryDenyList, MemoryRefreshStore},
/// };
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let users = MemoryUsers::from_phc([(
///     "alice",
///     "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$4XHlkW01o5HKkdwRDbV9q8aKWen4PIr0is91zg2e36k",
///     "items:read",
/// )])?;
/// const READ: RequiredScope = RequiredScope::all_of("items:read");
/// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
/// let peer = ClientAddress::peer(|peer: &ConnectInfo<SocketAddr>| peer.0);
/// let auth = AuthorizationServer::new(PasswordVerifier::new(users), jwt)
///     .with_attempt_limits(AttemptLimits::new(MemoryAttemptStore::new(), peer))
///     .with_refresh_tokens(RefreshTokens::new(MemoryRefreshStore::new()))
///     .with_deny_list(MemoryDenyList::new());
///
/// let app: Router = Router::new()
///     .route("/items", get(async || "[]"))
///     .route_layer(auth.guard().with_required_scope(READ))
///     .layer(auth.endpoints());
///
/// let login = http::Request::post("/token")
///     .header("content-type", "application/x-www-form-urlencoded")
///     .body("grant_type=password&username=alice&password=wonderland123".to_owned())?;
/// assert_eq!(app.clone().oneshot(login).await?.status(), 200);
/// assert_eq!(app.oneshot(http::Request::get("/items").body(String::new())?).await?.status(), 401);
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct AuthorizationServer {
    /// As they were given: without the server id.
    pub(super) grants: Grants,
    pub(super) introspection_clients: Option<Arc<dyn DynClients>>,
    pub(super) server_id: Option<Arc<str>>,
    pub(super) options: Options,
    pub(super) token_path: Arc<str>,
    pub(super) revocation_path: Arc<str>,
    pub(super) introspection_path: Arc<str>,
}

impl AuthorizationServer {
    /// A server that verifies logins with `verifier`, and issues and validates access tokens with `tokens`, usually a
    /// [`Jwt`](crate::Jwt).
    pub fn new(verifier: impl Verifier, tokens: impl TokenIssuer + TokenValidator) -> Self {
        let tokens = Arc::new(tokens);
        Self::over(Grants::new(verifier, Arc::clone(&tokens), tokens))
    }

    pub(super) fn over(grants: Grants) -> Self {
        Self {
            grants,
            introspection_clients: None,
            server_id: None,
            options: Options::default(),
            token_path: "/token".into(),
            revocation_path: "/revoke".into(),
            introspection_path: "/introspect".into(),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Limits failed attempts at passwords and client secrets. Without it there is no protection against brute force, which
    /// RFC 6749, section 4.3.2 demands.
    pub fn with_attempt_limits(self, limits: AttemptLimits) -> Self {
        self.with(|server| server.grants.policy.attempts = Some(limits))
    }

    /// Issues refresh tokens, and serves `grant_type=refresh_token` and [`revocation`](Self::revocation_endpoint). The verifier
    /// must implement [`verify_subject`](Verifier::verify_subject), as [`PasswordVerifier`](crate::PasswordVerifier) does. Its
    /// default, which closures have, refuses every refresh.
    pub fn with_refresh_tokens(self, tokens: RefreshTokens) -> Self {
        self.with(|server| server.grants.refresh = Some(tokens))
    }

    /// Lets clients revoke access tokens, which the guard then rejects. A revoked refresh token ends the access tokens of its
    /// session, too (RFC 7009, section 2.1). What is revoked stays on the list for 5 minutes longer than tokens live, so your
    /// own validator may allow no more leeway. A token that never expires stays for good: the list is bounded, so let tokens
    /// expire.
    pub fn with_deny_list(self, deny_list: impl DenyList) -> Self {
        let (list, issuer) = (Arc::new(deny_list), self.issuer_name());
        let longest_ttl = self.grants.issuer.longest_ttl();
        self.with(|server| server.grants.denials = Some(Denials { list, issuer, longest_ttl }))
    }

    /// Says how usernames are spelled. [`Login::username`](crate::Login::username) is canonical then, and all spellings of a name
    /// share its limits. At sign-up, store [`Usernames::canonical`] of what was typed. By default, each spelling is a different
    /// name.
    ///
    /// ```
    /// use tower_oauth2_password::{AuthorizationServer, Jwt, Key, Login, Usernames, Verdict};
    ///
    /// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
    /// let verifier = |login: Login| async move {
    ///     assert_eq!(login.username, "alice"); // for ` Alice ` and `ALICE`, too
    ///     Ok(Verdict::Denied)
    /// };
    /// let usernames = Usernames::new(|typed| Some(typed.trim().to_ascii_lowercase()));
    /// let auth = AuthorizationServer::new(verifier, jwt).with_usernames(usernames.clone());
    /// # Ok::<(), tower_oauth2_password::KeyError>(())
    /// ```
    pub fn with_usernames(self, usernames: Usernames) -> Self {
        self.with(|server| server.grants.usernames = Some(usernames))
    }

    /// Passes [`Event`]s to your own code, one after the other, for mails such as "new sign-in". No answer waits for it or fails
    /// with it: 1,024 events may wait, and more are dropped, with a warning and a metric. An event has 30 seconds.
    pub fn with_event_handler<F>(self, handler: impl Fn(Event) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let events = Events::new(move |event| Box::pin(handler(event)));
        self.with(|server| server.grants.policy.events = Some(events))
    }

    /// Names what a login with all of these factors ([`Identity::with_amr`](crate::Identity::with_amr), RFC 8176) is worth: the
    /// `acr` of its access tokens, which a guard may [require](crate::BearerLayer::with_required_acr) (RFC 9470). Name the
    /// strongest last: the last one whose factors a login has is its `acr`, and replaces a claim `acr` of your own. Refreshes
    /// keep it. The metadata lists all of them (`acr_values_supported`).
    ///
    /// ```
    /// use serde_json::json;
    /// use tower_oauth2_password::{AuthorizationServer, Identity, Jwt, Key, Login};
    ///
    /// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
    /// let verifier = |login: Login| async move { Ok(Identity::new(login.username).with_amr(["pwd"]).into()) };
    /// let auth = AuthorizationServer::new(verifier, jwt)
    ///     .with_acr("urn:example:password", ["pwd"])?
    ///     .with_acr("urn:example:mfa", ["pwd", "otp"])?;
    /// let sensitive = auth.guard().with_required_acr("urn:example:mfa")?;
    /// let supported = json!(["urn:example:password", "urn:example:mfa"]);
    /// assert_eq!(auth.metadata()?.to_json()["acr_values_supported"], supported);
    /// # Ok::<(), tower_oauth2_password::BoxError>(())
    /// ```
    ///
    /// # Errors
    /// When no factor is given, or the value has anything but printable ASCII without space, `"` and `\`.
    pub fn with_acr(self, acr: &str, amr: impl IntoIterator<Item: Into<String>>) -> Result<Self, InvalidConfig> {
        let amr: Vec<String> = amr.into_iter().map(Into::into).collect();
        let is_one = acr.parse().is_ok_and(|values: Scope| values.iter().eq([acr]));
        let hint = format!("the acr {acr:?} must be printable ASCII without space, '\"' and '\\', and take a factor");
        InvalidConfig::unless(is_one && !amr.is_empty(), hint)?;
        Ok(self.with(|server| server.grants.acrs.push((acr.to_owned(), amr))))
    }

    /// Registers clients. A login needs no client, but a client that names itself must authenticate. By default no client is
    /// registered, and each that names itself gets a 401.
    pub fn with_clients(self, clients: impl Clients) -> Self {
        self.with(|server| server.grants.policy.clients = Some(Arc::new(clients)))
    }

    /// Refuses requests to the endpoints, revocation included, that name no client, with a 401 `invalid_client`.
    pub fn with_client_required(self) -> Self {
        self.with(|server| server.grants.policy.required = true)
    }

    /// Serves the grant `client_credentials` (RFC 6749, section 4.4): a confidential client gets a token for itself, without a
    /// refresh token. Its subject is that of [`Client::with_subject`](crate::Client::with_subject), and its scope that of
    /// [`Client::with_scope`](crate::Client::with_scope). The claim `gty` of the token is `client_credentials`, and
    /// [`AccessToken::user`](crate::AccessToken::user) is nobody.
    pub fn with_client_credentials_grant(self) -> Self {
        self.with(|server| server.grants.client_credentials = true)
    }

    /// Adds a grant of your own (RFC 6749, section 4.5). `grant_type` is an absolute URI, and `parameters` are the form
    /// parameters that the grant reads. They follow the rules of all others: at most once, UTF-8, and not in the query string.
    /// What the grant accepts is a whole login: no second factor is asked for.
    ///
    /// ```
    /// use tower_oauth2_password::{AuthorizationServer, GrantRequest, Identity, Jwt, Key, Login, Verdict};
    ///
    /// let code = async |request: GrantRequest| {
    ///     let right = request.required("code")?.expose() == "123456"; // one that you sent, at its first use
    ///     Ok(if right { Identity::new("alice").into() } else { Verdict::Denied })
    /// };
    /// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
    /// let auth = AuthorizationServer::new(|_: Login| async { Ok(Verdict::Denied) }, jwt)
    ///     .with_extension_grant("urn:example:mailed-code", ["code"], move |request| code(request))?;
    /// let grants = auth.metadata()?.to_json()["grant_types_supported"].to_string();
    /// assert_eq!(grants, r#"["password","urn:example:mailed-code"]"#);
    /// # Ok::<(), tower_oauth2_password::BoxError>(())
    /// ```
    ///
    /// # Errors
    /// When the grant type is no absolute URI or is served already, or a parameter is one of RFC 6749 or not printable ASCII.
    pub fn with_extension_grant(
        mut self,
        grant_type: &str,
        parameters: impl IntoIterator<Item = &'static str>,
        grant: impl ExtensionGrant,
    ) -> Result<Self, InvalidConfig> {
        self.grants.add_grant(OwnGrant::new(grant_type, parameters, grant)?)?;
        Ok(self)
    }

    /// Asks users with a second factor for a code: after a right password the client gets a 403 `mfa_required` with an
    /// `mfa_token`, and completes the login with a code (grant types `http://auth0.com/oauth/grant-type/mfa-otp` and
    /// `mfa-recovery-code`). The [verifier](crate::Verifier::verify_subject) is asked about the user again.
    pub fn with_second_factor(self, factors: SecondFactors) -> Self {
        self.with(|server| server.grants.second_factor = Some(factors))
    }

    /// Passes a form parameter of your own to the verifier: a tenant, the answer to a captcha, "remember me". Like the others it
    /// may be sent once, and not in the query string. Like a password it is wiped. See [`Login::parameter`](crate::Login::parameter).
    ///
    /// # Errors
    /// When the token endpoint has a parameter of this name itself, or it is not printable ASCII.
    pub fn with_login_parameter(mut self, name: &'static str) -> Result<Self, InvalidConfig> {
        self.grants.add_login_parameter(name)?;
        Ok(self)
    }

    /// Passes a header to the verifier, such as `user-agent` or that of your device id. A login that sends it twice, or not as
    /// UTF-8, gets a 400. See [`Login::header`](crate::Login::header).
    ///
    /// # Errors
    /// When it is `authorization` or `cookie`.
    pub fn with_login_header(mut self, name: HeaderName) -> Result<Self, InvalidConfig> {
        self.grants.add_login_header(name)?;
        Ok(self)
    }

    /// Ignores client credentials, as FastAPI's tutorial does. Any are accepted, and no token is bound to a client.
    pub fn with_client_credentials_ignored(self) -> Self {
        self.with(|server| server.grants.policy.ignored = true)
    }

    /// Serves [`introspection`](Self::introspection_endpoint) to the confidential ones among `clients`: the servers that
    /// accept your tokens.
    pub fn with_introspection(self, clients: impl Clients) -> Self {
        Self { introspection_clients: Some(Arc::new(clients)), ..self }
    }

    /// Treats a missing or empty `grant_type` as `password`, as FastAPI does.
    pub fn with_optional_grant_type(self) -> Self {
        self.with(|server| server.grants.optional_grant_type = true)
    }

    /// Renders errors of the endpoints and of the guard in your API's own format. Headers that an error must have are added:
    /// `cache-control`, `pragma`, and if they are missing `retry-after` and `www-authenticate`.
    ///
    /// ```
    /// use http::Response;
    /// use tower_oauth2_password::{AuthorizationServer, Jwt, Key, Login, Verdict};
    ///
    /// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
    /// let auth = AuthorizationServer::new(|_: Login| async { Ok(Verdict::Denied) }, jwt).with_error_response(|error| {
    ///     let body = serde_json::json!({ "detail": error.description() });
    ///     let mut response = Response::new(body.to_string().into());
    ///     *response.status_mut() = error.status();
    ///     response
    /// });
    /// # Ok::<(), tower_oauth2_password::KeyError>(())
    /// ```
    pub fn with_error_response(self, render: impl Fn(&TokenError) -> Response<Bytes> + Send + Sync + 'static) -> Self {
        self.with(|server| server.options.render = Arc::new(render))
    }

    /// Renders tokens in your API's own format, for clients that expect other members than those of RFC 6749, section 5.1. The
    /// function also gets the head of the request.
    /// `cache-control: no-store` and `pragma: no-cache` are added, and the cookie of a client that has one.
    pub fn with_token_response(
        self,
        render: impl Fn(&TokenResponse, &Parts) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.with(|server| server.grants.render = Arc::new(render))
    }

    /// Sets the `realm` of all challenges. The default is `token` for those of the endpoints, and `api` for the guard's.
    ///
    /// # Errors
    /// When it has anything but printable ASCII without `"` and `\`.
    pub fn with_realm(self, realm: &str) -> Result<Self, InvalidConfig> {
        let realm = Realm::new(realm)?;
        Ok(self.with(|server| server.options.realm = realm))
    }

    /// Rejects requests to the endpoints that are not known to have come over TLS.
    pub fn with_https_required(self, rule: RequireHttps) -> Self {
        self.with(|server| server.options.https = Some(rule))
    }

    /// Sets how long one request waits for its stores, all calls together, from 10 ms to a minute. The default is 500 ms. Then
    /// it gets a 503. The time between the calls, such as a password hash, does not count.
    pub fn with_store_budget(self, budget: Duration) -> Self {
        self.with(|server| server.options.store_budget = budget)
    }

    /// Sets how long the verifier and the token issuer may take, a minute at most for each answer. The default is 30 seconds, for which a
    /// slot of the attempt limits stays reserved. Then the client gets a 503.
    pub fn with_verifier_timeout(self, timeout: Duration) -> Self {
        // A login of several answers must not take longer than the end of a subject is remembered.
        self.with(|server| server.grants.verifier_timeout = timeout.min(Duration::from_secs(60)))
    }

    /// Sets how long the table of clients may take, a minute at most. The default is 5 seconds. Then the client gets a 503.
    pub fn with_clients_timeout(self, timeout: Duration) -> Self {
        self.with(|server| server.grants.policy.timeout = Some(timeout.min(Duration::from_secs(60))))
    }

    /// Names this server, if others share its stores. The default is the issuer and the audience of its tokens. A
    /// refresh token of another server is unknown here, and failed attempts there do not count here.
    pub fn with_server_id(self, id: &str) -> Self {
        Self { server_id: Some(id.into()), ..self }
    }

    /// Sets the longest body in bytes. The default is 16,384. A longer one gets a 413.
    pub fn with_body_limit(self, bytes: usize) -> Self {
        self.with(|server| server.options.body_limit = bytes)
    }

    /// Sets how long a body may take to arrive. The default is 10 seconds. A slower one gets a 408.
    pub fn with_body_timeout(self, timeout: Duration) -> Self {
        self.with(|server| server.options.body_timeout = timeout)
    }

    /// Sets the path of the token endpoint. The default is `/token`. It must match the path of a request exactly.
    ///
    /// # Errors
    /// When no request can have this path.
    pub fn with_token_path(self, path: &str) -> Result<Self, InvalidConfig> {
        Ok(Self { token_path: checked_path(path)?, ..self })
    }

    /// Sets the path of the revocation endpoint. The default is `/revoke`.
    ///
    /// # Errors
    /// When no request can have this path.
    pub fn with_revocation_path(self, path: &str) -> Result<Self, InvalidConfig> {
        Ok(Self { revocation_path: checked_path(path)?, ..self })
    }

    /// Sets the path of the introspection endpoint. The default is `/introspect`.
    ///
    /// # Errors
    /// When no request can have this path.
    pub fn with_introspection_path(self, path: &str) -> Result<Self, InvalidConfig> {
        Ok(Self { introspection_path: checked_path(path)?, ..self })
    }

    pub(super) fn issuer_name(&self) -> Arc<str> {
        self.grants.issuer.issuer().unwrap_or_default().into()
    }
}

debug_only!(AuthorizationServer { token_path, grants });

#[cfg(test)]
#[path = "authorization_server_tests.rs"]
mod tests;
