//! Clients that keep their session in a cookie: what the browser gets, whose requests count, and what ends it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, request::Parts};
use http_body_util::Full;
use serde_json::{Value, json};
use test_support::oneshot::post_form;
use tower::{Layer, ServiceExt, service_fn};
use tower_oauth2_password::{
    AuthorizationServer, BoxError, Client, Event, EventKind, FactorCode, FactorVerdict, GrantRequest, Identity, Jwt,
    Key, Login, RefreshTokens, SecondFactor, SecondFactors, StaticClients, TokenError, TokenResponse, Verdict,
    Verifier,
    store::{
        Family, FamilyId, MemoryDenyList, MemoryRefreshStore, Previous, RefreshStore, Rotation, SecretHash,
        StoreFuture, SubjectRef,
    },
};

const OTP: &str = "http://auth0.com/oauth/grant-type/mfa-otp";
const PAGE: &[(&str, &str)] = &[("sec-fetch-site", "same-origin"), ("origin", "https://api.example")];
const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=";
const CLEARED: &str = "__Host-refresh_token=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0";

/// Users with the password `right`. "Remember me" is a session of 30 days.
#[derive(Clone, Default)]
struct Users {
    asked: Arc<AtomicUsize>,
}

impl Verifier for Users {
    async fn verify(&self, login: Login) -> Result<Verdict, BoxError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let identity = Identity::new(&login.username).with_scope("read write".parse()?);
        let month = Duration::from_secs(30 * 86_400);
        let identity = if login.parameter("remember").is_some() { identity.with_session_ttl(month) } else { identity };
        let identity = if login.username == "guest" { identity.without_refresh_token() } else { identity };
        Ok(if login.password.expose() == "right" { identity.into() } else { Verdict::Denied })
    }

    async fn verify_subject(&self, subject: &str) -> Result<Verdict, BoxError> {
        match subject {
            "gone" => Ok(Verdict::Denied),
            "broken" => Err("the table of users is away".into()),
            _ => Ok(Identity::new(subject).with_scope("read write".parse()?).into()),
        }
    }
}

/// Carol's.
struct Codes;

impl SecondFactor for Codes {
    async fn is_required(&self, user: &Identity) -> Result<bool, BoxError> {
        Ok(user.subject() == "carol")
    }

    async fn verify(&self, _: &str, code: FactorCode) -> Result<FactorVerdict, BoxError> {
        let right = matches!(code, FactorCode::Otp(otp) if otp.expose() == "123456");
        Ok(if right { FactorVerdict::Accepted { amr: "otp", recovery_code: None } } else { FactorVerdict::Denied })
    }
}

async fn by_code(request: GrantRequest) -> Result<Verdict, BoxError> {
    let right = request.required("code")?.expose() == "right";
    Ok(if right { Identity::new("bob").into() } else { Verdict::Denied })
}

struct Server {
    auth: AuthorizationServer,
    users: Users,
    /// Seconds, of the store.
    clock: Arc<AtomicU64>,
}

/// An answer, and the cookies that it sets.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    body: Value,
    cookies: Vec<String>,
}

impl Answer {
    /// The token in the one cookie that is set.
    fn token(&self) -> String {
        let [cookie] = self.cookies.as_slice() else { panic!("not one cookie: {self:?}") };
        cookie.strip_prefix("__Host-refresh_token=").unwrap().split_once(';').unwrap().0.to_owned()
    }

    fn max_age(&self) -> u64 {
        self.cookies[0].split_once(ATTRIBUTES).unwrap().1.parse().unwrap()
    }

    /// The status and the code of an error that leaves the cookie as it is.
    fn refusal(&self) -> (u16, &str) {
        assert!(self.cookies.is_empty(), "{self:?}");
        (self.status, self.body["error"].as_str().unwrap_or_default())
    }
}

