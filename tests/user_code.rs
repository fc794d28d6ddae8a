//! Code that users plug in: when it hangs, panics, fails or is not there, and what the log says then.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

use std::{
    future::pending,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, Request, request::Parts};
use serde_json::Value;
use test_support::log::Log;
use test_support::oneshot::{guarded, post_form};
use tower_oauth2_password::{
    AttemptLimits, AuthorizationServer, BearerLayer, BoxError, Client, Clients, Identity, Jwt, Key, Login, MemoryUsers,
    PasswordVerifier, RefreshTokens, StaticClients, StoredUser, TokenIssuer, TokenRequest, Verdict, Verifier,
    store::{
        AttemptLimit, AttemptOutcome, AttemptStore, Denial, DenyList, MemoryAttemptStore, MemoryDenyList,
        MemoryRefreshStore, Reservation, Slot, StoreFuture, TokenRef,
    },
};

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

const LOGIN: &str = "grant_type=password&username=alice&password=right";
const GUESS: &str = "grant_type=password&username=alice&password=wrong";

fn jwt() -> Jwt {
    Jwt::new(Key::hs256([7; 32]).unwrap(), "https://api.example", "api")
}

async fn verify(login: Login) -> Result<Verdict, BoxError> {
    let right = login.password.expose() == "right";
    Ok(if right { Identity::new(login.username).into() } else { Verdict::Denied })
}

fn server() -> AuthorizationServer {
    AuthorizationServer::new(verify, jwt())
}

fn limits(store: impl AttemptStore) -> AttemptLimits {
    AttemptLimits::new(store, |request: &Parts| request.headers.get("x-address")?.to_str().ok()?.parse().ok())
}

async fn post(auth: &AuthorizationServer, path: &str, body: &str) -> (u16, HeaderMap, Value) {
    send(auth, Request::post(path), body).await
}

async fn send(auth: &AuthorizationServer, request: http::request::Builder, body: &str) -> (u16, HeaderMap, Value) {
    post_form(auth.endpoints().into_service(), request, body).await
}

