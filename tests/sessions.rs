//! Sessions: whose they are, what ends them, and what they keep.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use http::{Request, request::Parts};
use serde_json::Value;
use test_support::oneshot;
use tokio::sync::Notify;
use tower_oauth2_password::{
    AccessToken, AttemptLimits, AuthorizationServer, BoxError, Identity, IssuedToken, Jwt, Key, Login, RefreshTokens,
    Secret, TokenIssuer, TokenRequest, TokenValidator, Verdict, Verifier,
    store::{Denial, DenyList, MemoryAttemptStore, MemoryDenyList, MemoryRefreshStore, StoreFuture, TokenRef},
};

/// Accepts one password, and knows the tenant of a login but not that of a subject.
#[derive(Clone, Default)]
struct Users {
    /// A login says that it has begun, and waits to go on.
    gate: Option<Arc<[Notify; 2]>>,
    renewed: bool,
}

impl Verifier for Users {
    async fn verify(&self, login: Login) -> Result<Verdict, BoxError> {
        if let Some(gate) = &self.gate {
            gate[0].notify_one();
            gate[1].notified().await;
        }
        let identity = Identity::new(login.username).with_claim("tenant", "acme").with_claim("role", "admin");
        let identity = identity.with_amr(["pwd", "otp"]);
        Ok(if login.password.expose() == "right" { identity.into() } else { Verdict::Denied })
    }

    async fn verify_subject(&self, subject: &str) -> Result<Verdict, BoxError> {
        let identity = Identity::new(subject);
        let renewed = || identity.clone().with_claim("tenant", "other").with_claim("role", Value::Null);
        Ok(if self.renewed { renewed() } else { identity }.into())
    }
}

fn jwt(audience: &str) -> Jwt {
    Jwt::new(Key::hs256([audience.len() as u8; 32]).unwrap(), format!("https://{audience}.example"), audience)
}

fn server(audience: &str, store: &MemoryRefreshStore, users: Users) -> AuthorizationServer {
    AuthorizationServer::new(users, jwt(audience)).with_refresh_tokens(RefreshTokens::new(store.clone()))
}

async fn post(auth: &AuthorizationServer, path: &str, body: &str) -> (u16, Value) {
    let (status, _, body) = oneshot::post_form(auth.endpoints().into_service(), Request::post(path), body).await;
    (status, body)
}

/// The access and the refresh token of a login.
async fn log_in(auth: &AuthorizationServer, username: &str) -> (String, String) {
    let (status, body) = post(auth, "/token", &format!("grant_type=password&username={username}&password=right")).await;
    assert_eq!(status, 200, "{body}");
    tokens(&body)
}

fn tokens(body: &Value) -> (String, String) {
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (text("access_token"), text("refresh_token"))
}

async fn refresh(auth: &AuthorizationServer, token: &str) -> (u16, Value) {
    post(auth, "/token", &format!("grant_type=refresh_token&refresh_token={token}")).await
}

async fn guarded(auth: &AuthorizationServer, token: &str) -> u16 {
    oneshot::guarded(auth.guard(), token).await
}

#[tokio::test]
async fn a_refresh_token_of_another_server_is_unknown_and_stays_valid() {
    let store = MemoryRefreshStore::new();
    let [customers, staff] = ["customers", "staff"].map(|audience| server(audience, &store, Users::default()));
    let (_, token) = log_in(&customers, "alice").await;
    assert_eq!(refresh(&staff, &token).await.1["error"], "invalid_grant");
    assert_eq!(post(&staff, "/revoke", &format!("token={token}")).await.0, 200);
    assert_eq!(staff.revoke_subject("alice").await.unwrap(), 0);

    let elsewhere = customers.clone().with_token_path("/login").unwrap();
    let body = format!("grant_type=refresh_token&refresh_token={token}");
    let (status, next) = post(&elsewhere, "/login", &body).await;
    assert_eq!(status, 200, "another endpoint of the same server: {next}");
    let renamed = customers.clone().with_server_id("customers of another country");
    assert_eq!(refresh(&renamed, &tokens(&next).1).await.0, 400);
    assert_eq!(customers.revoke_subject("alice").await.unwrap(), 1);
}

