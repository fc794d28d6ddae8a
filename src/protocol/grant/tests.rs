use std::time::Instant;

use futures_util::FutureExt;

use super::*;
use crate::{
    attempts::AttemptLimits,
    error::BoxError,
    protocol::form::Form,
    store::{
        AttemptOutcome, AttemptStore, MemoryAttemptStore, MemoryRefreshStore, Reservation, Slot, StoreBudget,
        StoreFuture,
    },
    token::{Jwt, Key},
    verifier::Verdict,
};

/// Grants what is asked for.
fn grants() -> Grants {
    let verifier = |login: Login| async move {
        Ok(Identity::new(login.username).with_scope(login.scope.unwrap_or_default()).into())
    };
    let jwt = Jwt::new(Key::hs256([7; 32]).unwrap(), "i", "a");
    Grants { optional_grant_type: true, ..Grants::new(verifier, jwt.clone(), jwt) }
}

async fn ask_within(grants: &Grants, body: &str, time: Duration) -> Result<TokenResponse, TokenError> {
    let (parts, ()) = http::Request::new(()).into_parts();
    let form = Form::parse(body.as_bytes(), &grants.parameters().known)?;
    grants.grant(&Request { parts, form, budget: StoreBudget::new(time) }).await
}

async fn ask(grants: &Grants, body: &str) -> Result<TokenResponse, TokenError> {
    ask_within(grants, body, Duration::from_secs(1)).await
}

#[tokio::test]
async fn all_missing_parameters_are_listed_and_the_first_is_named() {
    for (body, missing, description) in [
        ("", &["username", "password"][..], "The parameter username is missing"),
        ("username=&password=", &["username", "password"], "The parameter username is missing"),
        ("grant_type=password&password=p", &["username"], "The parameter username is missing"),
        ("username=alice", &["password"], "The parameter password is missing"),
    ] {
        let error = ask(&grants(), body).await.unwrap_err();
        assert_eq!((error.code(), error.status().as_u16()), ("invalid_request", 400), "{body}");
        assert_eq!((error.missing_parameters(), error.description()), (missing, description), "{body}");
    }
    let strict = Grants { optional_grant_type: false, ..grants() };
    let error = ask(&strict, "username=alice").await.unwrap_err();
    assert_eq!(error.missing_parameters(), ["grant_type"]);
    let required = [strict, grants()].map(|grants| grants.parameters().required.to_vec());
    assert_eq!(required, [vec!["grant_type"], vec!["username", "password"]]);
}

/// Cannot settle: it fails or hangs.
struct Unsettled {
    attempts: MemoryAttemptStore,
    hangs: bool,
}

impl AttemptStore for Unsettled {
    fn reserve(&self, slot: Slot, deadline: Instant) -> StoreFuture<'_, Reservation> {
        self.attempts.reserve(slot, deadline)
    }

    fn settle(&self, _: Slot, _: AttemptOutcome, _: Instant) -> StoreFuture<'_, ()> {
        if self.hangs { Box::pin(std::future::pending()) } else { Box::pin(async { Err("away".into()) }) }
    }
}

fn unsettled(hangs: bool) -> Grants {
    let mut grants = grants();
    let store = Unsettled { attempts: MemoryAttemptStore::new(), hangs };
    grants.policy.attempts = Some(AttemptLimits::new(store, |_: &Parts| None));
    grants
}

#[tokio::test(start_paused = true)]
async fn no_session_exists_if_the_attempt_cannot_be_settled() {
    for hangs in [false, true] {
        let mut grants = unsettled(hangs);
        let sessions = MemoryRefreshStore::new();
        grants.refresh = Some(RefreshTokens::new(sessions.clone()));
        let error = ask(&grants, "username=alice&password=p").await.unwrap_err();
        assert_eq!((error.status().as_u16(), sessions.len()), (503, 0), "hangs: {hangs}");
    }
}

#[cfg(feature = "tracing")]
mod audit {
    use super::*;

