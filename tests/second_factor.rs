//! The second factor: what a login waits for, what ends the wait, and what a client learns meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Request, request::Parts};
use serde_json::{Value, json};
use test_support::oneshot::{guarded, post_form};
use tower_oauth2_password::{
    AttemptLimits, AuthorizationServer, BoxError, Client, EventKind, FactorCode, FactorVerdict, Identity, Jwt, Key,
    Login, RefreshTokens, SecondFactor, SecondFactors, Secret, StaticClients, TokenError, TokenResponse,
    TokenValidator, Verdict, Verifier,
    store::{AttemptLimit, MemoryAttemptStore, MemoryDenyList, MemoryRefreshStore},
};

const OTP: &str = "http://auth0.com/oauth/grant-type/mfa-otp";
const RECOVERY: &str = "http://auth0.com/oauth/grant-type/mfa-recovery-code";

/// Users with the password `right`, who may log in with an address too. Those whose name begins with a capital have no second
/// factor.
#[derive(Clone, Default)]
struct Users {
    disabled: Arc<Mutex<bool>>,
    stamp: Arc<Mutex<String>>,
}

impl Users {
    fn identity(&self, subject: &str) -> Identity {
        let scope = "read write".parse().unwrap();
        Identity::new(subject).with_scope(scope).with_security_stamp(self.stamp.lock().unwrap().clone())
    }
}

impl Verifier for Users {
    async fn verify(&self, login: Login) -> Result<Verdict, BoxError> {
        let subject = login.username.split('@').next().unwrap_or_default();
        let identity = self.identity(subject).with_claim("tenant", "acme").with_session_label("phone");
        let identity = identity.with_session_ttl(Duration::from_secs(7_200));
        Ok(if login.password.expose() == "right" { identity.into() } else { Verdict::Denied })
    }

    async fn verify_subject(&self, subject: &str) -> Result<Verdict, BoxError> {
        Ok(if *self.disabled.lock().unwrap() { Verdict::Denied } else { self.identity(subject).into() })
    }
}

/// The code `123456`, and the recovery code `lost`, whose successor is `next`. Some codes show what a factor may do.
struct Codes;

impl SecondFactor for Codes {
    async fn is_required(&self, user: &Identity) -> Result<bool, BoxError> {
        match user.subject() {
            "broken" => Err("the table of factors is away".into()),
            name => Ok(name.starts_with(char::is_lowercase)),
        }
    }

    async fn verify(&self, subject: &str, code: FactorCode) -> Result<FactorVerdict, BoxError> {
        let accepted =
            |amr, next: Option<&str>| Ok(FactorVerdict::Accepted { amr, recovery_code: next.map(Into::into) });
        match code {
            FactorCode::Otp(otp) => match otp.expose() {
                "123456" if subject != "bob" => accepted("otp", None),
                "654321" if subject == "bob" => accepted("otp", None),
                "away" => Err("the table of factors is away".into()),
                "hangs" => pending().await,
                "panics" => panic!("a factor of the app"),
                "short" => Err(TokenError::invalid_request("The otp has 6 digits").into()),
                _ => Ok(FactorVerdict::Denied),
            },
            FactorCode::Recovery(code) if code.expose() == "lost" => accepted("pin", Some("next")),
            _ => Ok(FactorVerdict::Denied),
        }
    }
}

struct Server {
    auth: AuthorizationServer,
    users: Users,
    /// Seconds, of both stores.
    clock: Arc<AtomicU64>,
}

fn jwt(audience: &str) -> Jwt {
    Jwt::new(Key::hs256([7; 32]).unwrap(), "https://api.example", audience)
}

fn server_with(
    store: &MemoryRefreshStore,
    factors: impl Fn(SecondFactors, MemoryRefreshStore) -> SecondFactors,
) -> Server {
    let (users, clock) = (Users::default(), Arc::new(AtomicU64::new(1)));
    let now = Arc::clone(&clock);
    let store = store.clone().with_clock(move || Duration::from_secs(now.load(Ordering::Relaxed)));
    let now = Arc::clone(&clock);
    let attempts = MemoryAttemptStore::new().with_clock(move || Duration::from_secs(now.load(Ordering::Relaxed)));
    let clients = [Client::public("cli"), Client::public("tv"), Client::confidential("web", "secret")];
    let auth = AuthorizationServer::new(users.clone(), jwt("api"))
        .with_attempt_limits(AttemptLimits::new(attempts, |_: &Parts| None))
        .with_refresh_tokens(RefreshTokens::new(store.clone()))
        .with_deny_list(MemoryDenyList::new())
        .with_clients(StaticClients::new(clients))
        .with_second_factor(factors(SecondFactors::new(Codes, store.clone()), store));
    Server { auth, users, clock }
}

