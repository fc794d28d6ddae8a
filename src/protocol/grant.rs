//! The token endpoint's decision: a head and a body in, a token response or an error out.

use std::{sync::Arc, time::Duration};

use http::request::Parts;

use super::{
    client::Client,
    client_policy::ClientPolicy,
    form::{Form, is_credential_text, is_visible_ascii},
    refresh_token::{RefreshToken, RefreshTokens, Turn},
    response::TokenResponse,
};
use crate::error::TokenError;
use crate::error::store_unavailable;
use crate::scope::Scope;
use crate::{
    join::join,
    observe,
    secret::Secret,
    store::StoreBudget,
    token::{DynIssuer, TokenRequest},
    verifier::{DynVerifier, Identity, Login, Verdict, VerifyError},
};

const PARAMETERS: &[&str] =
    &["grant_type", "username", "password", "scope", "client_id", "client_secret", "refresh_token"];
/// Parameters that must not be in the query string.
pub(crate) const NOT_IN_QUERY: &[&str] = &["username", "password", "client_secret", "refresh_token"];

const REQUIRED: &[&str] = &["username", "password"];

const TIME_TO_FORGET: Duration = Duration::from_millis(100);

const WRONG_CREDENTIALS: &str = "Incorrect username or password";
const BAD_REFRESH_TOKEN: &str = "The refresh token is not valid";

/// Everything that a token request is decided by.
#[derive(Clone)]
pub(crate) struct Exchange {
    pub(crate) verifier: Arc<dyn DynVerifier>,
    pub(crate) issuer: Arc<dyn DynIssuer>,
    pub(crate) policy: ClientPolicy,
    pub(crate) refresh: Option<RefreshTokens>,
    pub(crate) optional_grant_type: bool,
}

impl Exchange {
    pub(crate) async fn decide(
        &self,
        parts: &Parts,
        body: &[u8],
        budget: &StoreBudget,
    ) -> Result<TokenResponse, TokenError> {
        let form = Form::parse(body, PARAMETERS)?;
        match (form.get("grant_type").map(Secret::expose), &self.refresh) {
            (Some("password"), _) => self.password(parts, &form, budget).await,
            (Some("refresh_token"), Some(refresh)) => self.refresh(parts, &form, refresh, budget).await,
            (Some(other), _) => Err(TokenError::unsupported_grant_type().with_grant_type(other)),
            (None, _) if self.optional_grant_type => self.password(parts, &form, budget).await,
            (None, _) => Err(TokenError::missing(vec!["grant_type"])),
        }
    }

