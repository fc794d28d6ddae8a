//! The token endpoint's decision.

mod extension;
mod mfa;
mod password;
mod refresh;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderName, Response, request::Parts};

use super::form::{is_visible_ascii, single};
use super::request::{Endpoint, Parameters, Request};
use super::response::{RenderToken, TokenResponse};
use super::{client::Client, client_policy::ClientPolicy, extension_grant::OwnGrant};
use super::{refresh_token::RefreshTokens, second_factor::SecondFactors, session::Denials};
use crate::error::{BoxFuture, InvalidConfig, TokenError, answer_within};
use crate::event::Audit;
use crate::scope::Scope;
use crate::secret::{Secret, debug_only};
use crate::store::Session;
use crate::token::{DynIssuer, TokenIssuer, TokenRequest, TokenValidator};
use crate::usernames::Usernames;
use crate::verifier::{DynVerifier, Identity, Login, Verifier, is_credential_text};

const KNOWN: &[&str] = &["grant_type", "username", "password", "scope", "client_id", "client_secret", "refresh_token"];
const CLIENT_CREDENTIALS: &str = "client_credentials";

/// Everything that decides a token request, and what the other endpoints do with the tokens.
#[derive(Clone)]
pub(crate) struct Grants {
    pub(crate) verifier: Arc<dyn DynVerifier>,
    pub(crate) issuer: Arc<dyn DynIssuer>,
    pub(crate) validator: Arc<dyn TokenValidator>,
    pub(crate) usernames: Option<Usernames>,
    pub(crate) policy: ClientPolicy,
    pub(crate) refresh: Option<RefreshTokens>,
    pub(crate) denials: Option<Denials>,
    /// The `acr` values, each with the `amr` that it takes. The last that fits counts.
    pub(crate) acrs: Vec<(String, Vec<String>)>,
    pub(crate) verifier_timeout: Duration,
    pub(crate) optional_grant_type: bool,
    pub(crate) client_credentials: bool,
    pub(crate) own: Vec<OwnGrant>,
    pub(crate) second_factor: Option<SecondFactors>,
    /// The parameters and headers that the verifier gets beside the credentials.
    pub(crate) login_parameters: Vec<&'static str>,
    pub(crate) login_headers: Vec<HeaderName>,
    pub(crate) render: Arc<RenderToken>,
}

debug_only!(Grants { policy, refresh });

/// The request and its client, and when the grant began.
#[derive(Clone, Copy)]
struct Asker<'a> {
    request: &'a Request,
    client: Option<&'a Client>,
    began: Instant,
    audit: Audit<'a>,
}

impl Endpoint for Grants {
    fn parameters(&self) -> Parameters {
        let required: &[_] = if self.optional_grant_type { &["username", "password"] } else { &["grant_type"] };
        let of_grants = self.own.iter().flat_map(|grant| &grant.parameters);
        let of_factor = self.second_factor.iter().flat_map(|_| &mfa::PARAMETERS);
        let own: Vec<_> = of_grants.chain(of_factor).chain(&self.login_parameters).copied().collect();
        let not_in_query = [&["username", "password", "client_secret", "refresh_token"], &*own].concat();
        Parameters { known: [KNOWN, &own].concat(), required, not_in_query }
    }

    fn decide<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Response<Bytes>, TokenError>> {
        Box::pin(async move {
            let response = self.grant(request).await?;
            Ok(response.complete((self.render)(&response, &request.parts)))
        })
    }
}

impl Grants {
    pub(crate) fn new(verifier: impl Verifier, issuer: impl TokenIssuer, validator: impl TokenValidator) -> Self {
        Self {
            verifier: Arc::new(verifier),
            issuer: Arc::new(issuer),
            validator: Arc::new(validator),
            usernames: None,
            policy: ClientPolicy::default(),
            refresh: None,
            denials: None,
            acrs: Vec::new(),
            verifier_timeout: Duration::from_secs(30),
            optional_grant_type: false,
            client_credentials: false,
            own: Vec::new(),
            second_factor: None,
            login_parameters: Vec::new(),
            login_headers: Vec::new(),
            render: Arc::new(|response: &TokenResponse, _: &Parts| response.render()),
        }
    }