/// Records what this thread logs.
fn logging() -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    (log, tracing::subscriber::set_default(subscriber))
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_hangs_is_a_503_and_gives_its_slot_back() {
    let verifier =
        |login: Login| async move { if login.username == "stuck" { pending().await } else { verify(login).await } };
    let one = AttemptLimit { failures: 1, window: Duration::from_secs(3_600) };
    let store = MemoryAttemptStore::new();
    let auth = AuthorizationServer::new(verifier, jwt())
        .with_attempt_limits(limits(store.clone()).with_account_and_address_limit(one));
    for (auth, seconds) in [(auth.clone(), 30), (auth.with_verifier_timeout(Duration::from_secs(3)), 3)] {
        let begun = tokio::time::Instant::now();
        let (status, headers, _) = post(&auth, "/token", &LOGIN.replace("alice", "stuck")).await;
        assert_eq!((status, begun.elapsed().as_secs(), &headers["retry-after"]), (503, seconds, &"1".parse().unwrap()));
        assert_eq!(store.len(), 0, "the reservation was given back");
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_of_clients_that_hangs_is_a_503() {
    struct Stuck;
    impl Clients for Stuck {
        async fn find(&self, _: &str) -> Result<Option<Client>, BoxError> {
            pending().await
        }
    }
    let auth = server().with_clients(Stuck);
    for (auth, seconds) in [(auth.clone(), 5), (auth.with_clients_timeout(Duration::from_secs(1)), 1)] {
        let begun = tokio::time::Instant::now();
        assert_eq!(post(&auth, "/token", &format!("{LOGIN}&client_id=web")).await.0, 503);
        assert_eq!(begun.elapsed().as_secs(), seconds);
    }
}

#[tokio::test]
async fn a_panic_of_any_function_that_users_plug_in_is_an_answer() {
    struct Panics;
    impl DenyList for Panics {
        fn deny<'a>(&'a self, _: Denial<'a>, _: Instant) -> StoreFuture<'a, bool> {
            panic!("deny")
        }

        fn is_denied(&self, _: TokenRef<'_>) -> bool {
            panic!("is_denied")
        }
    }
    impl AttemptStore for Panics {
        fn reserve(&self, _: Slot, _: Instant) -> StoreFuture<'_, Reservation> {
            Box::pin(async { Ok(Reservation::Reserved) })
        }

        fn settle(&self, _: Slot, _: AttemptOutcome, _: Instant) -> StoreFuture<'_, ()> {
            panic!("settle")
        }

        fn abandon(&self, _: Slot) {
            panic!("abandon")
        }
    }
    let panics = |_: Login| async { panic!("verify") };
    for (what, auth, status) in [
        ("verifier", AuthorizationServer::new(panics, jwt()), 503),
        (
            "verifier, and then the store",
            AuthorizationServer::new(panics, jwt()).with_attempt_limits(limits(Panics)),
            503,
        ),
        ("store", server().with_attempt_limits(limits(Panics)), 503),
        (
            "address",
            server()
                .with_attempt_limits(AttemptLimits::new(MemoryAttemptStore::new(), |_: &Parts| -> Option<IpAddr> {
                    panic!("address")
                })),
            503,
        ),
        ("tokens", server().with_token_response(|_, _| panic!("tokens")), 503),
    ] {
        assert_eq!(post(&auth, "/token", LOGIN).await.0, status, "{what}");
    }
    let auth = server().with_error_response(|_| panic!("errors"));
    assert_eq!(post(&auth, "/token", GUESS).await.2["error"], "invalid_grant", "the usual format");
    assert_eq!(guarded(auth.guard(), "x").await, 401);

    let token = jwt().issue(TokenRequest::new("alice")).await.unwrap().token;
    assert_eq!(guarded(server().with_deny_list(Panics).guard(), token.expose()).await, 503);
    assert_eq!(guarded(BearerLayer::new(|_: &str| panic!("validator")), "x").await, 503);
}

/// Reserves in memory, and can settle nothing.
#[derive(Clone, Default)]
struct Unsettled(MemoryAttemptStore, Arc<AtomicUsize>);

impl AttemptStore for Unsettled {
    fn reserve(&self, slot: Slot, deadline: Instant) -> StoreFuture<'_, Reservation> {
        self.0.reserve(slot, deadline)
    }

    fn settle(&self, _: Slot, _: AttemptOutcome, _: Instant) -> StoreFuture<'_, ()> {
        Box::pin(async { Err("away".into()) })
    }

    fn abandon(&self, _: Slot) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_verdict_that_cannot_be_settled_keeps_its_slot() {
    for attempt in [LOGIN, GUESS] {
        let store = Unsettled::default();
        let auth = server().with_attempt_limits(limits(store.clone()));
        for _ in 0..10 {
            assert_eq!(post(&auth, "/token", attempt).await.0, 503);
        }
        assert_eq!(store.1.load(Ordering::Relaxed), 0, "nothing was given back");
        let (status, headers, _) = post(&auth, "/token", attempt).await;
        assert_eq!((status, headers.contains_key("retry-after")), (503, true), "no slot is left to guess with");
    }
}

#[tokio::test]
async fn unknown_clients_leave_nothing_in_the_attempt_store() {
    let store = MemoryAttemptStore::new();
    let once = AttemptLimit { failures: 1, window: Duration::from_secs(3_600) };
    let auth = server()
        .with_clients(StaticClients::new([Client::confidential("web", "secret"), Client::public("cli")]))
        .with_attempt_limits(limits(store.clone()).with_client_secret_limit(once));
    for n in 0..100 {
        for id in [format!("invented-{n}"), "cli".to_owned()] {
            let body = format!("{LOGIN}&client_id={id}&client_secret=x");
            assert_eq!(post(&auth, "/token", &body).await.0, 401);
        }
    }
    assert_eq!(store.len(), 0);
    assert_eq!(post(&auth, "/token", &format!("{LOGIN}&client_id=web&client_secret=x")).await.0, 401);
    assert_eq!(store.len(), 1);
}

