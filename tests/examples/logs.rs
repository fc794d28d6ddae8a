//! No secret that a client sends appears in the log, even at trace level, or stays in Redis.

use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::{Either, Full};
use hyper::Request;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::client::{SECRET, attempt, get, post, refresh, request};
use test_support::{
    example::Example,
    http::{Http, Reply, send},
    secrets::Secrets,
};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const BOB: &str = "grant_type=password&username=bob&password=builder456";

/// Every secret of a session except the tokens.
fn secrets() -> Secrets {
    Secrets::of(&[
        "wonderland123",
        "builder456",
        "demo-web-secret",
        SECRET.1,
        "wrong-horse-battery",
        "broken-secret",
        "query-secret",
        "json-secret",
        "twice-secret",
        "long-secret",
        "cut-secret",
        "head-secret",
        "guessed-secret",
        "forged-token-secret",
        "argon2id$v",
    ])
}

async fn basic(server: &Example, http: Http, secret: &str, form: &str) -> Reply {
    let credentials = format!("Basic {}", STANDARD.encode(format!("demo-web:{secret}")));
    let request = Request::post("/token").header(FORM.0, FORM.1).header("authorization", credentials);
    send(server.address, http, request.body(Either::Left(Full::from(form.to_owned()))).unwrap()).await
}