    /// What is missing from a request without parameters.
    pub(crate) fn required(&self) -> &'static [&'static str] {
        if self.optional_grant_type { REQUIRED } else { &["grant_type"] }
    }

    async fn password(&self, parts: &Parts, form: &Form, budget: &StoreBudget) -> Result<TokenResponse, TokenError> {
        let (Some(username), Some(password)) = (form.get("username"), form.get("password")) else {
            return Err(TokenError::missing(
                REQUIRED.iter().copied().filter(|name| form.get(name).is_none()).collect(),
            ));
        };
        if !is_credential_text(username.expose()) || !is_credential_text(password.expose()) {
            return Err(TokenError::invalid_request("A character is not allowed in username or password"));
        }
        let client = self.policy.authenticate(parts, form, budget).await?;
        let client_id = client.as_ref().map(Client::id);
        let asked = asked_scope(form)?;

        let address = self.policy.address(parts);
        let attempt = match &self.policy.attempts {
            Some(attempts) => {
                let reserved = attempts.reserve_within(budget, username.expose(), address).await;
                Some(reserved.inspect_err(|error| {
                    let event = if error.status() == 429 { "held" } else { "shed" };
                    observe::audit(event, Some(username.expose()), client_id);
                })?)
            }
            None => None,
        };
        let mut login = Login::new(username.expose(), password.clone());
        login.client_id = client_id.map(str::to_owned);
        login.client_address = address;
        login.scope = asked.clone();
        let identity = match self.verifier.verify(login).await {
            Ok(Verdict::Granted(identity)) => identity,
            Ok(Verdict::Denied) => {
                observe::audit("denied", Some(username.expose()), client_id);
                if let Some(attempt) = attempt {
                    attempt.failed().await?;
                }
                return Err(TokenError::invalid_grant(WRONG_CREDENTIALS));
            }
            Err(error) => {
                if matches!(error, VerifyError::Overloaded { .. }) {
                    observe::audit("shed", Some(username.expose()), client_id);
                }
                return Err(verifier_error(error));
            }
        };
        let counted = async {
            match attempt {
                Some(attempt) => attempt.succeeded().await,
                None => Ok(()),
            }
        };
        // At once: with a store over the network this is one round trip less.
        let (counted, response) = join(counted, self.begin(&identity, client_id, asked, budget)).await;
        if let Err(error) = counted {
            observe::audit("shed", Some(username.expose()), client_id);
            if let Ok(response) = &response {
                self.forget(response).await;
            }
            return Err(error);
        }
        let response = response?;
        observe::audit("login", Some(identity.subject()), client_id);
        Ok(response)
    }

    /// Ends a session that nobody is told of. Where that fails, it ends by itself.
    async fn forget(&self, response: &TokenResponse) {
        let token = response.refresh_token.as_ref().and_then(|token| RefreshToken::parse(token.expose()));
        if let (Some(refresh), Some(token)) = (&self.refresh, token) {
            // What the request had may be used up.
            let _ = refresh.revoke(&token, &StoreBudget::new(TIME_TO_FORGET)).await;
        }
    }

    async fn begin(
        &self,
        identity: &Identity,
        client_id: Option<&str>,
        asked: Option<Scope>,
        budget: &StoreBudget,
    ) -> Result<TokenResponse, TokenError> {
        let scope = match asked {
            None => identity.scope().clone(),
            Some(asked) if asked.is_subset_of(identity.scope()) => asked,
            Some(_) => return Err(TokenError::invalid_scope("The scope is not allowed for this user")),
        };
        let issued = self.issue(identity, client_id, &scope).await?;
        let refresh_token = match &self.refresh {
            Some(refresh) => {
                let begun = refresh.begin(identity, client_id, &scope, budget).await;
                Some(begun.map_err(|error| store_unavailable(&error))?)
            }
            None => None,
        };
        Ok(TokenResponse { issued, scope, refresh_token })
    }

    async fn refresh(
        &self,
        parts: &Parts,
        form: &Form,
        refresh: &RefreshTokens,
        budget: &StoreBudget,
    ) -> Result<TokenResponse, TokenError> {
        let presented = form.get("refresh_token").ok_or_else(|| TokenError::missing(vec!["refresh_token"]))?;
        if !is_visible_ascii(presented.expose()) {
            return Err(TokenError::invalid_request("A character is not allowed in refresh_token"));
        }
        let client = self.policy.authenticate(parts, form, budget).await?;
        let client_id = client.as_ref().map(Client::id);
        let asked = asked_scope(form)?;
        let bad = || TokenError::invalid_grant(BAD_REFRESH_TOKEN);

        let token = RefreshToken::parse(presented.expose()).ok_or_else(bad)?;
        let family = refresh.find(&token, budget).await.map_err(|error| store_unavailable(&error))?.ok_or_else(bad)?;
        if family.client_id.as_deref() != client_id {
            return Err(bad());
        }
        let repeated = refresh.repeat(&token, &family);
        if repeated.is_none() && !token.is_current(&family) {
            return Err(self.reused(refresh, &token, &family.subject, client_id, budget).await);
        }

        let identity = match self.verifier.verify_subject(&family.subject).await {
            Ok(Verdict::Granted(identity)) => identity,
            Ok(Verdict::Denied) => return Err(bad()),
            Err(error) => return Err(verifier_error(error)),
        };
        // A table whose names and subjects overlap may find another user by this subject: never hand them over.
        if identity.subject() != family.subject {
            return Err(bad());
        }
        if identity.security_stamp() != family.security_stamp.as_deref() {
            refresh.revoke(&token, budget).await.map_err(|error| store_unavailable(&error))?;
            return Err(bad());
        }
        let scope = match asked {
            None => common(&family.scope, identity.scope()),
            Some(asked) if asked.is_subset_of(&family.scope) && asked.is_subset_of(identity.scope()) => asked,
            Some(_) => return Err(TokenError::invalid_scope("The scope exceeds what was granted")),
        };
        // Made before the old token is spent, so that a failure here spends nothing.
        let issued = self.issue(&identity, client_id, &scope).await?;
        let refresh_token = match repeated {
            Some(successor) => successor,
            None => match refresh.rotate(&token, budget).await.map_err(|error| store_unavailable(&error))? {
                Turn::Taken(successor) => successor,
                Turn::Gone => return Err(bad()),
                Turn::Spent => return Err(self.reused(refresh, &token, &family.subject, client_id, budget).await),
            },
        };
        observe::audit("refresh", Some(identity.subject()), client_id);
        Ok(TokenResponse { issued, scope, refresh_token: Some(refresh_token) })
    }

    /// A spent token came back: someone else may hold the line, so it ends for everyone.
    async fn reused(
        &self,
        refresh: &RefreshTokens,
        token: &RefreshToken,
        subject: &str,
        client_id: Option<&str>,
        budget: &StoreBudget,
    ) -> TokenError {
        observe::audit("reuse", Some(subject), client_id);
        match refresh.revoke(token, budget).await {
            Ok(()) => TokenError::invalid_grant(BAD_REFRESH_TOKEN),
            Err(error) => store_unavailable(&error),
        }
    }

    async fn issue(
        &self,
        identity: &Identity,
        client_id: Option<&str>,
        scope: &Scope,
    ) -> Result<crate::token::IssuedToken, TokenError> {
        let mut request = TokenRequest::new(identity.subject());
        request.client_id = client_id.map(str::to_owned);
        request.scope = scope.clone();
        request.claims = identity.claims().clone();
        self.issuer.issue(request).await.map_err(|error| {
            observe::issuer_failed(&error);
            TokenError::temporarily_unavailable(Duration::from_secs(1))
        })
    }
}