fn server_with(change: impl FnOnce(RefreshTokens) -> RefreshTokens) -> Server {
    let (users, clock) = (Users::default(), Arc::new(AtomicU64::new(1)));
    let now = Arc::clone(&clock);
    let store = MemoryRefreshStore::new().with_clock(move || Duration::from_secs(now.load(Ordering::Relaxed)));
    let jwt = Jwt::new(Key::hs256([7; 32]).unwrap(), "https://api.example", "api");
    let clients = [
        Client::public("spa").with_cookie(),
        Client::public("other-spa").with_cookie(),
        Client::confidential("shop", "secret").with_cookie(),
        Client::public("cli"),
    ];
    let auth = AuthorizationServer::new(users.clone(), jwt)
        .with_refresh_tokens(change(RefreshTokens::new(store.clone())))
        .with_deny_list(MemoryDenyList::new())
        .with_clients(StaticClients::new(clients))
        .with_login_parameter("remember")
        .unwrap()
        .with_extension_grant("urn:example:code", ["code"], by_code)
        .unwrap()
        .with_second_factor(SecondFactors::new(Codes, store));
    Server { auth, users, clock }
}

fn server() -> Server {
    server_with(|tokens| tokens.with_cookie(["https://app.api.example"]).unwrap())
}

fn cookies(headers: &HeaderMap) -> Vec<String> {
    headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

impl Server {
    async fn post(&self, path: &str, headers: &[(&str, &str)], form: &str) -> Answer {
        let request = headers.iter().fold(Request::post(path), |request, (name, value)| request.header(*name, *value));
        let (status, headers, body) = post_form(self.auth.endpoints().into_service(), request, form).await;
        Answer { status, body, cookies: cookies(&headers) }
    }

    /// A request of the page, with this cookie header.
    async fn page(&self, path: &str, cookie: &str, form: &str) -> Answer {
        self.post(path, &[PAGE, &[("cookie", cookie)]].concat(), &format!("client_id=spa&{form}")).await
    }

    async fn log_in(&self, username: &str, more: &str) -> Answer {
        self.page("/token", "theme=dark", &format!("grant_type=password&username={username}&password=right{more}"))
            .await
    }

    async fn refresh(&self, token: &str) -> Answer {
        self.page("/token", &cookie(token), "grant_type=refresh_token").await
    }

    fn pass(&self, seconds: u64) {
        self.clock.fetch_add(seconds, Ordering::Relaxed);
    }
}

fn cookie(token: &str) -> String {
    format!("theme=dark; __Host-refresh_token={token}; lang=en")
}

#[tokio::test]
async fn the_refresh_token_is_in_the_cookie_and_nowhere_else() {
    let server = server();
    let login = server.log_in("alice", "").await;
    let members: Vec<_> = login.body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!((login.status, members), (200, vec!["access_token", "expires_in", "scope", "token_type"]));
    let first = login.token();
    assert_eq!(first.len(), 64);
    assert_eq!(login.cookies, [format!("__Host-refresh_token={first}; {ATTRIBUTES}86400")]);

    let refreshed = server.refresh(&first).await;
    let second = refreshed.token();
    assert_eq!((refreshed.status, &refreshed.body["refresh_token"]), (200, &Value::Null));
    assert_ne!(first, second, "rotation replaces the cookie");
    assert_eq!(server.refresh(&second).await.status, 200);

    let form = "client_id=spa&grant_type=password&username=alice&password=right";
    let request = PAGE.iter().fold(Request::post("/token"), |request, (name, value)| request.header(*name, *value));
    let (_, headers, _) = post_form(server.auth.token_endpoint().into_service(), request, form).await;
    assert!(headers["set-cookie"].is_sensitive(), "no log and no table of HPACK has it");
}

#[tokio::test]
async fn other_clients_neither_get_nor_send_a_cookie_and_need_no_origin() {
    let server = server();
    for client in ["", "&client_id=cli"] {
        let token = |answer: &Answer| answer.body["refresh_token"].as_str().unwrap().to_owned();
        let login = format!("grant_type=password&username=alice&password=right{client}");
        let login = server.post("/token", &[("cookie", "__Host-refresh_token=x")], &login).await;
        assert_eq!(login.refusal(), (200, ""), "{client}");
        let sent = cookie(&token(&login));
        let sent = [("cookie", &*sent), ("sec-fetch-site", "cross-site")];
        let missing = server.post("/token", &sent, &format!("grant_type=refresh_token{client}")).await;
        assert_eq!(missing.body["error_description"], "The parameter refresh_token is missing");
        assert_eq!(server.post("/revoke", &sent, client).await.refusal(), (400, "invalid_request"));

        let refresh = format!("grant_type=refresh_token&refresh_token={}{client}", token(&login));
        let refreshed = server.post("/token", &sent, &refresh).await;
        assert_eq!(refreshed.refusal(), (200, ""));
        let revoke = format!("token={}{client}", token(&refreshed));
        assert_eq!(server.post("/token", &sent, &refresh).await.refusal(), (400, "invalid_grant"), "no grace period");
        assert_eq!(server.post("/revoke", &sent, &revoke).await.refusal(), (200, ""));
    }
}

#[tokio::test]
async fn two_tabs_that_refresh_at_once_both_go_on() {
    for server in [server(), server_with(|tokens| tokens.with_cookie([]).unwrap().with_grace(Duration::ZERO))] {
        let mut token = server.log_in("alice", "").await.token();
        for _ in 0..20 {
            let (one, other) = tokio::join!(server.refresh(&token), server.refresh(&token));
            assert_eq!([one.status, other.status], [200, 200], "{one:?} {other:?}");
            assert_eq!(one.token(), other.token(), "the browser has one cookie");
            token = one.token();
            server.pass(11);
        }
        server.refresh(&token).await.token();
        server.pass(10);
        assert_eq!(server.refresh(&token).await.status, 200, "ten seconds later");
        server.pass(1);
        assert_eq!(server.refresh(&token).await.status, 400);
    }
    let server = server_with(|tokens| tokens.with_grace(Duration::from_secs(2)).with_cookie([]).unwrap());
    let token = server.log_in("alice", "").await.token();
    server.refresh(&token).await.token();
    server.pass(3);
    assert_eq!(server.refresh(&token).await.status, 400, "a grace period of one's own");
}

#[tokio::test]
async fn a_late_request_of_one_of_many_tabs_ends_no_session() {
    let server = server();
    let old = server.log_in("alice", "").await.token();
    let new = server.refresh(&old).await.token();
    for _ in 0..5 {
        let refreshed = server.refresh(&new).await;
        assert_eq!((refreshed.status, refreshed.token()), (200, new.clone()), "it rotated a moment ago");
        assert_eq!(server.refresh(&old).await.token(), new, "a request that was on its way");
        server.pass(2);
    }
    server.pass(1);
    let newest = server.refresh(&new).await.token();
    assert_ne!(newest, new, "rotated again");
    assert_eq!(server.refresh(&old).await.cookies, [CLEARED]);
}

#[tokio::test]
async fn only_a_replay_that_ends_the_session_clears_the_cookie() {
    let server = server();
    let first = server.log_in("alice", "").await.token();
    let second = server.refresh(&first).await.token();
    server.pass(11);
    let scope = server.page("/token", &cookie(&second), "grant_type=refresh_token&scope=admin").await;
    assert_eq!(scope.refusal(), (400, "invalid_scope"));
    let third = server.refresh(&second).await.token();
    let replay = server.refresh(&first).await;
    assert_eq!((replay.status, &replay.body["error"]), (400, &json!("invalid_grant")));
    assert_eq!(replay.cookies, [CLEARED]);
    assert_eq!(server.refresh(&third).await.refusal(), (400, "invalid_grant"), "it has ended");

    for (user, refusal) in [("gone", (400, "invalid_grant")), ("broken", (503, "temporarily_unavailable"))] {
        let token = server.log_in(user, "").await.token();
        assert_eq!(server.refresh(&token).await.refusal(), refusal, "{user}");
    }
    let expired = server.log_in("alice", "").await.token();
    server.pass(86_401);
    assert_eq!(server.refresh(&expired).await.refusal(), (400, "invalid_grant"));
}

#[tokio::test]
async fn an_old_token_in_the_body_ends_the_session_and_leaves_the_cookie() {
    let server = server();
    let first = server.log_in("alice", "").await.token();
    let second = server.refresh(&first).await.token();
    server.pass(11);
    server.refresh(&second).await.token();
    let replay = server.page("/token", "theme=dark", &format!("grant_type=refresh_token&refresh_token={first}")).await;
    assert_eq!(replay.refusal(), (400, "invalid_grant"));
}

#[tokio::test]
async fn a_token_of_earlier_days_in_the_body_moves_to_the_cookie() {
    let server = server();
    let token = server.log_in("alice", "").await.token();
    let moved = server.page("/token", "theme=dark", &format!("grant_type=refresh_token&refresh_token={token}")).await;
    assert_eq!((moved.status, &moved.body["refresh_token"]), (200, &Value::Null));
    assert_eq!(server.refresh(&moved.token()).await.status, 200);
}

#[tokio::test]
async fn revocation_ends_the_session_of_the_cookie_and_clears_it() {
    let server = server();
    let token = server.log_in("alice", "").await.token();
    let sent = cookie(&token);
    let elsewhere = [PAGE, &[("cookie", &*sent)]].concat();
    let other = server.post("/revoke", &elsewhere, "client_id=other-spa").await;
    assert_eq!(other.refusal(), (400, "invalid_grant"), "the session of another client");
    let both = server.page("/revoke", &cookie(&token), &format!("token={token}")).await;
    assert_eq!(both.refusal(), (400, "invalid_request"));
    assert_eq!(server.auth.sessions("alice").await.unwrap().len(), 1);

    let ended = server.page("/revoke", &cookie(&token), "token_type_hint=refresh_token").await;
    assert_eq!((ended.status, &ended.body, ended.cookies), (200, &json!({}), vec![CLEARED.to_owned()]));
    assert_eq!(server.auth.sessions("alice").await.unwrap().len(), 0);
    assert_eq!(server.refresh(&token).await.refusal(), (400, "invalid_grant"));
    assert_eq!(server.page("/revoke", &cookie(&token), "").await.cookies, [CLEARED], "an unknown one is a 200, too");
    assert_eq!(server.page("/revoke", "theme=dark", "").await.refusal(), (400, "invalid_request"));

    let login = server.log_in("alice", "").await;
    let access = format!("token={}", login.body["access_token"].as_str().unwrap());
    assert_eq!(server.page("/revoke", "theme=dark", &access).await.refusal(), (200, ""), "the session goes on");
}

#[tokio::test]
async fn a_login_ends_the_session_of_the_cookie_that_it_replaces() {
    let login = |user: &str| format!("grant_type=password&username={user}&password=right");
    let (events, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let server = server();
    let auth = server.auth.clone().with_event_handler(move |event: Event| {
        events.send((event.kind, event.subject)).unwrap();
        async {}
    });
    let server = Server { auth, ..server };
    let left = async |user| server.auth.sessions(user).await.unwrap().len();
    let token = server.log_in("alice", "").await.token();
    let sent = cookie(&token);
    // No login of this client in this browser.
    let wrong = server.page("/token", &sent, "grant_type=password&username=bob&password=wrong").await;
    assert_eq!(wrong.refusal(), (400, "invalid_grant"));
    let scope = server.page("/token", &sent, &format!("{}&scope=admin", login("bob"))).await;
    assert_eq!(scope.refusal(), (400, "invalid_scope"));
    let first_step = server.page("/token", &sent, &login("carol")).await;
    assert_eq!(first_step.refusal(), (403, "mfa_required"));
    for (client, status) in [("cli", 200), ("other-spa", 200)] {
        let headers = [PAGE, &[("cookie", &*sent)]].concat();
        let form = format!("client_id={client}&{}", login("bob"));
        assert_eq!(server.post("/token", &headers, &form).await.status, status);
    }
    let twice = format!("{sent}; {sent}");
    assert_eq!(server.page("/token", &twice, &login("bob")).await.token().len(), 64, "who has two can log in");
    assert_eq!(server.page("/token", &cookie("x"), &login("bob")).await.token().len(), 64);
    assert_eq!(left("alice").await, 1);

    let second = server.page("/token", &sent, &login("alice")).await.token();
    assert_eq!(left("alice").await, 1, "the new one");
    assert_eq!(server.refresh(&token).await.refusal(), (400, "invalid_grant"));
    let mfa = first_step.body["mfa_token"].as_str().unwrap();
    let carols = server.page("/token", &cookie(&second), &format!("grant_type={OTP}&mfa_token={mfa}&otp=123456")).await;
    assert_eq!((left("alice").await, left("carol").await), (0, 1), "somebody else");
    let code = server.page("/token", &cookie(&carols.token()), "grant_type=urn:example:code&code=right").await;
    assert_eq!((code.status, left("carol").await), (200, 0));
    let guest = server.page("/token", &cookie(&code.token()), &login("guest")).await;
    assert_eq!(guest.refusal(), (200, ""), "a login without a session");
    assert_eq!(server.refresh(&code.token()).await.refusal(), (400, "invalid_grant"), "nobody is somebody else");
    let mut subjects = Vec::new();
    while let (kind, Some(subject)) = ended.recv().await.unwrap()
        && (kind != EventKind::Login || subject != "guest")
    {
        subjects.extend((kind == EventKind::SessionEnded).then_some(subject));
    }
    assert_eq!(subjects, ["alice", "alice", "carol", "bob"]);
}

#[tokio::test]
async fn a_login_that_gets_a_token_can_use_it_however_many_sessions_it_replaced() {
    let server = server();
    let guarded =
        server.auth.guard().layer(service_fn(async |_| Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))));
    let (mut token, mut refused) = ("x".to_owned(), Vec::new());
    // More than the deny list keeps for one subject.
    for number in 0..105 {
        let login = "grant_type=password&username=alice&password=right";
        let login = server.page("/token", &cookie(&token), login).await;
        if login.status != 200 {
            assert_eq!(login.refusal(), (503, "temporarily_unavailable"));
            refused.push(number);
            continue;
        }
        token = login.token();
        let bearer = format!("Bearer {}", login.body["access_token"].as_str().unwrap());
        let request = Request::get("/").header("authorization", bearer).body(Full::<Bytes>::default()).unwrap();
        assert_eq!(guarded.clone().oneshot(request).await.unwrap().status(), 200, "{number}");
    }
    assert_eq!(refused, [101, 103], "the whole subject was ended meanwhile, and the next try succeeds");
    assert_eq!(server.auth.sessions("alice").await.unwrap().len(), 1);
}