/// Sends bytes that are not a valid request.
async fn raw(server: &Example, text: &str) {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

async fn broken_requests(server: &Example) {
    let form = |text: &str| format!("grant_type=password&username=alice&password={text}");
    assert_eq!(post(server, "/token", &form("broken-secret%FF")).await.status, 400);
    assert_eq!(post(server, "/token", &form("twice-secret&password=twice-secret")).await.status, 400);
    assert_eq!(post(server, "/token", &format!("{}{}", form("long-secret"), "x".repeat(16_384))).await.status, 413);
    assert_eq!(post(server, "/token?password=query-secret", "").await.status, 400);
    let json = r#"{"username":"alice","password":"json-secret"}"#;
    assert_eq!(request(server, "POST", "/token", &[("content-type", "application/json")], json).await.status, 400);
    assert_eq!(refresh(server, "forged-token-secret").await.status, 400);
    assert_eq!(get(server, "/users/me", "forged-token-secret").await.status, 401);
    let head = format!("POST /token HTTP/1.1\r\nhost: x\r\n{}: {}\r\n", FORM.0, FORM.1);
    raw(server, &format!("{head}content-length: 900\r\n\r\n{}", form("cut-secret"))).await;
    raw(server, &format!("{head}author ization: Bearer head-secret\r\n\r\n")).await;
    raw(server, &format!("{head}content-length: head-secret\r\n\r\n{}", form("cut-secret"))).await;
    raw(server, &form("cut-secret\r\n\r\n")).await;
}

/// Sends every kind of request, over HTTP/1 and HTTP/2. Adds the tokens that it gets to `secrets`.
async fn session(server: &Example, secrets: &mut Secrets) -> String {
    for http in [Http::One, Http::Two] {
        let login = basic(server, http, "demo-web-secret", BOB).await;
        assert_eq!(login.status, 200, "{login:?}");
        secrets.add_access_token(&login.text("access_token"));
        secrets.add_refresh_token(&login.text("refresh_token"));
        assert_eq!(basic(server, http, "guessed-secret", BOB).await.status, 401);
        let token = login.text("access_token");
        let guarded = Request::get("/users/me").header("authorization", format!("Bearer {token}"));
        let reply = send(server.address, http, guarded.body(Either::Left(Full::default())).unwrap()).await;
        assert_eq!(reply.status, 200);
    }
    assert_eq!(
        post(server, "/token", &format!("{BOB}&client_id=demo-web&client_secret=guessed-secret")).await.status,
        401
    );

    let login = attempt(server, "alice", "wonderland123").await;
    let (access, first) = (login.text("access_token"), login.text("refresh_token"));
    get(server, "/users/me", &format!("{access}x")).await;
    let rotated = refresh(server, &first).await;
    let second = rotated.text("refresh_token");
    assert_eq!(refresh(server, &first).await.status, 400, "reuse");
    let last = attempt(server, "alice", "wonderland123").await;
    for reply in [&login, &rotated, &last] {
        secrets.add_access_token(&reply.text("access_token"));
        secrets.add_refresh_token(&reply.text("refresh_token"));
    }
    for token in [&access, &second, &last.text("refresh_token")] {
        assert_eq!(post(server, "/revoke", &format!("token={token}")).await.status, 200);
    }
    for name in ["alice", "mallory-the-guesser"] {
        assert_eq!(attempt(server, name, "wrong-horse-battery").await.status, 400);
    }
    broken_requests(server).await;

    let open = attempt(server, "alice", "wonderland123").await;
    secrets.add_access_token(&open.text("access_token"));
    let token = open.text("refresh_token");
    secrets.add_refresh_token(&token);
    token
}

#[tokio::test]
async fn no_secret_is_logged_at_trace_level() {
    let server = Example::start("server", &[SECRET]);
    let mut secrets = secrets();
    session(&server, &mut secrets).await;
    let log = server.log();
    for event in ["login", "denied", "refresh", "reuse", "revoke"] {
        assert!(log.contains(event), "the log says nothing of {event}: {log}");
    }
    assert!(log.contains("TRACE"), "not at trace level");
    secrets.assert_none_in("the log", log.as_bytes());
}

mod in_redis {
    use super::*;
    use test_support::redis::Redis;

    const ACCOUNTS: [&str; 14] = [
        "--user",
        "app",
        "on",
        ">url-password",
        "~*",
        "&*",
        "+@all",
        "--user",
        "reader",
        "on",
        ">reader-password",
        "~*",
        "+ping",
        "+client",
    ];

    fn url(redis: &Redis, account: &str) -> String {
        redis.url().replace("redis://", &format!("redis://{account}@"))
    }

    async fn unavailable(server: &Example, token: &str) {
        assert_eq!(attempt(server, "alice", "wonderland123").await.status, 503);
        assert_eq!(refresh(server, token).await.status, 503);
        assert_eq!(post(server, "/revoke", &format!("token={token}")).await.status, 503);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_secret_is_logged_or_stored() {
        let durable = ["--appendonly", "yes", "--appendfsync", "always"];
        let mut redis = Redis::start_with(&[&durable[..], &ACCOUNTS].concat());
        let mut secrets = secrets();
        for password in ["url-password", "reader-password", "stale-password"] {
            secrets.add(password);
        }
        let with = |url: &str| Example::start("server", &[SECRET, ("REDIS_URL", url)]);
        let server = with(&url(&redis, "app:url-password"));
        let token = session(&server, &mut secrets).await;

        let (contents, files) = (redis.contents().await, redis.files());
        for (place, text) in [("Redis", &contents), ("Redis's files", &files)] {
            for kept in ["oauth2:f:", "oauth2:s:", "oauth2:a:", "oauth2:deny", "alice", "demo-web"] {
                assert!(text.windows(kept.len()).any(|window| window == kept.as_bytes()), "{kept} is not in {place}");
            }
            secrets.assert_none_in(place, text);
            Secrets::of(&["mallory-the-guesser"]).assert_none_in(place, text);
        }

        redis.pause();
        unavailable(&server, &token).await;
        redis.resume();
        redis.kill9();
        unavailable(&server, &token).await;
        redis.restart();
        secrets.assert_none_in("the log", server.log().as_bytes());

        for (account, told) in [("app:stale-password", "WRONGPASS"), ("reader:reader-password", "NoPerm")] {
            let server = with(&url(&redis, account));
            unavailable(&server, &token).await;
            let log = server.log_that_tells(&[told, "authentication", "Authentication"]);
            secrets.assert_none_in("the log", log.as_bytes());
        }
        for url in ["redis://app:url-password@localhost:port", "http://app:url-password@localhost"] {
            let Err(log) = Example::start_with("server", &[SECRET, ("REDIS_URL", url)]) else { panic!("it started") };
            assert!(log.contains("REDIS_URL"), "{log}");
            secrets.assert_none_in("the log", log.as_bytes());
        }
    }
}

#[test]
fn a_secret_is_found_in_other_spellings() {
    let secrets = Secrets::of(&["wonder land?>123"]);
    for text in [
        "a wonder land?>123 b".to_owned(),
        "password=wonder%20land%3F%3E123&x".to_owned(),
        "776f6e646572206c616e643f3e313233".to_owned(),
        format!("Basic {}", STANDARD.encode("alice:wonder land?>123")),
        STANDARD.encode("wonder land?>123 and more"),
        STANDARD.encode("it is wonder land?>123"),
        format!("{:?}", b"wonder land?>123"),
    ] {
        let found = std::panic::catch_unwind(|| secrets.assert_none_in("a test", text.as_bytes()));
        assert!(found.is_err(), "{text}");
    }
    secrets.assert_none_in("a test", b"wonder land?>12");
}