fn asked_scope(form: &Form) -> Result<Option<Scope>, TokenError> {
    let Some(text) = form.get("scope") else { return Ok(None) };
    let scope: Scope = text.expose().parse().map_err(|_| TokenError::invalid_scope("The scope is malformed"))?;
    Ok((!scope.is_empty()).then_some(scope))
}

fn common(granted: &Scope, allowed: &Scope) -> Scope {
    let tokens: Vec<&str> = granted.iter().filter(|token| allowed.contains(token)).collect();
    tokens.join(" ").parse().unwrap_or_default()
}

fn verifier_error(error: VerifyError) -> TokenError {
    match error {
        VerifyError::Refused(error) => error,
        VerifyError::Overloaded { retry_after } => TokenError::temporarily_unavailable(retry_after),
        VerifyError::Unavailable(_) => {
            observe::verifier_failed(&error);
            TokenError::temporarily_unavailable(Duration::from_secs(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use futures_util::FutureExt;

    use super::*;
    use crate::{
        attempts::AttemptLimits,
        error::StoreError,
        store::{
            AttemptKey, AttemptLimit, AttemptOutcome, AttemptStore, MemoryAttemptStore, MemoryRefreshStore,
            Reservation, ReservationId,
        },
        token::{jwt::Jwt, key::Key},
        verifier::Identity,
    };

    /// An endpoint that grants what was asked for.
    fn exchange() -> Exchange {
        let verifier = |login: Login| async move {
            Ok(Identity::new(login.username).with_scope(login.scope.unwrap_or_default()).into())
        };
        Exchange {
            verifier: Arc::new(verifier),
            issuer: Arc::new(Jwt::new(Key::hs256([7; 32]).unwrap(), "i", "a")),
            policy: ClientPolicy::default(),
            refresh: None,
            optional_grant_type: true,
        }
    }

    async fn ask(exchange: &Exchange, body: &str) -> Result<TokenResponse, TokenError> {
        let (parts, ()) = http::Request::new(()).into_parts();
        exchange.decide(&parts, body.as_bytes(), &StoreBudget::new(Duration::from_secs(1))).await
    }

    #[tokio::test]
    async fn all_missing_parameters_are_told_and_the_first_is_named() {
        for (body, missing, description) in [
            ("", &["username", "password"][..], "The parameter username is missing"),
            ("username=&password=", &["username", "password"], "The parameter username is missing"),
            ("grant_type=password&password=p", &["username"], "The parameter username is missing"),
            ("username=alice", &["password"], "The parameter password is missing"),
        ] {
            let error = ask(&exchange(), body).await.unwrap_err();
            assert_eq!((error.code(), error.status().as_u16()), ("invalid_request", 400), "{body}");
            assert_eq!((error.missing_parameters(), error.description()), (missing, description), "{body}");
        }
        let strict = Exchange { optional_grant_type: false, ..exchange() };
        let error = ask(&strict, "username=alice").await.unwrap_err();
        assert_eq!(error.missing_parameters(), ["grant_type"]);
        assert_eq!((strict.required(), exchange().required()), (&["grant_type"][..], &["username", "password"][..]));
    }

    /// Is away when an attempt has become something, and says so or not.
    struct AwayAfterwards {
        attempts: MemoryAttemptStore,
        hangs: bool,
    }

    impl AttemptStore for AwayAfterwards {
        async fn reserve(
            &self,
            key: AttemptKey,
            id: ReservationId,
            limit: AttemptLimit,
            deadline: Instant,
        ) -> Result<Reservation, StoreError> {
            AttemptStore::reserve(&self.attempts, key, id, limit, deadline).await
        }

        async fn settle(
            &self,
            _: AttemptKey,
            _: ReservationId,
            _: AttemptLimit,
            _: AttemptOutcome,
            _: Instant,
        ) -> Result<(), StoreError> {
            if self.hangs { std::future::pending().await } else { Err(StoreError::new("away")) }
        }

        fn abandon(&self, key: AttemptKey, id: ReservationId) {
            AttemptStore::abandon(&self.attempts, key, id);
        }
    }

    #[tokio::test]
    async fn a_session_that_nobody_is_told_of_is_ended() {
        for hangs in [false, true] {
            let mut exchange = exchange();
            let attempts = AwayAfterwards { attempts: MemoryAttemptStore::new(), hangs };
            exchange.policy.attempts = Some(AttemptLimits::new(attempts, |_| None));
            let sessions = MemoryRefreshStore::new();
            exchange.refresh = Some(RefreshTokens::new(sessions.clone()));
            let (parts, ()) = http::Request::new(()).into_parts();
            let budget = StoreBudget::new(Duration::from_millis(20));
            let error = exchange.decide(&parts, b"username=alice&password=p", &budget).await.unwrap_err();
            assert_eq!((error.status().as_u16(), sessions.len()), (503, 0), "hangs: {hangs}");
        }
    }

    #[cfg(feature = "tracing")]
    #[test]
    fn who_is_told_503_is_audited_as_shed_and_has_not_logged_in() {
        let mut exchange = exchange();
        let attempts = AwayAfterwards { attempts: MemoryAttemptStore::new(), hangs: false };
        exchange.policy.attempts = Some(AttemptLimits::new(attempts, |_| None));
        // The second login may not have its scope either: it is the count that decides.
        exchange.verifier = Arc::new(|_: Login| async { Ok(Identity::new("alice").into()) });
        for body in ["username=alice&password=p", "username=alice&password=p&scope=more"] {
            let log = crate::observe::tests::logged(|| {
                assert_eq!(ask(&exchange, body).now_or_never().unwrap().unwrap_err().status(), 503);
            });
            assert!(log.contains("event=\"shed\" subject=\"alice\"") && !log.contains("event=\"login\""), "{log}");
        }
    }

    #[cfg(feature = "tracing")]
    #[test]
    fn an_attempt_that_is_held_back_is_audited_as_held() {
        let none = AttemptLimit { failures: 0, window: Duration::from_secs(60) };
        let limits = AttemptLimits::new(MemoryAttemptStore::new(), |_| None).with_account_and_address_limit(none);
        let mut exchange = exchange();
        exchange.policy.attempts = Some(limits);
        let log = crate::observe::tests::logged(|| {
            let error = ask(&exchange, "username=alice&password=p").now_or_never().unwrap().unwrap_err();
            assert_eq!(error.status(), 429);
        });
        assert!(log.contains("event=\"held\" subject=\"alice\""), "{log}");
    }

    /// Answers about two subjects together.
    struct Both(tokio::sync::Barrier);

    impl crate::verifier::Verifier for Both {
        async fn verify(&self, login: Login) -> Result<Verdict, VerifyError> {
            Ok(Identity::new(login.username).into())
        }

        async fn verify_subject(&self, subject: &str) -> Result<Verdict, VerifyError> {
            self.0.wait().await;
            Ok(Identity::new(subject).into())
        }
    }

    #[tokio::test]
    async fn a_refresh_token_used_twice_at_once_is_a_replay_but_for_the_grace_period() {
        let tokens = || RefreshTokens::new(crate::store::MemoryRefreshStore::new());
        for (refresh, good) in [(tokens().with_grace(Duration::from_secs(5)), 2), (tokens(), 1)] {
            let mut exchange = exchange();
            exchange.verifier = Arc::new(Both(tokio::sync::Barrier::new(2)));
            exchange.refresh = Some(refresh);
            let login = ask(&exchange, "username=alice&password=p").await.unwrap();
            let token = login.refresh_token.unwrap();
            let form = format!("grant_type=refresh_token&refresh_token={}", token.expose());
            let (one, other) = tokio::join!(ask(&exchange, &form), ask(&exchange, &form));
            let mut successors: Vec<_> =
                [one, other].into_iter().flatten().filter_map(|good| good.refresh_token).collect();
            assert_eq!(successors.len(), good);
            successors.dedup_by(|one, other| one.expose() == other.expose());
            assert_eq!(successors.len(), 1, "the same successor");
        }
    }

    #[tokio::test]
    async fn a_grant_type_that_is_not_supported_is_told() {
        for grant_type in ["Password", "refresh_token", "client_credentials"] {
            let error = ask(&exchange(), &format!("grant_type={grant_type}&username=a&password=p")).await.unwrap_err();
            assert_eq!((error.code(), error.grant_type()), ("unsupported_grant_type", Some(grant_type)));
            assert!(error.missing_parameters().is_empty());
        }
    }

    #[tokio::test]
    async fn a_verifier_sees_the_scope_asked_for() {
        for (body, scope) in [("scope=b+a", "b a"), ("scope=", ""), ("", "")] {
            let response = ask(&exchange(), &format!("username=alice&password=p&{body}")).await.unwrap();
            assert_eq!(response.scope().as_str(), scope, "{body}");
        }
    }
}