/// A store that is away from time to time.
struct Flaky {
    inner: MemoryRefreshStore,
    is_away: Arc<AtomicBool>,
}

impl Flaky {
    fn reach(&self) -> Result<(), BoxError> {
        if self.is_away.load(Ordering::Relaxed) { Err("the store is away".into()) } else { Ok(()) }
    }
}

impl RefreshStore for Flaky {
    fn insert(&self, id: FamilyId, family: Family, limit: usize, deadline: Instant) -> StoreFuture<'_, bool> {
        Box::pin(async move { self.inner.insert(id, family, limit, deadline).await })
    }

    fn find(&self, id: FamilyId, deadline: Instant) -> StoreFuture<'_, Option<Family>> {
        self.inner.find(id, deadline)
    }

    fn rotate(&self, id: FamilyId, old: Previous, new: SecretHash, deadline: Instant) -> StoreFuture<'_, Rotation> {
        Box::pin(async move {
            self.reach()?;
            self.inner.rotate(id, old, new, deadline).await
        })
    }

    fn revoke(&self, id: FamilyId, deadline: Instant) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.reach()?;
            self.inner.revoke(id, deadline).await
        })
    }

    fn revoke_subject<'a>(&'a self, subject: SubjectRef<'a>, except: Option<FamilyId>) -> StoreFuture<'a, u64> {
        self.inner.revoke_subject(subject, except)
    }

    fn list<'a>(&'a self, subject: SubjectRef<'a>, deadline: Instant) -> StoreFuture<'a, Vec<(FamilyId, Family)>> {
        self.inner.list(subject, deadline)
    }
}