    fn logged(grants: &Grants, body: &str, status: u16) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        crate::observe::tests::logged(|| {
            assert_eq!(runtime.block_on(ask(grants, body)).unwrap_err().status(), status);
        })
    }

    #[test]
    fn a_login_that_gets_a_503_is_audited_as_overloaded() {
        let mut grants = unsettled(false);
        // The scope of the second login is not allowed either.
        grants.verifier = Arc::new(|_: Login| async { Ok(Identity::new("alice").into()) });
        for body in ["username=alice&password=p", "username=alice&password=p&scope=more"] {
            let log = logged(&grants, body, 503);
            assert!(log.contains("event=\"overloaded\" subject=\"alice\""), "{log}");
            assert!(!log.contains("event=\"login\""), "{log}");
        }
    }

    #[test]
    fn a_blocked_attempt_is_audited_as_blocked() {
        let none = crate::store::AttemptLimit { failures: 0, window: Duration::from_secs(60) };
        let limits =
            AttemptLimits::new(MemoryAttemptStore::new(), |_: &Parts| None).with_account_and_address_limit(none);
        let mut grants = grants();
        grants.policy.attempts = Some(limits);
        let log = logged(&grants, "username=alice&password=p", 429);
        assert!(log.contains("event=\"blocked\" subject=\"alice\""), "{log}");
    }

    #[test]
    fn a_wrong_password_is_audited_as_denied() {
        let denies = Grants { verifier: Arc::new(|_: Login| async { Ok(Verdict::Denied) }), ..grants() };
        let log = logged(&denies, "username=alice&password=p", 400);
        assert!(log.contains("event=\"denied\" subject=\"alice\""), "{log}");
    }
}

/// Answers about two subjects at once.
struct Both(tokio::sync::Barrier);

impl Verifier for Both {
    async fn verify(&self, login: Login) -> Result<Verdict, BoxError> {
        Ok(Identity::new(login.username).into())
    }

    async fn verify_subject(&self, subject: &str) -> Result<Verdict, BoxError> {
        self.0.wait().await;
        Ok(Identity::new(subject).into())
    }
}

#[tokio::test]
async fn a_refresh_token_used_twice_at_once_is_a_reuse_unless_there_is_a_grace_period() {
    let tokens = || RefreshTokens::new(MemoryRefreshStore::new());
    for (refresh, good) in [(tokens().with_grace(Duration::from_secs(5)), 2), (tokens(), 1)] {
        let mut grants = grants();
        grants.verifier = Arc::new(Both(tokio::sync::Barrier::new(2)));
        grants.refresh = Some(refresh);
        let login = ask(&grants, "username=alice&password=p").await.unwrap();
        let token = login.refresh_token.unwrap();
        let form = format!("grant_type=refresh_token&refresh_token={}", token.0.expose());
        let (one, other) = tokio::join!(ask(&grants, &form), ask(&grants, &form));
        let mut successors: Vec<_> = [one, other].into_iter().flatten().filter_map(|good| good.refresh_token).collect();
        assert_eq!(successors.len(), good);
        successors.dedup_by(|one, other| one.0.expose() == other.0.expose());
        assert_eq!(successors.len(), 1, "the same successor");
    }
}

#[tokio::test]
async fn an_unsupported_grant_type_is_named_in_the_error() {
    for grant_type in ["Password", "refresh_token", "client_credentials"] {
        let error = ask(&grants(), &format!("grant_type={grant_type}&username=a&password=p")).await.unwrap_err();
        assert_eq!((error.code(), error.grant_type()), ("unsupported_grant_type", Some(grant_type)));
        assert!(error.missing_parameters().is_empty());
    }
}

#[tokio::test]
async fn a_verifier_sees_the_requested_scope() {
    for (body, scope) in [("scope=b+a", "b a"), ("scope=", ""), ("", "")] {
        let response = ask(&grants(), &format!("username=alice&password=p&{body}")).await.unwrap();
        assert_eq!(response.scope().as_str(), scope, "{body}");
    }
}

#[tokio::test]
async fn an_error_of_the_verifier_is_sent_if_it_is_a_token_error_and_hidden_otherwise() {
    let fails = |cause: fn() -> BoxError| Grants {
        verifier: Arc::new(move |_: Login| async move { Err::<Verdict, _>(cause()) }),
        ..grants()
    };
    let own = fails(|| TokenError::custom("mfa_required", "A second factor").into());
    assert_eq!(ask(&own, "username=a&password=p").await.unwrap_err().code(), "mfa_required");
    let other = fails(|| "ldap.internal is away".into());
    let error = ask(&other, "username=a&password=p").now_or_never().unwrap().unwrap_err();
    assert_eq!(error.code(), "temporarily_unavailable");
    assert!(!error.description().contains("ldap"));
}
