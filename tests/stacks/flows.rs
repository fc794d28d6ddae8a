//! Flows of several requests (refresh, reuse, revocation, attempts) over every stack and every store.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::{Either, Full};
use hyper::Request;

use tower_oauth2_password::{
    RefreshTokens,
    store::{MemoryAttemptStore, MemoryDenyList, MemoryRefreshStore},
};

use crate::{
    setup::{ADDRESS, Setup, in_memory, over},
    stacks::{self, Site, Stack, fresh_address},
};
use test_support::http::Reply;

fn refused(reply: &Reply, status: u16, error: &str) {
    assert_eq!((reply.status, reply.text("error").as_str()), (status, error), "{reply:?}");
}

async fn over_every_stack_and_store(flow: impl AsyncFn(&Site, &Setup)) {
    for stack in stacks::ALL {
        let setup = in_memory();
        flow(&stacks::start(stack, &setup).await, &setup).await;
    }
    for stack in [Stack::Axum, Stack::HyperHttp2] {
        let redis = test_support::redis::Redis::start();
        let stores = tower_oauth2_password::store::redis::RedisStores::open(&redis.url()).unwrap();
        let setup = over(stores.refresh_tokens(), stores.attempts(), stores.deny_list(), |tokens| tokens);
        flow(&stacks::start(stack, &setup).await, &setup).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_tokens() {
    over_every_stack_and_store(async |site: &Site, _: &Setup| {
        let login = site.log_in("").await;
        let first = login.text("refresh_token");
        let second = site.refresh(&first, "").await;
        assert_eq!(second.text("scope"), "items:read items:write");
        let second = second.text("refresh_token");
        assert_ne!(first, second, "R9.1");

        // R9.4: a narrower scope applies to this access token only.
        let narrow = site.refresh(&second, "&scope=items:read").await;
        assert_eq!(narrow.text("scope"), "items:read");
        let third = site.refresh(&narrow.text("refresh_token"), "").await;
        assert_eq!(third.text("scope"), "items:read items:write");
        let third = third.text("refresh_token");

        // R9.5: a refused request does not use the token.
        refused(&site.refresh(&third, "&scope=admin").await, 400, "invalid_scope");
        refused(&site.refresh(&third, "&scope=%22").await, 400, "invalid_scope");
        refused(&site.refresh(&third, "&client_id=demo-web&client_secret=wrong").await, 401, "invalid_client");
        refused(&site.refresh(&third, "&client_id=demo-cli").await, 400, "invalid_grant");
        refused(&site.refresh(&third, "&refresh_token=x").await, 400, "invalid_request");
        let fourth = site.refresh(&third, "").await.text("refresh_token");

        // R9.1: a replay ends the family.
        refused(&site.refresh(&second, "").await, 400, "invalid_grant");
        refused(&site.refresh(&fourth, "").await, 400, "invalid_grant");

        // A refresh cannot widen the scope of the login, even if the user may have more.
        let less = site.log_in("&scope=items:read").await.text("refresh_token");
        refused(&site.refresh(&less, "&scope=items:read+items:write").await, 400, "invalid_scope");
        assert_eq!(site.refresh(&less, "").await.text("scope"), "items:read");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_tokens_of_clients() {
    over_every_stack_and_store(async |site: &Site, _: &Setup| {
        let web = "&client_id=demo-web&client_secret=demo-web-secret";
        let token = site.log_in(web).await.text("refresh_token");
        refused(&site.refresh(&token, "").await, 400, "invalid_grant");
        refused(&site.refresh(&token, "&client_id=demo-cli").await, 400, "invalid_grant");
        refused(&site.refresh(&token, "&client_id=demo-web").await, 401, "invalid_client");
        let next = site.refresh(&token, web).await.text("refresh_token");
        refused(&site.post("/revoke", &format!("token={next}&client_id=demo-cli")).await, 400, "invalid_grant");
        assert_eq!(site.post("/revoke", &format!("token={next}{web}")).await.status, 200);
        refused(&site.refresh(&next, web).await, 400, "invalid_grant");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens() {
    over_every_stack_and_store(async |site: &Site, _: &Setup| {
        let login = site.log_in("").await;
        let (access, good) = (login.text("access_token"), login.text("refresh_token"));
        let other = site.log_in("").await.text("refresh_token");
        let flipped = |at: usize| {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            String::from_utf8(bytes).unwrap()
        };
        // The family of one login with the secret of another counts as reuse.
        let mixed = format!("{}{}", &site.log_in("").await.text("refresh_token")[..22], &other[22..]);
        for token in
            [flipped(0), good[..63].to_owned(), format!("{good}A"), format!("{good}%3D"), access.clone(), mixed]
        {
            refused(&site.refresh(&token, "").await, 400, "invalid_grant");
        }
        assert_eq!(site.refresh(&"A".repeat(1_000_000), "").await.status, 413);
        refused(&site.refresh(&"A".repeat(16_000), "").await, 400, "invalid_grant");
        if site.is_http() {
            assert_eq!(site.guarded(&good).await, 401, "a refresh token is no access token");
        }
        let next = site.refresh(&good, "").await.text("refresh_token");
        // A known family with any other secret counts as reuse.
        refused(&site.refresh(&format!("{}{}", &next[..24], "A".repeat(40)), "").await, 400, "invalid_grant");
        refused(&site.refresh(&next, "").await, 400, "invalid_grant");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation() {
    over_every_stack_and_store(async |site: &Site, _: &Setup| {
        let login = site.log_in("").await;
        let (access, refresh) = (login.text("access_token"), login.text("refresh_token"));
        // R10.2: the hint is wrong.
        let reply = site.post("/revoke", &format!("token={refresh}&token_type_hint=access_token")).await;
        assert_eq!((reply.status, reply.body.as_ref()), (200, b"{}".as_slice()), "{reply:?}");
        assert_eq!(reply.header("content-type"), Some("application/json"));
        refused(&site.refresh(&refresh, "").await, 400, "invalid_grant");
        assert_eq!(site.post("/revoke", &format!("token={refresh}")).await.status, 200, "R10.1");
        if site.is_http() {
            assert_eq!(site.guarded(&access).await, 401, "RFC 7009, section 2.1: the access token of that session");
            let login = site.log_in("").await;
            let (access, other) = (login.text("access_token"), site.log_in("").await.text("access_token"));
            let reply = site.post("/revoke", &format!("token={access}&token_type_hint=refresh_token")).await;
            assert_eq!(reply.status, 200);
            assert_eq!(site.guarded(&access).await, 401, "R10.3: at once");
            assert_eq!(site.guarded(&other).await, 200, "another session goes on");
            let stolen = login.text("refresh_token");
            let access = site.refresh(&stolen, "").await.text("access_token");
            assert_eq!(site.guarded(&access).await, 200);
            refused(&site.refresh(&stolen, "").await, 400, "invalid_grant");
            assert_eq!(site.guarded(&access).await, 401, "a replay ends the session's access tokens, too");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_users() {
    over_every_stack_and_store(async |site: &Site, setup: &Setup| {
        let token = site.log_in("").await.text("refresh_token");
        setup.change_user("alice", |user| user.with_disabled(true)).await;
        refused(&site.refresh(&token, "").await, 400, "invalid_grant");
        setup.change_user("alice", |user| user.with_disabled(false)).await;
        let token = site.refresh(&token, "").await.text("refresh_token");

        setup.auth.revoke_subject("alice").await.unwrap();
        refused(&site.refresh(&token, "").await, 400, "invalid_grant");

        let token = site.log_in("").await.text("refresh_token");
        let stamped = |user: tower_oauth2_password::StoredUser| {
            let hash = user.password_hash().unwrap().to_owned();
            tower_oauth2_password::StoredUser::new(user.identity().clone().with_security_stamp("2"))
                .with_password_hash(hash)
        };
        setup.change_user("alice", stamped).await;
        refused(&site.refresh(&token, "").await, 400, "invalid_grant");
        let token = site.log_in("").await.text("refresh_token");
        assert_eq!(site.refresh(&token, "").await.status, 200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts() {
    over_every_stack_and_store(async |site: &Site, setup: &Setup| {
        let (here, there) = (fresh_address(), fresh_address());
        let attempt = |address: &str, name: &str, password: &str| {
            let (address, form) =
                (address.to_owned(), format!("grant_type=password&username={name}&password={password}"));
            async move { site.post_from(&address, "/token", &form).await }
        };
        for _ in 0..9 {
            assert_eq!(attempt(&here, "alice", "wrong").await.status, 400);
        }
        assert_eq!(attempt(&here, "alice", "wonderland123").await.status, 200, "R7.5: a success clears");
        // R7.4: a burst does not get past the limit.
        let burst = (0..40).map(|_| attempt(&here, "alice", "wrong"));
        let burst = futures_util::future::join_all(burst).await;
        assert_eq!(burst.iter().filter(|reply| reply.status == 400).count(), 10, "{burst:?}");
        let hashed = setup.pool.stats().hashed;
        let held = attempt(&here, "alice", "wonderland123").await;
        assert_eq!(held.status, 429, "R7.1: right passwords included");
        assert_eq!(setup.pool.stats().hashed, hashed, "R7.8: no hash");
        let wait: u64 = held.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        assert_eq!(held.header("cache-control"), Some("no-store"));
        assert_eq!(attempt(&there, "alice", "wonderland123").await.status, 200, "R7.1: another address");
        assert_eq!(attempt(&here, "bob", "builder456").await.status, 200, "R7.1: another name");
        for _ in 0..10 {
            assert_eq!(attempt(&there, "nobody", "wrong").await.status, 400);
        }
        assert_eq!(attempt(&there, "nobody", "wrong").await.status, 429, "R7.3: unknown names count alike");
        // R7.5: a malformed request or a wrong client is not counted as a failure, and does not clear failures.
        for _ in 0..9 {
            assert_eq!(attempt(&there, "bob", "wrong").await.status, 400);
        }
        let others = async || {
            for _ in 0..15 {
                let form = "grant_type=password&username=bob&password=x&client_id=nobody";
                assert_eq!(site.post_from(&there, "/token", form).await.status, 401);
                assert_eq!(site.post_from(&there, "/token", "grant_type=password&username=bob").await.status, 400);
            }
        };
        others().await;
        assert_eq!(attempt(&there, "bob", "wrong").await.status, 400);
        others().await;
        assert_eq!(attempt(&there, "bob", "builder456").await.status, 429);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn client_secrets() {
    over_every_stack_and_store(async |site: &Site, _: &Setup| {
        let address = fresh_address();
        let guess = |secret: &'static str| {
            let form = format!("token=x&client_id=demo-web&client_secret={secret}");
            let address = address.clone();
            async move { site.post_from(&address, "/revoke", &form).await.status }
        };
        for _ in 0..100 {
            assert_eq!(guess("wrong").await, 401);
        }
        assert_eq!(guess("demo-web-secret").await, 429, "R3.10");
        let basic = format!("Basic {}", STANDARD.encode("%64emo-we%62:demo-web-secret"));
        let request = Request::post("/revoke")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("authorization", basic)
            .header(ADDRESS, &address)
            .body(Either::Left(Full::from("token=x")))
            .unwrap();
        assert_eq!(site.send(request).await.status, 429, "another spelling is the same client");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_refreshes() {
    over_every_stack_and_store(async |site: &Site, _: &Setup| {
        for _ in 0..3 {
            let token = site.log_in("").await.text("refresh_token");
            let uses = futures_util::future::join_all((0..20).map(|_| site.refresh(&token, ""))).await;
            let winners: Vec<_> = uses.iter().filter(|reply| reply.status == 200).collect();
            assert!(winners.len() <= 1, "R9.2: {uses:?}");
            for winner in winners {
                refused(&site.refresh(&winner.text("refresh_token"), "").await, 400, "invalid_grant");
            }
        }
    })
    .await;
}

async fn with_lifetimes(lifetimes: impl Fn(RefreshTokens) -> RefreshTokens, store: MemoryRefreshStore) -> Site {
    let setup = over(store, MemoryAttemptStore::new(), MemoryDenyList::new(), lifetimes);
    stacks::start(Stack::Axum, &setup).await
}

#[tokio::test]
async fn a_subject_equal_to_another_username_grants_no_access() {
    use tower::ServiceExt;
    use tower_oauth2_password::{AuthorizationServer, BoxError, Identity, Jwt, Key, Login, Verdict, Verifier};

    /// Looks up subjects as if they were usernames.
    struct Overlapping;
    impl Verifier for Overlapping {
        async fn verify(&self, _: Login) -> Result<Verdict, BoxError> {
            Ok(Identity::new("1001").into())
        }

        async fn verify_subject(&self, _: &str) -> Result<Verdict, BoxError> {
            Ok(Identity::new("2002").into())
        }
    }
    let jwt = Jwt::new(Key::hs256([7; 32]).unwrap(), "https://api.example", "api");
    let tokens = RefreshTokens::new(MemoryRefreshStore::new());
    let auth = AuthorizationServer::new(Overlapping, jwt).with_refresh_tokens(tokens);
    let endpoint = auth.token_endpoint().into_service();
    let ask = async |form: String| {
        let request = Request::post("/token").header("content-type", "application/x-www-form-urlencoded");
        let reply = endpoint.clone().oneshot(request.body(Full::<bytes::Bytes>::from(form)).unwrap()).await.unwrap();
        let body = http_body_util::BodyExt::collect(reply.into_body()).await.unwrap().to_bytes();
        serde_json::from_slice::<serde_json::Value>(&body).unwrap()
    };
    let login = ask("grant_type=password&username=alice&password=x".to_owned()).await;
    let token = login["refresh_token"].as_str().unwrap();
    assert_eq!(ask(format!("grant_type=refresh_token&refresh_token={token}")).await["error"], "invalid_grant");
}

#[tokio::test(flavor = "multi_thread")]
async fn lifetimes_and_grace() {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };
    let now = Arc::new(AtomicU64::new(0));
    let pass = |seconds: u64| now.fetch_add(seconds, Ordering::Relaxed);
    let store = || {
        let now = Arc::clone(&now);
        MemoryRefreshStore::new().with_clock(move || Duration::from_secs(now.load(Ordering::Relaxed)))
    };
    let seconds = Duration::from_secs;

    let site = with_lifetimes(|t| t.with_absolute_ttl(seconds(100)).with_idle_ttl(seconds(40)), store()).await;
    let token = site.log_in("").await.text("refresh_token");
    pass(39);
    let token = site.refresh(&token, "").await.text("refresh_token");
    pass(39);
    let token = site.refresh(&token, "").await.text("refresh_token");
    pass(22);
    refused(&site.refresh(&token, "").await, 400, "invalid_grant");
    let idle = site.log_in("").await.text("refresh_token");
    pass(40);
    refused(&site.refresh(&idle, "").await, 400, "invalid_grant");

    let site = with_lifetimes(|t| t.with_absolute_ttl(seconds(1_000_000)), store()).await;
    let token = site.log_in("").await.text("refresh_token");
    pass(999_999);
    assert_eq!(site.refresh(&token, "").await.status, 200, "no other limit than the one that was set");

    let site = with_lifetimes(|t| t.with_grace(seconds(5)), store()).await;
    let first = site.log_in("").await.text("refresh_token");
    let second = site.refresh(&first, "").await.text("refresh_token");
    pass(5);
    let again = site.refresh(&first, "").await;
    assert_eq!(again.text("refresh_token"), second, "the same successor, so nothing forks");
    let third = site.refresh(&second, "").await.text("refresh_token");
    refused(&site.refresh(&first, "").await, 400, "invalid_grant");
    refused(&site.refresh(&third, "").await, 400, "invalid_grant");
    let first = site.log_in("").await.text("refresh_token");
    let second = site.refresh(&first, "").await.text("refresh_token");
    pass(6);
    refused(&site.refresh(&first, "").await, 400, "invalid_grant");
    refused(&site.refresh(&second, "").await, 400, "invalid_grant");
}

#[tokio::test(flavor = "multi_thread")]
async fn second_factor() {
    over_every_stack_and_store(async |site: &Site, setup: &Setup| {
        let first = async || {
            let reply = site.post("/token", "grant_type=password&username=carol&password=second456").await;
            refused(&reply, 403, "mfa_required");
            reply.text("mfa_token")
        };
        let second = async |token: &str, code: &str| {
            let grant = "http://auth0.com/oauth/grant-type/mfa-otp";
            site.post("/token", &format!("grant_type={grant}&mfa_token={token}&otp={code}")).await
        };
        let token = first().await;
        refused(&second(&token, "000000").await, 400, "invalid_grant");
        let login = second(&token, "123456").await;
        assert_eq!(login.status, 200, "R15.2: {login:?}");
        refused(&second(&token, "123456").await, 400, "invalid_grant");
        let refreshed = site.refresh(&login.text("refresh_token"), "").await;
        assert_eq!(refreshed.status, 200, "{refreshed:?}");

        let recovery = "grant_type=http://auth0.com/oauth/grant-type/mfa-recovery-code";
        let body = format!("{recovery}&mfa_token={}&recovery_code=lost", first().await);
        assert_eq!(site.post("/token", &body).await.text("recovery_code"), "next");

        // R15.6: a device that is trusted needs the password alone, until the trust is revoked.
        let grant = "http://auth0.com/oauth/grant-type/mfa-otp";
        let form = format!("grant_type={grant}&mfa_token={}&otp=123456&trust_device=true", first().await);
        let device = site.post("/token", &form).await.text("device_token");
        let trusted = format!("grant_type=password&username=carol&password=second456&device_token={device}");
        assert_eq!(site.post("/token", &trusted).await.status, 200);
        assert_eq!(site.post("/revoke", &format!("token={device}")).await.status, 200);
        refused(&site.post("/token", &trusted).await, 403, "mfa_required");

        // R15.4: what ends the sessions ends logins that wait.
        let token = first().await;
        setup.auth.revoke_subject("carol").await.unwrap();
        refused(&second(&token, "123456").await, 400, "invalid_grant");

        // R15.5: whatever the token.
        for _ in 0..5 {
            refused(&second(&first().await, "000000").await, 400, "invalid_grant");
        }
        refused(&second(&first().await, "123456").await, 429, "invalid_request");
    })
    .await;
}