#[tokio::test]
async fn an_outage_leaves_the_cookie_and_begins_no_session() {
    let (server, is_away) = (server(), Arc::new(AtomicBool::new(false)));
    let clock = Arc::clone(&server.clock);
    let inner = MemoryRefreshStore::new().with_clock(move || Duration::from_secs(clock.load(Ordering::Relaxed)));
    let store = Flaky { inner, is_away: Arc::clone(&is_away) };
    let auth = server.auth.clone().with_refresh_tokens(RefreshTokens::new(store).with_cookie([]).unwrap());
    let server = Server { auth, ..server };
    let first = server.log_in("alice", "").await.token();
    let second = server.refresh(&first).await.token();
    server.pass(11);
    let third = server.refresh(&second).await.token();
    server.pass(11);
    is_away.store(true, Ordering::Relaxed);
    let away = (503, "temporarily_unavailable");
    assert_eq!(server.refresh(&third).await.refusal(), away, "a refresh");
    assert_eq!(server.refresh(&first).await.refusal(), away, "a replay");
    assert_eq!(server.page("/revoke", &cookie(&third), "").await.refusal(), away, "a log-out");
    let again = "grant_type=password&username=bob&password=right";
    assert_eq!(server.page("/token", &cookie(&third), again).await.refusal(), away, "another login");
    assert_eq!(server.auth.sessions("bob").await.unwrap().len(), 0, "none that nobody gets");
    is_away.store(false, Ordering::Relaxed);
    assert_eq!(server.refresh(&third).await.status, 200, "when it is back");
}