    pub(crate) fn add_login_parameter(&mut self, name: &'static str) -> Result<(), InvalidConfig> {
        check_parameter(name)?;
        self.login_parameters.push(name);
        Ok(())
    }

    pub(crate) fn add_grant(&mut self, grant: OwnGrant) -> Result<(), InvalidConfig> {
        let of_second_factor = mfa::STEPS.iter().any(|(step, ..)| *step == &*grant.grant_type);
        let is_new = !of_second_factor && !self.grant_types().contains(&&*grant.grant_type);
        InvalidConfig::unless(is_new, format!("the crate or the app serves {:?} already", grant.grant_type))?;
        grant.parameters.iter().try_for_each(|name| check_parameter(name))?;
        self.own.push(grant);
        Ok(())
    }

    /// What the metadata lists.
    pub(crate) fn grant_types(&self) -> Vec<&str> {
        let mut all = vec!["password"];
        all.extend(self.refresh.as_ref().map(|_| "refresh_token"));
        all.extend(self.client_credentials.then_some(CLIENT_CREDENTIALS));
        all.extend(self.second_factor.iter().flat_map(|_| mfa::STEPS.map(|(grant, ..)| grant)));
        all.extend(self.own.iter().map(|grant| &*grant.grant_type));
        all
    }

    pub(crate) fn add_login_header(&mut self, name: HeaderName) -> Result<(), InvalidConfig> {
        let hint = "the verifier does not see `authorization` and `cookie`: they are credentials of something else";
        InvalidConfig::unless(![AUTHORIZATION, COOKIE].contains(&name), hint)?;
        self.login_headers.push(name);
        Ok(())
    }

    fn with_inputs(&self, mut login: Login, request: &Request) -> Result<Login, TokenError> {
        login.parameters = inputs(&self.login_parameters, request)?;
        for name in &self.login_headers {
            let refused = TokenError::invalid_request("A header is not UTF-8, or given more than once");
            let Some(field) = single(&request.parts.headers, name, refused.clone())? else { continue };
            let text = std::str::from_utf8(field.as_bytes()).map_err(|_| refused)?;
            login = login.with_header(name.clone(), text);
        }
        Ok(login)
    }

    async fn grant(&self, request: &Request) -> Result<TokenResponse, TokenError> {
        match (request.form.get("grant_type").map(Secret::expose), &self.refresh) {
            (Some("password"), _) => self.password(request).await,
            (Some("refresh_token"), Some(tokens)) => self.refresh(tokens, request).await,
            (Some(CLIENT_CREDENTIALS), _) if self.client_credentials => self.client_credentials(request).await,
            (Some(other), _) => self.other(other, request).await,
            (None, _) if self.optional_grant_type => self.password(request).await,
            (None, _) => Err(TokenError::missing(vec!["grant_type"])),
        }
    }

    async fn other(&self, grant_type: &str, request: &Request) -> Result<TokenResponse, TokenError> {
        let step = mfa::STEPS.iter().find(|(step, ..)| *step == grant_type);
        let own = self.own.iter().find(|grant| *grant.grant_type == *grant_type);
        match (step, &self.second_factor, own) {
            (Some(step), Some(factors), _) => self.second_step(factors, *step, request).await,
            (_, _, Some(grant)) => self.own(grant, request).await,
            _ => Err(TokenError::unsupported_grant_type().with_grant_type(grant_type)),
        }
    }

    fn asker<'a>(&'a self, request: &'a Request, client: Option<&'a Client>, subject: Option<&'a str>) -> Asker<'a> {
        let audit = Audit { subject, client_id: client.map(Client::id), ..self.policy.audit(Some(request)) };
        Asker { request, client, began: Instant::now(), audit }
    }