#[tokio::test]
async fn a_login_knows_its_address_as_it_is_and_limits_count_the_network() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let verifier = {
        let seen = Arc::clone(&seen);
        move |login: Login| {
            seen.lock().unwrap().push(login.client_address);
            async { Ok(Verdict::Denied) }
        }
    };
    let auth = AuthorizationServer::new(verifier, jwt()).with_attempt_limits(limits(MemoryAttemptStore::new()));
    let addresses: Vec<IpAddr> = (1..=11).map(|n| format!("2001:db8::{n}").parse().unwrap()).collect();
    let mut statuses = Vec::new();
    for address in &addresses {
        statuses.push(send(&auth, Request::post("/token").header("x-address", address.to_string()), GUESS).await.0);
    }
    assert_eq!(statuses, [vec![400; 10], vec![429]].concat());
    assert_eq!(*seen.lock().unwrap(), addresses[..10].iter().copied().map(Some).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_token_that_is_too_large_is_no_temporary_fault() {
    let verifier = |_: Login| async { Ok(Identity::new("alice").with_claim("note", "x".repeat(4_000)).into()) };
    let (log, _guard) = logging();
    let (status, headers, body) = post(&AuthorizationServer::new(verifier, jwt()), "/token", LOGIN).await;
    assert_eq!((status, &body["error"]), (500, &"server_error".into()));
    assert!(!headers.contains_key("retry-after"));
    assert!(log.take().contains("with_longest_token"));
    let larger = jwt().with_longest_token(8_192);
    let auth = AuthorizationServer::new(verifier, larger);
    let (_, _, body) = post(&auth, "/token", LOGIN).await;
    assert_eq!(guarded(auth.guard(), body["access_token"].as_str().unwrap()).await, 200);
}

#[tokio::test]
async fn a_user_without_scopes_gets_no_empty_scope() {
    let auth = server().with_introspection(StaticClients::new([Client::confidential("api", "secret")]));
    let (_, _, body) = post(&auth, "/token", LOGIN).await;
    assert!(body.get("scope").is_none(), "{body}");
    let token = body["access_token"].as_str().unwrap();
    let claims = token.split('.').nth(1).unwrap();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
    assert!(!String::from_utf8(claims).unwrap().contains("scope"));
    let basic = format!("Basic {}", STANDARD.encode("api:secret"));
    let request = Request::post("/introspect").header("authorization", basic);
    let (_, _, body) = send(&auth, request, &format!("token={token}")).await;
    assert!(body["active"] == true && body.get("scope").is_none(), "{body}");
}

#[tokio::test]
async fn a_token_of_the_same_issuer_is_revoked_whatever_its_audience() {
    let key = |secret: u8, id: &str| Key::hs256([secret; 32]).unwrap().with_id(id);
    let issuer = |key: Key, issuer: &str, audience: &str| Jwt::new(key, issuer, audience);
    let list = MemoryDenyList::new();
    let ours = issuer(key(1, "ours"), "https://login.example", "api");
    let auth = AuthorizationServer::new(verify, ours).with_deny_list(list.clone());
    for (what, issuer, status, denied) in [
        ("another audience", issuer(key(1, "ours"), "https://login.example", "billing"), 200, true),
        ("an unknown key of the issuer", issuer(key(2, "next"), "https://login.example", "api"), 400, false),
        ("a bad signature under a known key", issuer(key(2, "ours"), "https://login.example", "api"), 200, false),
        ("another issuer", issuer(key(2, "next"), "https://elsewhere.example", "api"), 200, false),
        // Another guard of the same list may have a leeway.
        (
            "a token that has just expired",
            issuer(key(1, "ours"), "https://login.example", "api").with_clock(|| now() - 930),
            200,
            true,
        ),
    ] {
        let before = list.len();
        let token = issuer.issue(TokenRequest::new("alice")).await.unwrap().token;
        let (answered, _, body) = post(&auth, "/revoke", &format!("token={}", token.expose())).await;
        assert_eq!((answered, list.len() > before), (status, denied), "{what}: {body}");
        assert_eq!(status == 400, body["error"] == "unsupported_token_type", "{what}: {body}");
    }
}

#[tokio::test]
async fn every_refusal_leaves_one_line_that_says_why() {
    let clients = StaticClients::new([Client::confidential("web", "secret")]);
    let auth = server()
        .with_clients(clients)
        .with_attempt_limits(limits(MemoryAttemptStore::new()))
        .with_refresh_tokens(RefreshTokens::new(MemoryRefreshStore::new()));
    let (_, _, body) = post(&auth, "/token", LOGIN).await;
    let token = body["refresh_token"].as_str().unwrap();
    let (log, _guard) = logging();
    for (body, said) in [
        ("", "grant_type is missing"),
        (GUESS, "Incorrect username or password"),
        ("grant_type=refresh_token&refresh_token=x", "it is malformed"),
        (&format!("grant_type=refresh_token&refresh_token={}", "A".repeat(64)), "it is unknown, expired or revoked"),
        (&format!("grant_type=refresh_token&refresh_token={token}"), "the verifier denied the subject"),
        (&format!("{LOGIN}&client_id=web&client_secret=x"), "the client is unknown, or its secret is wrong"),
    ] {
        post(&auth, "/token", body).await;
        let log = log.take();
        let lines = log.lines().filter(|line| line.contains("a request was refused")).collect::<Vec<_>>();
        assert!(lines.len() == 1 && lines[0].contains("DEBUG") && lines[0].contains(said), "{body}: {log}");
        let denied = body.contains("client_secret");
        assert_eq!(log.contains("event=\"client_denied\"") && log.contains("client_id=\"web\""), denied, "{log}");
    }
    assert_eq!(guarded(auth.guard(), "").await, 400);
    assert!(log.take().contains("a bearer token was refused"));
    let request = Request::post("/token").header("x-address", "192.0.2.7");
    send(&auth, request, LOGIN).await;
    let log = log.take();
    for part in ["event=\"login\"", "subject=\"alice\"", "address=192.0.2.7", "path=\"/token\"", "session=\""] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[tokio::test]
async fn a_stored_hash_that_cannot_be_read_is_logged_with_its_user() {
    let users = MemoryUsers::default();
    let phc = "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$4XHlkW01o5HKkdwRDbV9q8aKWen4PIr0is91zg2e36k";
    for (name, hash, reason) in [
        ("bcrypt", "$2b$12$EixZaYVK1fsbw1ZfbX3OXePaWxn96p36WQoeG6Lruj3vjPGga31lW".to_owned(), "not a PHC string"),
        ("padded", format!("{phc}="), "not a PHC string"),
        ("short", phc.rsplit_once('$').unwrap().0.to_owned(), "cut off"),
        ("costly", phc.replace("m=64", "m=4194304"), "over the caps"),
        ("scrypt", phc.replace("argon2id", "scrypt"), "not Argon2"),
    ] {
        users.insert(name, StoredUser::new(Identity::new(format!("id of {name}"))).with_password_hash(&hash));
        let verifier = PasswordVerifier::new(users.clone());
        let (log, _guard) = logging();
        assert!(matches!(verifier.verify(Login::new(name, "wonderland123")).await.unwrap(), Verdict::Denied));
        let log = log.take();
        assert!(log.contains(" WARN ") && log.contains(&format!("id of {name}")) && log.contains(reason), "{log}");
        assert!(!log.contains(&hash) && !log.contains("4XHlkW01"), "{log}");
    }
}