#[tokio::test]
async fn answers_to_other_clients_are_the_same_with_and_without_cookies() {
    let mut all = Vec::new();
    for server in [server(), server_with(|tokens| tokens)] {
        let mut answers = Vec::new();
        for client in ["", "&client_id=cli"] {
            let mut forms = vec![
                format!("/token grant_type=password&username=alice&password=right{client}"),
                format!("/token grant_type=password&username=alice&password=wrong{client}"),
                format!("/token grant_type=refresh_token{client}"),
                format!("/token grant_type=refresh_token&refresh_token=x{client}"),
                format!("/revoke {}", client.trim_start_matches('&')),
                format!("/revoke token=x{client}"),
            ];
            while let Some(form) = forms.pop() {
                let (path, form) = form.split_once(' ').unwrap();
                let request = Request::post(path).header("cookie", "theme=dark");
                let (status, headers, mut body) =
                    post_form(server.auth.endpoints().into_service(), request, form).await;
                if let Some(token) = body["refresh_token"].as_str().filter(|_| form.contains("password=right")) {
                    forms.push(format!("/token grant_type=refresh_token&refresh_token={token}{client}"));
                    forms.push(format!("/token grant_type=refresh_token&refresh_token={token}{client}"));
                }
                // They are random.
                for name in ["access_token", "refresh_token"] {
                    if let Some(token) = body.get_mut(name) {
                        *token = token.as_str().unwrap().len().into();
                    }
                }
                answers.push((status, headers, body.to_string()));
            }
        }
        all.push(answers);
    }
    assert_eq!(all[0].len(), 16);
    assert_eq!(all[0], all[1]);
}