fn server() -> Server {
    server_with(&MemoryRefreshStore::new(), |factors, _| factors)
}

fn trusting() -> Server {
    server_with(&MemoryRefreshStore::new(), |factors, store| {
        factors.with_trusted_devices(store, Duration::from_secs(86_400))
    })
}

async fn post(auth: &AuthorizationServer, body: &str) -> (u16, Value) {
    let (status, _, body) = post_form(auth.token_endpoint().into_service(), Request::post("/token"), body).await;
    (status, body)
}

fn text(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap_or_else(|| panic!("no {name} in {body}")).to_owned()
}

impl Server {
    async fn ask(&self, body: &str) -> (u16, Value) {
        post(&self.auth, body).await
    }

    async fn password(&self, username: &str, more: &str) -> (u16, Value) {
        self.ask(&format!("grant_type=password&username={username}&password=right{more}")).await
    }

    /// The `mfa_token` of a first step.
    async fn first(&self, username: &str, more: &str) -> String {
        let (status, body) = self.password(username, more).await;
        assert_eq!(status, 403, "{body}");
        text(&body, "mfa_token")
    }

    async fn second(&self, token: &str, code: &str) -> (u16, Value) {
        self.ask(&format!("grant_type={OTP}&mfa_token={token}&otp={code}")).await
    }

    async fn recover(&self, token: &str, code: &str) -> (u16, Value) {
        self.ask(&format!("grant_type={RECOVERY}&mfa_token={token}&recovery_code={code}")).await
    }

    /// Ends what the subject has, and lets time pass: a login of the same moment counts as before.
    async fn revoke(&self, subject: &str) {
        self.auth.revoke_subject(subject).await.unwrap();
        self.clock.fetch_add(1, Ordering::Relaxed);
    }

    /// What a refused step says.
    async fn refused(&self, token: &str, code: &str) -> (u16, String) {
        let (status, body) = self.second(token, code).await;
        (status, text(&body, "error"))
    }
}

fn invalid_grant() -> (u16, String) {
    (400, "invalid_grant".to_owned())
}

fn claim(body: &Value, name: &str) -> Value {
    jwt("api").validate(&text(body, "access_token")).unwrap().claim(name).cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_right_password_of_a_user_with_a_second_factor_gets_an_mfa_token() {
    let server = server();
    let (status, body) = server.password("alice", "").await;
    assert_eq!((status, &body["error"]), (403, &json!("mfa_required")), "{body}");
    let members: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["error", "error_description", "mfa_token"]);
    assert_eq!(text(&body, "mfa_token").len(), 64, "an id and 256 bits");
    assert_eq!(server.password("Zoe", "").await.0, 200, "no second factor");
    let guess = |name| format!("grant_type=password&username={name}&password=wrong");
    assert_eq!(server.ask(&guess("alice")).await, server.ask(&guess("Zoe")).await, "a wrong password tells nothing");
    let grants = server.auth.metadata().unwrap().to_json()["grant_types_supported"].clone();
    assert_eq!(grants, json!(["password", "refresh_token", OTP, RECOVERY]));
}

#[tokio::test]
async fn a_code_ends_the_login_that_both_steps_describe() {
    let server = server();
    let token = server.first("alice", "&scope=read&client_id=cli").await;
    let (status, body) = server.second(&token, "123456&client_id=cli").await;
    assert_eq!((status, &body["scope"]), (200, &json!("read")), "{body}");
    assert_eq!([claim(&body, "amr"), claim(&body, "tenant")], [json!(["pwd", "otp", "mfa"]), json!("acme")]);
    assert!(claim(&body, "auth_time").as_u64().is_some());
    assert_eq!(server.auth.sessions("alice").await.unwrap()[0].label.as_deref(), Some("phone"));
    let refresh = format!("grant_type=refresh_token&client_id=cli&refresh_token={}", text(&body, "refresh_token"));
    let (_, refreshed) = server.ask(&refresh).await;
    assert_eq!([claim(&refreshed, "amr"), claim(&refreshed, "tenant")], [json!(["pwd", "otp", "mfa"]), json!("acme")]);
    assert_eq!(claim(&refreshed, "auth_time"), claim(&body, "auth_time"));
    server.clock.fetch_add(7_200, Ordering::Relaxed);
    let refresh = format!("grant_type=refresh_token&client_id=cli&refresh_token={}", text(&refreshed, "refresh_token"));
    assert_eq!(server.ask(&refresh).await.0, 400, "the lifetime that the verifier gave");
}