#[tokio::test]
async fn failed_attempts_at_one_server_neither_count_nor_clear_at_another() {
    let limits = AttemptLimits::new(MemoryAttemptStore::new(), |_: &Parts| None);
    let [customers, staff] = ["customers", "staff"].map(|audience| {
        server(audience, &MemoryRefreshStore::new(), Users::default()).with_attempt_limits(limits.clone())
    });
    for _ in 0..10 {
        log_in(&staff, "alice").await;
        let guess = "grant_type=password&username=alice&password=wrong";
        assert_eq!(post(&customers, "/token", guess).await.0, 400);
    }
    let (request, ()) = Request::new(()).into_parts();
    assert_eq!(customers.reserve_attempt("alice", &request).await.unwrap_err().status(), 429);
    log_in(&staff, "alice").await;
}

#[tokio::test]
async fn one_user_cannot_fill_the_deny_list() {
    let list = MemoryDenyList::new().with_capacity(250);
    let auth = server("api", &MemoryRefreshStore::new(), Users::default()).with_deny_list(list.clone());
    let (mut access, mut token) = log_in(&auth, "mallory").await;
    for _ in 0..300 {
        assert_eq!(post(&auth, "/revoke", &format!("token={access}")).await.0, 200);
        assert_eq!(guarded(&auth, &access).await, 401, "what was answered holds");
        (access, token) = tokens(&refresh(&auth, &token).await.1);
    }
    assert!(list.len() <= 101, "{}", list.len());
    let (access, _) = log_in(&auth, "alice").await;
    assert_eq!(guarded(&auth, &access).await, 200);
    assert_eq!(post(&auth, "/revoke", &format!("token={access}")).await.0, 200);
    assert_eq!(guarded(&auth, &access).await, 401);
}

#[tokio::test]
async fn revoke_subject_ends_all_that_came_before_and_nothing_that_comes_after() {
    let auth = server("api", &MemoryRefreshStore::new(), Users::default()).with_deny_list(MemoryDenyList::new());
    // Many times, as all of it should happen within one second.
    for _ in 0..20 {
        let (old, token) = log_in(&auth, "alice").await;
        let (other, _) = log_in(&auth, "bob").await;
        assert_eq!(guarded(&auth, &old).await, 200);
        assert!(auth.revoke_subject("alice").await.unwrap() >= 1);
        let (new, _) = log_in(&auth, "alice").await;
        assert_eq!(
            [guarded(&auth, &old).await, guarded(&auth, &new).await, guarded(&auth, &other).await],
            [401, 200, 200]
        );
        assert_eq!(refresh(&auth, &token).await.0, 400);
    }
}

#[tokio::test]
async fn a_login_while_the_subject_is_ended_gets_a_503_and_the_next_one_succeeds() {
    let gate = Arc::new([Notify::new(), Notify::new()]);
    let users = Users { gate: Some(Arc::clone(&gate)), renewed: false };
    let log_in = |auth: &AuthorizationServer| {
        let auth = auth.clone();
        tokio::spawn(async move { post(&auth, "/token", "grant_type=password&username=alice&password=right").await })
    };
    let with_refresh_tokens = server("api", &MemoryRefreshStore::new(), users.clone());
    let with_deny_list = AuthorizationServer::new(users, jwt("api")).with_deny_list(MemoryDenyList::new());
    for (auth, by_revocations) in
        [(with_refresh_tokens, false), (with_deny_list.clone(), false), (with_deny_list, true)]
    {
        // The list holds 100 tokens of a subject. After that, it denies the whole subject.
        let revoked = if by_revocations { 101 } else { 0 };
        let mut tokens = Vec::new();
        for _ in 0..revoked {
            gate[1].notify_one();
            tokens.push(self::tokens(&log_in(&auth).await.unwrap().1).0);
            gate[0].notified().await;
        }
        let in_progress = log_in(&auth);
        gate[0].notified().await;
        if by_revocations {
            for token in tokens {
                assert_eq!(post(&auth, "/revoke", &format!("token={token}")).await.0, 200);
            }
        } else {
            assert_eq!(auth.revoke_subject("alice").await.unwrap(), 0);
        }
        gate[1].notify_one();
        let (status, body) = in_progress.await.unwrap();
        assert_eq!((status, &body["error"]), (503, &"temporarily_unavailable".into()), "{body}");
        gate[1].notify_one();
        assert_eq!(log_in(&auth).await.unwrap().0, 200);
        gate[0].notified().await;
    }
}