#[tokio::test]
async fn a_cookie_that_is_none_is_refused_and_spends_nothing() {
    let server = server();
    let token = server.log_in("alice", "").await.token();
    let named = |name: &str| format!("{name}={token}");
    let mut flipped = token.clone().into_bytes();
    flipped[3] ^= 1;
    let (flipped, long) = (String::from_utf8(flipped).unwrap(), "A".repeat(8_000));
    for (sent, error) in [
        (format!("{}; {}", named("__Host-refresh_token"), named("__Host-refresh_token")), "invalid_request"),
        (format!("__Host-refresh_token=; {}", named("__Host-refresh_token")), "invalid_request"),
        (cookie(""), "invalid_grant"),
        (cookie(&token[..63]), "invalid_grant"),
        (cookie(&format!("{token}A")), "invalid_grant"),
        (cookie(&format!("\"{token}\"")), "invalid_grant"),
        (cookie(&flipped), "invalid_grant"),
        (cookie(&long), "invalid_grant"),
        (named("__Host-refresh-token"), "invalid_request"),
        (named("__host-refresh_token"), "invalid_request"),
        (named("__Secure-refresh_token"), "invalid_request"),
        (named("__Http-refresh_token"), "invalid_request"),
        (named("refresh_token"), "invalid_request"),
        (named("x__Host-refresh_token"), "invalid_request"),
        (named("__Host-refresh_token2"), "invalid_request"),
        ("__Host-refresh_token".to_owned(), "invalid_request"),
        (String::new(), "invalid_request"),
    ] {
        let answer = server.page("/token", &sent, "grant_type=refresh_token").await;
        assert_eq!(answer.refusal(), (400, error), "{sent}");
    }
    let sent = cookie(&token);
    let both = server.page("/token", &sent, &format!("grant_type=refresh_token&refresh_token={token}")).await;
    assert_eq!(both.body["error_description"], "The token is given in the body and in a cookie");
    let fields = [PAGE, &[("cookie", &*sent), ("cookie", &*sent)]].concat();
    let twice = server.post("/token", &fields, "client_id=spa&grant_type=refresh_token").await;
    assert_eq!(twice.body["error_description"], "The cookie is given more than once");
    let bytes = Request::post("/token").header("sec-fetch-site", "same-origin");
    let bytes = bytes.header("cookie", &b"__Host-refresh_token=\xFF"[..]);
    let form = "client_id=spa&grant_type=refresh_token";
    let (status, ..) = post_form(server.auth.token_endpoint().into_service(), bytes, form).await;
    assert_eq!(status, 400);
    let other = [PAGE, &[("cookie", &*sent)]].concat();
    let other = server.post("/token", &other, "client_id=other-spa&grant_type=refresh_token").await;
    assert_eq!(other.refusal(), (400, "invalid_grant"), "the cookie of another client");
    let elsewhere = server_with(|tokens| tokens.with_cookie([]).unwrap());
    assert_eq!(elsewhere.refresh(&token).await.refusal(), (400, "invalid_grant"), "the cookie of another server");

    let alone = named("__Host-refresh_token");
    let fields = [PAGE, &[("cookie", "theme=dark"), ("cookie", &*alone)]].concat();
    let answer = server.post("/token", &fields, "client_id=spa&grant_type=refresh_token&refresh_token=").await;
    assert_eq!(answer.status, 200, "HTTP/2 may send each cookie by itself, and an empty parameter is none");
}