#[tokio::test]
async fn a_recovery_code_ends_the_login_and_its_successor_comes_back() {
    let server = server();
    let token = server.first("alice", "").await;
    let (status, body) = server.recover(&token, "lost").await;
    assert_eq!((status, &body["recovery_code"]), (200, &json!("next")), "{body}");
    assert_eq!(claim(&body, "amr"), json!(["pwd", "pin", "mfa"]));
}

#[tokio::test]
async fn an_mfa_token_is_used_up_by_success_and_by_nothing_else() {
    let server = server();
    let token = server.first("alice", "").await;
    for refused in ["000000", "short", "12 34", "\u{661}23456", &"1".repeat(129), "away", "panics", ""] {
        assert_ne!(server.second(&token, refused).await.0, 200, "{refused}");
    }
    assert_eq!(server.second(&token, "123456").await.0, 200);
    assert_eq!(server.refused(&token, "123456").await, invalid_grant());
}

#[tokio::test]
async fn of_two_right_codes_at_once_one_ends_the_login() {
    let server = server();
    for _ in 0..20 {
        let token = server.first("alice", "").await;
        let (one, other) = tokio::join!(server.second(&token, "123456"), server.recover(&token, "lost"));
        let mut both = [one.0, other.0];
        both.sort_unstable();
        assert_eq!(both, [200, 400]);
    }
}

#[tokio::test]
async fn an_mfa_token_is_bound_to_client_server_and_time() {
    let store = MemoryRefreshStore::new();
    let server = server_with(&store, |factors, _| factors);
    let token = server.first("alice", "&client_id=cli").await;
    for client in ["", "&client_id=tv", "&client_id=web&client_secret=secret"] {
        assert_eq!(server.refused(&token, &format!("123456{client}")).await, invalid_grant(), "{client}");
    }
    let now = Arc::clone(&server.clock);
    let store = store.with_clock(move || Duration::from_secs(now.load(Ordering::Relaxed)));
    let another = server.first("alice", "&client_id=cli").await;
    for (audience, token, status) in [("staff", &token, 400), ("api", &another, 200)] {
        let other = AuthorizationServer::new(server.users.clone(), jwt(audience))
            .with_clients(StaticClients::new([Client::public("cli")]))
            .with_second_factor(SecondFactors::new(Codes, store.clone()));
        let form = format!("grant_type={OTP}&mfa_token={token}&otp=123456&client_id=cli");
        assert_eq!(post(&other, &form).await.0, status, "a server with the audience {audience}");
    }
    server.clock.fetch_add(299, Ordering::Relaxed);
    assert_eq!(server.second(&token, "123456&client_id=cli").await.0, 200);
    let token = server.first("alice", "").await;
    server.clock.fetch_add(300, Ordering::Relaxed);
    assert_eq!(server.refused(&token, "123456").await, invalid_grant(), "five minutes");
}

#[tokio::test]
async fn a_token_that_is_cut_flipped_or_of_another_kind_is_no_mfa_token() {
    let server = trusting();
    let token = server.first("alice", "").await;
    let mut flipped = token.clone().into_bytes();
    flipped[40] ^= 1;
    let (_, login) = server.password("Zoe", "").await;
    for wrong in [
        &token[..63],
        &format!("{token}A"),
        &String::from_utf8(flipped).unwrap(),
        "%00",
        &text(&login, "refresh_token"),
        &text(&login, "access_token"),
    ] {
        assert_eq!(server.refused(wrong, "123456").await, invalid_grant(), "{wrong}");
    }
    let as_refresh_token = format!("grant_type=refresh_token&refresh_token={token}");
    assert_eq!(server.ask(&as_refresh_token).await.1["error"], "invalid_grant");
    assert_eq!(server.password("alice", &format!("&device_token={token}")).await.0, 403, "no device token either");
    assert_eq!(guarded(server.auth.guard(), &token).await, 401);
    assert_eq!(server.second(&token, "123456").await.0, 200, "and nothing of it was spent");
}