/// Runs something before it issues a token.
#[derive(Clone)]
struct Interrupted(Jwt, Arc<Mutex<Option<BoxFuture<'static, ()>>>>);

impl TokenIssuer for Interrupted {
    async fn issue(&self, request: TokenRequest) -> Result<IssuedToken, BoxError> {
        let before = self.1.lock().unwrap().take();
        if let Some(before) = before {
            before.await;
        }
        self.0.issue(request).await
    }
}

impl TokenValidator for Interrupted {
    fn validate(&self, token: &str) -> Result<AccessToken, tower_oauth2_password::InvalidToken> {
        self.0.validate(token)
    }
}

#[tokio::test]
async fn a_revocation_during_a_repeated_refresh_wins() {
    let issuer = Interrupted(jwt("api"), Arc::default());
    let tokens = RefreshTokens::new(MemoryRefreshStore::new()).with_grace(Duration::from_secs(60));
    let auth = AuthorizationServer::new(Users::default(), issuer.clone()).with_refresh_tokens(tokens);
    let (_, first) = log_in(&auth, "alice").await;
    let (status, next) = refresh(&auth, &first).await;
    assert_eq!((status, refresh(&auth, &first).await.0), (200, 200), "the lost answer is repeated");
    let (revoking, successor) = (auth.clone(), next["refresh_token"].as_str().unwrap().to_owned());
    *issuer.1.lock().unwrap() = Some(Box::pin(async move {
        assert_eq!(post(&revoking, "/revoke", &format!("token={successor}")).await.0, 200);
    }));
    assert_eq!(refresh(&auth, &first).await.1["error"], "invalid_grant");
}

#[tokio::test]
async fn the_subject_of_an_issuer_without_a_name_is_revoked_all_the_same() {
    // It says nothing of its issuer, and its tokens have one.
    let auth = AuthorizationServer::new(Users::default(), Interrupted(jwt("api"), Arc::default()))
        .with_deny_list(MemoryDenyList::new());
    let (access, _) = log_in(&auth, "alice").await;
    assert_eq!(guarded(&auth, &access).await, 200);
    auth.revoke_subject("alice").await.unwrap();
    assert_eq!(guarded(&auth, &access).await, 401);
}

#[tokio::test]
async fn a_replay_ends_the_family_though_the_deny_list_is_away() {
    struct Away;
    impl DenyList for Away {
        fn deny<'a>(&'a self, _: Denial<'a>, _: Instant) -> StoreFuture<'a, bool> {
            Box::pin(std::future::pending())
        }

        fn is_denied(&self, _: TokenRef<'_>) -> bool {
            false
        }
    }
    let auth = server("api", &MemoryRefreshStore::new(), Users::default())
        .with_deny_list(Away)
        .with_store_budget(Duration::from_millis(50));
    let (_, first) = log_in(&auth, "alice").await;
    let (_, second) = tokens(&refresh(&auth, &first).await.1);
    assert_eq!(refresh(&auth, &first).await.0, 503, "not all of it was done");
    assert_eq!(refresh(&auth, &second).await.1["error"], "invalid_grant");
}

#[tokio::test]
async fn tokens_that_live_for_ever_can_be_revoked() {
    let jwt = jwt("api").with_ttl(Duration::MAX);
    let tokens = RefreshTokens::new(MemoryRefreshStore::new());
    let auth = AuthorizationServer::new(Users::default(), jwt)
        .with_refresh_tokens(tokens)
        .with_deny_list(MemoryDenyList::new())
        .with_verifier_timeout(Duration::MAX)
        .with_clients_timeout(Duration::MAX);
    let (access, token) = log_in(&auth, "alice").await;
    assert_eq!(post(&auth, "/revoke", &format!("token={token}")).await.0, 200);
    assert_eq!(guarded(&auth, &access).await, 401);
    let (access, _) = log_in(&auth, "alice").await;
    assert_eq!(auth.revoke_subject("alice").await.unwrap(), 1);
    assert_eq!(guarded(&auth, &access).await, 401);
}

#[tokio::test]
async fn a_subject_with_many_sessions_loses_its_oldest() {
    let tokens = RefreshTokens::new(MemoryRefreshStore::new().with_capacity(10)).with_sessions_per_subject(3);
    let auth = AuthorizationServer::new(Users::default(), jwt("api")).with_refresh_tokens(tokens);
    let (_, other) = log_in(&auth, "bob").await;
    let mut sessions = Vec::new();
    for _ in 0..20 {
        sessions.push(log_in(&auth, "alice").await.1);
    }
    for (n, token) in sessions.iter().enumerate() {
        assert_eq!(refresh(&auth, token).await.0, if n < 17 { 400 } else { 200 }, "session {n}");
    }
    assert_eq!(refresh(&auth, &other).await.0, 200);
}

#[tokio::test]
async fn what_a_login_established_survives_refreshes_unless_it_is_renewed() {
    for (renewed, tenant) in [(false, "acme"), (true, "other")] {
        let auth = server("api", &MemoryRefreshStore::new(), Users { gate: None, renewed });
        let (access, mut token) = log_in(&auth, "alice").await;
        let login = jwt("api").validate(&access).unwrap();
        assert_eq!(login.claim("tenant"), Some(&"acme".into()));
        for _ in 0..2 {
            let (access, next) = tokens(&refresh(&auth, &token).await.1);
            let refreshed = jwt("api").validate(&access).unwrap();
            assert_eq!(refreshed.claim("tenant"), Some(&tenant.into()));
            assert_eq!(refreshed.claim("role").is_none(), renewed, "null removes a claim");
            assert_eq!(refreshed.claim("amr"), Some(&serde_json::json!(["pwd", "otp"])));
            assert!(login.claim("auth_time").is_some() && refreshed.claim("auth_time") == login.claim("auth_time"));
            assert!(login.session_id().is_some() && refreshed.session_id() == login.session_id());
            token = next;
        }
    }
}

#[tokio::test]
async fn a_login_with_more_claims_than_a_session_keeps_is_a_503() {
    let verifier = |login: Login| async move {
        let length = login.username.parse().unwrap_or_default();
        Ok(Identity::new("alice").with_claim("note", "x".repeat(length)).into())
    };
    let auth = AuthorizationServer::new(verifier, jwt("api"));
    let with = auth.clone().with_refresh_tokens(RefreshTokens::new(MemoryRefreshStore::new()));
    for (auth, length, status) in [(&with, 2_037, 200), (&with, 2_038, 503), (&auth, 2_048, 200)] {
        let login = format!("grant_type=password&username={length}&password=right");
        assert_eq!(post(auth, "/token", &login).await.0, status, "{length}");
    }
}

#[tokio::test]
async fn a_token_names_its_session_where_sessions_can_be_ended() {
    let auth = AuthorizationServer::new(Users::default(), jwt("api"));
    let with_list = auth.clone().with_deny_list(MemoryDenyList::new());
    let with_refresh = server("api", &MemoryRefreshStore::new(), Users::default());
    for (auth, is_named) in [(auth, false), (with_list, true), (with_refresh, true)] {
        let (access, _) = log_in(&auth, "alice").await;
        assert_eq!(jwt("api").validate(&access).unwrap().session_id().is_some(), is_named);
    }
}

#[tokio::test]
async fn a_token_of_an_ended_session_takes_no_room_in_the_deny_list() {
    let list = MemoryDenyList::new();
    let auth = server("api", &MemoryRefreshStore::new(), Users::default()).with_deny_list(list.clone());
    let (access, token) = log_in(&auth, "alice").await;
    for token in [&token, &access] {
        assert_eq!(post(&auth, "/revoke", &format!("token={token}")).await.0, 200);
        assert_eq!((list.len(), guarded(&auth, &access).await), (1, 401));
    }
}

fn session_of(access_token: &str) -> String {
    jwt("api").validate(access_token).unwrap().session_id().unwrap().to_owned()
}

#[tokio::test]
async fn sessions_are_listed_and_ended_one_by_one() {
    let auth = server("api", &MemoryRefreshStore::new(), Users::default()).with_deny_list(MemoryDenyList::new());
    let (phone, phone_token) = log_in(&auth, "alice").await;
    let (laptop, laptop_token) = log_in(&auth, "alice").await;
    let (bob, _) = log_in(&auth, "bob").await;
    let listed = auth.sessions("alice").await.unwrap();
    assert_eq!(listed.len(), 2);
    assert!(listed[0].age <= listed[1].age, "the newest first");
    let ids: Vec<String> = listed.into_iter().map(|session| session.id).collect();
    assert_eq!(session_of(&phone), ids[1]);

    assert!(!auth.end_session("bob", &ids[1]).await.unwrap(), "it is alice's");
    assert!(!auth.end_session("alice", "unknown").await.unwrap());
    assert_eq!(guarded(&auth, &phone).await, 200);
    assert!(auth.end_session("alice", &ids[1]).await.unwrap());
    assert_eq!((guarded(&auth, &phone).await, refresh(&auth, &phone_token).await.0), (401, 400));
    assert_eq!((guarded(&auth, &laptop).await, guarded(&auth, &bob).await), (200, 200));

    assert!(!auth.end_session_of(&Secret::from("no refresh token")).await.unwrap());
    assert!(auth.end_session_of(&Secret::from(laptop_token.as_str())).await.unwrap());
    assert!(!auth.end_session_of(&Secret::from(laptop_token.as_str())).await.unwrap(), "it has ended");
    assert_eq!(guarded(&auth, &laptop).await, 401);
    assert!(auth.sessions("alice").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_password_change_keeps_its_own_session_and_ends_all_others() {
    let auth = server("api", &MemoryRefreshStore::new(), Users::default()).with_deny_list(MemoryDenyList::new());
    let (own, own_token) = log_in(&auth, "alice").await;
    let (other, other_token) = log_in(&auth, "alice").await;
    let (bob, _) = log_in(&auth, "bob").await;
    let own_id = session_of(&own);
    assert_eq!(auth.end_other_sessions("alice", &own_id).await.unwrap(), 1);
    assert_eq!([guarded(&auth, &own).await, guarded(&auth, &other).await, guarded(&auth, &bob).await], [200, 401, 200]);
    assert_eq!((refresh(&auth, &other_token).await.0, refresh(&auth, &own_token).await.0), (400, 200));
    log_in(&auth, "alice").await;
    assert_eq!(auth.end_other_sessions("alice", "ended long ago").await.unwrap(), 2, "there is none to keep");
    assert_eq!(guarded(&auth, &own).await, 401);
}

#[tokio::test]
async fn a_second_try_ends_the_access_tokens_that_the_first_could_not() {
    let list = FailsOnce(MemoryDenyList::new(), Arc::new(AtomicBool::new(true)));
    let auth = server("api", &MemoryRefreshStore::new(), Users::default()).with_deny_list(list);
    let (own, _) = log_in(&auth, "alice").await;
    let (other, _) = log_in(&auth, "alice").await;
    assert_eq!(auth.end_other_sessions("alice", &session_of(&own)).await.unwrap_err().status(), 503);
    assert_eq!(auth.end_other_sessions("alice", &session_of(&own)).await.unwrap(), 1);
    assert_eq!([guarded(&auth, &own).await, guarded(&auth, &other).await], [200, 401]);
}

#[derive(Clone)]
struct FailsOnce(MemoryDenyList, Arc<AtomicBool>);

impl DenyList for FailsOnce {
    fn deny<'a>(&'a self, denial: Denial<'a>, deadline: Instant) -> StoreFuture<'a, bool> {
        let fails = self.1.swap(false, Ordering::Relaxed);
        if fails { Box::pin(async { Err("away".into()) }) } else { self.0.deny(denial, deadline) }
    }

    fn is_denied(&self, token: TokenRef<'_>) -> bool {
        self.0.is_denied(token)
    }
}

#[tokio::test]
async fn without_refresh_tokens_there_are_no_sessions_to_end() {
    let auth = AuthorizationServer::new(Users::default(), jwt("api"));
    assert!(auth.sessions("alice").await.unwrap().is_empty());
    assert!(!auth.end_session("alice", "s").await.unwrap());
    assert_eq!(auth.end_other_sessions("alice", "s").await.unwrap(), 0);
}