#[tokio::test]
async fn a_request_that_no_allowed_page_sent_is_refused_before_anything_is_done() {
    let server = server();
    let token = server.log_in("alice", "").await.token();
    let first_step = server.log_in("carol", "").await;
    let mfa_token = first_step.body["mfa_token"].as_str().unwrap();
    let asked = server.users.asked.load(Ordering::Relaxed);
    let second_step = format!("grant_type={OTP}&mfa_token={mfa_token}&otp=123456");
    let sent = cookie(&token);
    for (site, origin) in [
        (Some("cross-site"), Some("https://evil.example")),
        (Some("cross-site"), None),
        (Some("same-site"), Some("https://blog.api.example")),
        (Some("same-site"), None),
        (Some("same-origin"), Some("null")),
        (Some("none"), None),
        (None, Some("https://evil.example")),
        (None, Some("http://api.example")),
        (None, Some("null")),
        (None, None),
    ] {
        let mut headers = vec![("host", "api.example")];
        headers.extend(site.map(|site| ("sec-fetch-site", site)));
        headers.extend(origin.map(|origin| ("origin", origin)));
        for with_cookie in [false, true] {
            headers.extend(with_cookie.then_some(("cookie", &*sent)));
            for (path, form) in [
                ("/token", "grant_type=password&username=alice&password=right"),
                ("/token", "grant_type=refresh_token&refresh_token="),
                ("/token", "grant_type=urn:example:code&code=right"),
                ("/token", &*second_step),
                ("/revoke", ""),
            ] {
                if !with_cookie && form.ends_with("refresh_token=") {
                    continue;
                }
                let answer = server.post(path, &headers, &format!("client_id=spa&{form}")).await;
                assert_eq!(answer.refusal(), (403, "access_denied"), "{headers:?} {form}");
            }
        }
    }
    assert_eq!(server.users.asked.load(Ordering::Relaxed), asked, "no password was looked at");
    assert_eq!(server.refresh(&token).await.status, 200);
    assert_eq!(server.page("/token", "", &second_step).await.status, 200);
    let listed = [("sec-fetch-site", "same-site"), ("origin", "https://app.api.example")];
    let old = [("origin", "https://api.example"), ("host", "api.example")];
    for headers in [listed.as_slice(), &old] {
        let login = server.post("/token", headers, "client_id=spa&grant_type=password&username=a&password=right").await;
        assert_eq!(login.token().len(), 64, "{headers:?}");
    }
}