#[tokio::test]
async fn another_users_code_is_wrong() {
    let server = server();
    let token = server.first("alice", "").await;
    assert_eq!(server.refused(&token, "654321").await, invalid_grant());
    assert_eq!(server.second(&token, "123456").await.0, 200);
}

#[tokio::test]
async fn five_wrong_codes_block_the_subject_whatever_the_token() {
    let server = server();
    for _ in 0..5 {
        let token = server.first("alice", "").await;
        assert_eq!(server.refused(&token, "000000").await, invalid_grant());
    }
    let token = server.first("alice", "").await;
    assert_eq!(server.second(&token, "123456").await.0, 429, "the right code, too");
    assert_eq!(server.recover(&token, "lost").await.0, 429);
    let other = server.first("carol", "").await;
    assert_eq!(server.second(&other, "123456").await.0, 200);
    server.clock.fetch_add(300, Ordering::Relaxed);
    let token = server.first("alice", "").await;
    assert_eq!(server.second(&token, "123456").await.0, 200);
}

#[tokio::test]
async fn wrong_codes_count_without_attempt_limits_too() {
    let auth = AuthorizationServer::new(Users::default(), jwt("api"))
        .with_second_factor(SecondFactors::new(Codes, MemoryRefreshStore::new()));
    let (_, body) = post(&auth, "grant_type=password&username=alice&password=right").await;
    let token = text(&body, "mfa_token");
    let statuses = [400, 400, 400, 400, 400, 429];
    for (n, status) in statuses.into_iter().enumerate() {
        assert_eq!(post(&auth, &format!("grant_type={OTP}&mfa_token={token}&otp=00000{n}")).await.0, status);
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_factor_is_a_503_and_never_counts() {
    let server = server();
    assert_eq!(server.password("broken", "").await.0, 503);
    let token = server.first("alice", "").await;
    for _ in 0..2 {
        for outage in ["away", "hangs", "panics"] {
            assert_eq!(server.second(&token, outage).await.0, 503, "{outage}");
        }
        assert_eq!(server.second(&token, "short").await.1["error_description"], "The otp has 6 digits");
    }
    assert_eq!(server.second(&token, "123456").await.0, 200);
}

#[tokio::test]
async fn only_the_whole_login_clears_the_failures_of_the_password() {
    let twice = AttemptLimit { failures: 2, window: Duration::from_secs(600) };
    let limits = AttemptLimits::new(MemoryAttemptStore::new(), |_: &Parts| None).with_account_and_address_limit(twice);
    let server = server();
    let server = Server { auth: server.auth.clone().with_attempt_limits(limits), ..server };
    let guess = "grant_type=password&username=alice&password=wrong";
    assert_eq!(server.ask(guess).await.0, 400);
    let token = server.first("alice", "").await;
    assert_eq!(server.second(&token, "123456").await.0, 200);
    // Cleared, so that there are two guesses again; the first step alone clears nothing.
    assert_eq!(server.ask(guess).await.0, 400);
    server.first("alice", "").await;
    assert_eq!(server.ask(guess).await.0, 400);
    assert_eq!(server.password("alice", "").await.0, 429);
}

#[tokio::test]
async fn a_user_who_was_disabled_changed_or_revoked_cannot_go_on() {
    let server = server();
    let token = server.first("alice", "").await;
    *server.users.disabled.lock().unwrap() = true;
    assert_eq!(server.refused(&token, "123456").await, invalid_grant());
    *server.users.disabled.lock().unwrap() = false;
    "new password".clone_into(&mut server.users.stamp.lock().unwrap());
    assert_eq!(server.refused(&token, "123456").await, invalid_grant());

    let token = server.first("alice", "").await;
    server.revoke("alice").await;
    assert_eq!(server.refused(&token, "123456").await, invalid_grant());
    let (_, login) = server.second(&server.first("alice", "").await, "123456").await;
    let token = server.first("alice", "").await;
    let kept = jwt("api").validate(&text(&login, "access_token")).unwrap().session_id().unwrap().to_owned();
    server.auth.end_other_sessions("alice", &kept).await.unwrap();
    assert_eq!(server.refused(&token, "123456").await, invalid_grant());
}

#[tokio::test]
async fn at_most_ten_logins_of_a_subject_wait() {
    let server = server();
    let mut tokens = Vec::new();
    for _ in 0..11 {
        tokens.push(server.first("alice", "").await);
        server.clock.fetch_add(1, Ordering::Relaxed);
    }
    assert_eq!(server.refused(&tokens[0], "123456").await, invalid_grant(), "the oldest");
    assert_eq!(server.second(&tokens[1], "123456").await.0, 200);
    assert_eq!(server.auth.sessions("alice").await.unwrap().len(), 1, "those that wait are no sessions");
}

#[tokio::test]
async fn the_second_step_may_narrow_the_scope_and_not_widen_it() {
    let server = server();
    let token = server.first("alice", "&scope=read").await;
    let (status, body) = server.second(&token, "123456&scope=write").await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid_scope")));
    assert_eq!(server.second(&token, "123456").await.1["scope"], "read");
    let token = server.first("alice", "").await;
    assert_eq!(server.second(&token, "123456&scope=write").await.1["scope"], "write");
}

#[tokio::test]
async fn a_scope_that_the_user_may_not_have_costs_no_code() {
    let server = server();
    for scope in ["admin", &"x".repeat(3_000)] {
        let (status, body) = server.password("alice", &format!("&scope={scope}")).await;
        assert_eq!((status, &body["error"]), (400, &json!("invalid_scope")), "{body}");
    }
    let token = server.first("alice", "").await;
    assert_eq!(server.recover(&token, "lost&scope=admin").await.1["error"], "invalid_scope");
    assert_eq!(server.recover(&token, "lost").await.1["recovery_code"], "next", "the code is still there");
}

#[tokio::test]
async fn the_parameters_of_the_second_step_follow_the_rules_of_the_form() {
    let server = server();
    let token = server.first("alice", "").await;
    let service = || server.auth.token_endpoint().into_service();
    for (path, form) in [
        ("/token", format!("grant_type={OTP}&otp=123456")),
        ("/token", format!("grant_type={OTP}&mfa_token={token}")),
        ("/token", format!("grant_type={OTP}&mfa_token={token}&recovery_code=lost")),
        ("/token", format!("grant_type={OTP}&mfa_token={token}&otp=123456&otp=123456")),
        ("/token", format!("grant_type={OTP}&mfa_token={token}&mfa_token={token}&otp=123456")),
        ("/token", format!("grant_type={OTP}&mfa_token={token}&otp=%FF")),
        ("/token?otp=123456", format!("grant_type={OTP}&mfa_token={token}&otp=123456")),
        ("/token?mfa_token=x", format!("grant_type={OTP}&mfa_token={token}&otp=123456")),
        ("/token?recovery_code=x", format!("grant_type={OTP}&mfa_token={token}&otp=123456")),
        ("/token?device_token=x", format!("grant_type={OTP}&mfa_token={token}&otp=123456")),
    ] {
        let (status, _, body) = post_form(service(), Request::post(path), &form).await;
        assert_eq!((status, &body["error"]), (400, &json!("invalid_request")), "{path} {form}: {body}");
    }
    let codes = ["0".repeat(128), "0".repeat(129)].map(|code| format!("grant_type={OTP}&mfa_token={token}&otp={code}"));
    assert_eq!(server.ask(&codes[0]).await.1["error"], "invalid_grant", "a wrong code");
    assert_eq!(server.ask(&codes[1]).await.1["error"], "invalid_request", "too long for a code");
    assert_eq!(server.second(&token, "123456").await.0, 200);
}

#[tokio::test]
async fn without_a_second_factor_its_grants_are_unknown() {
    let auth = AuthorizationServer::new(Users::default(), jwt("api"));
    assert_eq!(post(&auth, "grant_type=password&username=alice&password=right").await.0, 200);
    for grant in [OTP, RECOVERY] {
        assert_eq!(post(&auth, &format!("grant_type={grant}")).await.1["error"], "unsupported_grant_type");
    }
}

#[tokio::test]
async fn a_client_that_may_not_use_the_grant_is_told_so() {
    let server = server();
    let clients = StaticClients::new([Client::public("cli").with_grants(["password"])]);
    let server = Server { auth: server.auth.clone().with_clients(clients), ..server };
    let token = server.first("alice", "&client_id=cli").await;
    let refused = server.refused(&token, "123456&client_id=cli").await;
    assert_eq!(refused, (400, "unauthorized_client".to_owned()));
}

/// A login with a device token.
async fn trust(server: &Server, more: &str) -> String {
    let token = server.first("alice", more).await;
    let (status, body) = server.second(&token, &format!("123456&trust_device=true{more}")).await;
    assert_eq!(status, 200, "{body}");
    text(&body, "device_token")
}

#[tokio::test]
async fn an_api_may_render_the_tokens_of_the_second_step_its_own_way() {
    let server = trusting();
    let auth = server.auth.clone().with_token_response(|response: &TokenResponse, _: &Parts| {
        let [next, device] = [response.recovery_code(), response.device_token()].map(|own| own.map(Secret::expose));
        http::Response::new(json!({ "next": next, "device": device }).to_string().into())
    });
    let server = Server { auth, ..server };
    let token = server.first("alice", "").await;
    let (_, body) = server.recover(&token, "lost&trust_device=true").await;
    assert_eq!(body["next"], "next");
    let device = text(&body, "device");
    assert_eq!(
        server.password("alice", &format!("&device_token={device}")).await.1,
        json!({ "next": null, "device": null })
    );
}

#[tokio::test]
async fn a_trusted_device_needs_no_second_step_for_a_while() {
    let server = trusting();
    let device = trust(&server, "").await;
    let (status, body) = server.password("alice", &format!("&device_token={device}")).await;
    assert_eq!((status, claim(&body, "amr")), (200, Value::Null), "one factor, and no claim of two");
    assert_eq!(server.password("alice", &format!("&device_token={device}")).await.0, 200, "more than once");
    let wrong = format!("grant_type=password&username=alice&password=wrong&device_token={device}");
    assert_eq!(server.ask(&wrong).await.1["error"], "invalid_grant", "it is no password");
    server.clock.fetch_add(86_400, Ordering::Relaxed);
    assert_eq!(server.password("alice", &format!("&device_token={device}")).await.0, 403);
}

#[tokio::test]
async fn a_device_token_is_bound_to_subject_client_and_stamp_and_ends_with_the_subject() {
    let server = trusting();
    let device = trust(&server, "&client_id=cli").await;
    let with = |name: &'static str, more: &str| {
        format!("grant_type=password&username={name}&password=right&device_token={device}{more}")
    };
    for (why, form) in [("client", with("alice", "&client_id=tv")), ("subject", with("carol", "&client_id=cli"))] {
        assert_eq!(server.ask(&form).await.0, 403, "{why}");
    }
    assert_eq!(server.ask(&with("alice", "&client_id=cli")).await.0, 200);
    "new password".clone_into(&mut server.users.stamp.lock().unwrap());
    assert_eq!(server.ask(&with("alice", "&client_id=cli")).await.0, 403, "the stamp");
    let device = trust(&server, "").await;
    server.revoke("alice").await;
    assert_eq!(server.password("alice", &format!("&device_token={device}")).await.0, 403, "revoked");
}

#[tokio::test]
async fn no_device_is_trusted_unless_server_and_client_ask_for_it() {
    for (server, wish) in [(server(), "&trust_device=true"), (trusting(), ""), (trusting(), "&trust_device=false")] {
        let token = server.first("alice", "").await;
        let (status, body) = server.second(&token, &format!("123456{wish}")).await;
        assert_eq!((status, &body["device_token"]), (200, &Value::Null), "{wish}");
    }
}

#[tokio::test]
async fn a_trust_device_that_is_neither_true_nor_false_spends_nothing() {
    let server = trusting();
    let token = server.first("alice", "").await;
    for wish in ["yes", "1", "True", "true%20", "tru%C3%A9"] {
        // Five wrong codes would block the right one.
        for code in ["000000", "123456"] {
            let (status, body) = server.second(&token, &format!("{code}&trust_device={wish}")).await;
            assert_eq!((status, &body["error"]), (400, &json!("invalid_request")), "{wish}: {body}");
            assert_eq!(body["error_description"], "trust_device is neither true nor false");
        }
    }
    let (status, body) = server.second(&token, "123456&trust_device=").await;
    assert_eq!((status, &body["device_token"]), (200, &Value::Null), "no value is no parameter");
}

#[tokio::test]
async fn a_device_token_that_cannot_be_one_is_refused_before_the_password() {
    let server = trusting();
    let device = trust(&server, "").await;
    for malformed in ["x", "%00", "a+b", &device[..63], &format!("{device}A"), &format!("{}%C3%A9", &device[..62])] {
        // Wrong passwords would count, and tell something.
        for form in ["username=alice&password=right", "username=alice&password=wrong", "username=nobody&password=x"] {
            let (status, body) = server.ask(&format!("grant_type=password&{form}&device_token={malformed}")).await;
            assert_eq!((status, &body["error"]), (400, &json!("invalid_request")), "{malformed}: {body}");
            assert_eq!(body["error_description"], "The device_token is malformed");
        }
    }
    assert_eq!(server.password("alice", &format!("&device_token={device}")).await.0, 200);
    let unknown = "A".repeat(64);
    assert_eq!(server.password("alice", &format!("&device_token={unknown}")).await.0, 403, "it might have expired");
    assert_eq!(server.password("alice", "&device_token=").await.0, 403, "no value is no parameter");
}

#[tokio::test]
async fn a_server_without_trusted_devices_ignores_their_parameters() {
    let server = server();
    let token = server.first("alice", "&device_token=x").await;
    assert_eq!(server.second(&token, "123456&trust_device=maybe&device_token=x").await.0, 200);
}

#[tokio::test]
async fn each_step_is_audited() {
    let server = server();
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let auth = server.auth.clone().with_event_handler(move |event| {
        sender.send(event).unwrap();
        async {}
    });
    let server = Server { auth, ..server };
    let token = server.first("alice@example.com", "&client_id=cli").await;
    server.second(&token, "000000&client_id=cli").await;
    server.second(&token, "123456&client_id=cli").await;
    for kind in [EventKind::MfaRequired, EventKind::MfaDenied, EventKind::Login] {
        let event = events.recv().await.unwrap();
        let (subject, client_id) = (event.subject.as_deref(), event.client_id.as_deref());
        assert_eq!((event.kind, subject, client_id), (kind, Some("alice"), Some("cli")));
    }
}

#[tokio::test]
async fn a_verifier_that_knows_no_subjects_refuses_the_second_step() {
    let auth =
        AuthorizationServer::new(|login: Login| async move { Ok(Identity::new(login.username).into()) }, jwt("api"))
            .with_second_factor(SecondFactors::new(Codes, MemoryRefreshStore::new()));
    let (_, body) = post(&auth, "grant_type=password&username=alice&password=right").await;
    let form = format!("grant_type={OTP}&mfa_token={}&otp=123456", text(&body, "mfa_token"));
    assert_eq!(post(&auth, &form).await.1["error"], "invalid_grant");
}

#[tokio::test]
async fn a_revoked_device_token_and_mfa_token_are_over() {
    let server = trusting();
    let device = trust(&server, "").await;
    let waiting = server.first("alice", "").await;
    for token in [&device, &waiting] {
        let revocation = server.auth.revocation_endpoint().into_service();
        let (status, ..) = post_form(revocation, Request::post("/revoke"), &format!("token={token}")).await;
        assert_eq!(status, 200);
    }
    assert_eq!(server.password("alice", &format!("&device_token={device}")).await.0, 403);
    assert_eq!(server.refused(&waiting, "123456").await, invalid_grant());
}

#[tokio::test(start_paused = true)]
async fn the_second_step_leaves_the_slow_down_of_the_account() {
    let twice = AttemptLimit { failures: 2, window: Duration::from_secs(600) };
    let limits = AttemptLimits::new(MemoryAttemptStore::new(), |_: &Parts| None);
    let limits = limits.with_account_slowdown(twice, Duration::from_secs(5));
    let server = server();
    let server = Server { auth: server.auth.clone().with_attempt_limits(limits), ..server };
    for _ in 0..2 {
        server.ask("grant_type=password&username=alice&password=wrong").await;
    }
    let took = async || {
        let begun = tokio::time::Instant::now();
        let token = server.first("alice", "").await;
        assert_eq!(server.second(&token, "123456").await.0, 200);
        begun.elapsed()
    };
    assert!(took().await >= Duration::from_secs(5));
    assert!(took().await >= Duration::from_secs(5), "a delayed login clears nothing");
}