    /// A response without a refresh token.
    async fn issue(
        &self,
        identity: &Identity,
        client: Option<&Client>,
        scope: Scope,
        session: &Session,
    ) -> Result<TokenResponse, TokenError> {
        let mut request = TokenRequest::new(identity.subject());
        request.client_id = client.map(|client| client.id().to_owned());
        // The deny list forgets what lives longer.
        request.ttl = client.and_then(|client| client.access_token_ttl).map(|ttl| ttl.min(self.issuer.longest_ttl()));
        request.scope = scope.clone();
        // Those of the login, unless the verifier has newer ones.
        request.claims = session.claims.clone();
        request.claims.extend(identity.claims().clone());
        request.claims.retain(|_, value| !value.is_null());
        let acr = self.acrs.iter().rfind(|(_, amr)| amr.iter().all(|factor| session.amr.contains(factor)));
        request.claims.retain(|name, _| self.acrs.is_empty() || name != "acr");
        request.claims.extend(acr.map(|(acr, _)| ("acr".to_owned(), acr.as_str().into())));
        request.amr.clone_from(&session.amr);
        // A client's own token belongs to no session.
        if !session.id.is_empty() {
            request.auth_time = Some(session.auth_time);
            // Only what can be ended is worth a name.
            request.session_id = (self.refresh.is_some() || self.denials.is_some()).then(|| session.id.clone());
        }
        let (subject, claims) = (request.subject.clone(), request.claims.clone());
        let issued =
            answer_within(self.verifier_timeout, "the token issuer failed", self.issuer.issue_boxed(request)).await?;
        let (in_cookie, others) = (client.is_some_and(|client| client.has_cookie), BTreeMap::new());
        Ok(TokenResponse { issued, scope, subject, claims, refresh_token: None, in_cookie, others })
    }
}

/// Whether a parameter may be the app's own.
fn check_parameter(name: &str) -> Result<(), InvalidConfig> {
    let is_free = is_visible_ascii(name) && !name.is_empty() && !KNOWN.contains(&name);
    let hint = "use printable ASCII, and no name of RFC 6749";
    InvalidConfig::unless(is_free, format!("the parameter {name:?} cannot be your own: {hint}"))
}

/// The parameters of the app that were sent.
fn inputs(names: &[&'static str], request: &Request) -> Result<Vec<(&'static str, Secret)>, TokenError> {
    let sent = names.iter().filter_map(|name| Some((*name, request.form.get(name)?.clone()))).collect::<Vec<_>>();
    let allowed = sent.iter().all(|(_, value)| is_credential_text(value.expose()));
    if allowed { Ok(sent) } else { Err(TokenError::invalid_request("A character is not allowed in a parameter")) }
}

/// What a user may do through this client.
fn allowed(identity: &Identity, client: Option<&Client>) -> Scope {
    match client.and_then(|client| client.scope.as_ref()) {
        Some(most) => common(identity.scope(), most),
        None => identity.scope().clone(),
    }
}

fn common(one: &Scope, other: &Scope) -> Scope {
    let tokens: Vec<&str> = one.iter().filter(|token| other.contains(token)).collect();
    tokens.join(" ").parse().unwrap_or_default()
}

/// The scope of a login: what was asked for, if the user may have it through this client.
fn granted(identity: &Identity, client: Option<&Client>, requested: Option<Scope>) -> Result<Scope, TokenError> {
    narrowed(allowed(identity, client), requested, "The scope is not allowed for this user")
}

/// The scope that was asked for, or all that is allowed.
fn narrowed(allowed: Scope, requested: Option<Scope>, exceeded: &'static str) -> Result<Scope, TokenError> {
    match requested {
        None => Ok(allowed),
        Some(requested) if requested.is_subset_of(&allowed) => Ok(requested),
        Some(_) => Err(TokenError::invalid_scope(exceeded)),
    }
}

/// The scope that the request asks for, if any.
fn requested_scope(request: &Request) -> Result<Option<Scope>, TokenError> {
    let Some(text) = request.form.get("scope") else { return Ok(None) };
    let scope: Scope = text.expose().parse().map_err(|_| TokenError::invalid_scope("The scope is malformed"))?;
    Ok((!scope.is_empty()).then_some(scope))
}