#[tokio::test]
async fn the_client_is_checked_before_the_origin() {
    let server = server();
    let form = |secret| format!("grant_type=password&username=a&password=right&client_id=shop&client_secret={secret}");
    assert_eq!(server.post("/token", &[], &form("wrong")).await.refusal(), (401, "invalid_client"));
    assert_eq!(server.post("/token", &[], &form("secret")).await.refusal(), (403, "access_denied"));
    assert_eq!(server.post("/token", PAGE, &form("secret")).await.token().len(), 64);
}

#[tokio::test]
async fn a_cookie_lives_as_long_as_its_session() {
    let server = server_with(|tokens| tokens.with_idle_ttl(Duration::from_secs(7_200)).with_cookie([]).unwrap());
    assert_eq!(server.log_in("alice", "").await.max_age(), 7_200, "unused");
    let server = self::server();
    let login = server.log_in("alice", "&remember=true").await;
    assert_eq!(login.max_age(), 30 * 86_400, "remember me");
    server.pass(86_400);
    assert_eq!(server.refresh(&login.token()).await.max_age(), 29 * 86_400);
    let short = server_with(|tokens| tokens.with_absolute_ttl(Duration::from_millis(999)).with_cookie([]).unwrap());
    assert_eq!(short.log_in("alice", "").await.max_age(), 0, "it never outlives the session");
}

#[tokio::test]
async fn every_grant_of_a_user_sets_the_cookie() {
    let server = server();
    let first = server.log_in("carol", "&remember=true").await;
    assert_eq!(first.refusal(), (403, "mfa_required"), "half a login sets none");
    let token = first.body["mfa_token"].as_str().unwrap();
    let wrong = server.page("/token", "", &format!("grant_type={OTP}&mfa_token={token}&otp=000000")).await;
    assert_eq!(wrong.refusal(), (400, "invalid_grant"));
    let second = server.page("/token", "", &format!("grant_type={OTP}&mfa_token={token}&otp=123456")).await;
    let by_code = server.page("/token", "", "grant_type=urn:example:code&code=right").await;
    for (answer, max_age) in [(second, 30 * 86_400), (by_code, 86_400)] {
        assert_eq!((answer.status, answer.max_age(), &answer.body["refresh_token"]), (200, max_age, &Value::Null));
        assert_eq!(server.refresh(&answer.token()).await.status, 200);
    }
}

#[tokio::test]
async fn a_rendering_of_the_app_cannot_show_the_token_or_lose_the_cookie() {
    let render = |response: &TokenResponse, _: &Parts| {
        let token = response.refresh_token().map(|token| token.expose().to_owned());
        let seconds = response.refresh_token_expires_in().map(|ttl| ttl.as_secs());
        let body = json!({ "token": token, "seconds": seconds, "all": format!("{response:?}") });
        let response = Response::builder().header("set-cookie", "theme=dark");
        response.body(Bytes::from(body.to_string())).unwrap()
    };
    let refuse = |error: &TokenError| {
        let body = json!({ "detail": error.description() }).to_string();
        Response::builder().status(error.status()).body(Bytes::from(body)).unwrap()
    };
    let server = server();
    let auth = server.auth.clone().with_token_response(render).with_error_response(refuse);
    let server = Server { auth, ..server };
    let mut login = server.log_in("alice", "").await;
    assert_eq!(login.cookies.remove(0), "theme=dark");
    let first = login.token();
    assert!(!login.body.to_string().contains(&first), "{}", login.body);
    assert_eq!([&login.body["token"], &login.body["seconds"]], [&Value::Null, &json!(86_400)]);
    let mut second = server.refresh(&first).await;
    second.cookies.remove(0);
    server.pass(11);
    server.refresh(&second.token()).await;
    assert_eq!(server.refresh(&first).await.cookies, [CLEARED]);
}

#[tokio::test]
async fn a_setup_that_cannot_work_is_an_error() {
    let tokens = || RefreshTokens::new(MemoryRefreshStore::new());
    let error = tokens().with_grace(Duration::ZERO).with_cookie([]).unwrap_err().to_string();
    assert!(error.contains("grace period"), "{error}");
    assert!(tokens().with_cookie(["*"]).is_err());
    let server = server_with(|tokens| tokens);
    assert_eq!(server.log_in("alice", "").await.refusal(), (500, "server_error"), "no token leaves by another way");
    assert_eq!(server.users.asked.load(Ordering::Relaxed), 0);
}
