//! What the server promises about its start, routes, responses and end.

use std::time::Duration;

use serde_json::json;

use crate::client::{SECRET, attempt, get, log_in, post, refresh, request, within_once};
use test_support::example::{Example, server_without_redis};

#[test]
fn an_invalid_setting_is_an_error_at_start() {
    for (name, value, expected) in [
        ("JWT_SECRET", "short", "JWT_SECRET: the key has 5 bytes"),
        ("ADDR", "localhost", "ADDR is not a socket address"),
        ("ACCESS_TOKEN_TTL", "soon", "ACCESS_TOKEN_TTL is not a number of seconds"),
        ("REFRESH_TOKEN_TTL", "0", "REFRESH_TOKEN_TTL is not a number of seconds"),
    ] {
        let log = Example::start_with("server", &[(name, value)]).err().unwrap();
        assert!(log.contains(expected), "{name}: {log}");
    }
}

#[tokio::test]
async fn routes() {
    let server = Example::start("server", &[]);
    let login = log_in(&server).await;
    let token = login.text("access_token");
    assert_eq!((login.json()["expires_in"].as_u64(), login.text("token_type")), (Some(900), "bearer".to_owned()));

    let plain = request(&server, "GET", "/", &[], "").await;
    assert_eq!((plain.status, plain.header("content-type")), (200, Some("text/plain; charset=utf-8")));
    let echo = request(&server, "POST", "/echo", &[("content-type", "text/x-test")], "hello").await;
    assert_eq!(
        (echo.status, echo.header("content-type"), echo.body.as_ref()),
        (200, Some("text/x-test"), &b"hello"[..])
    );

    let me = get(&server, "/users/me", &token).await;
    assert_eq!((me.status, me.json()), (200, json!({ "username": "alice", "scope": "items:read items:write" })));
    assert!(get(&server, "/items", &token).await.json().is_array());
    let bearer = format!("Bearer {token}");
    let add = async |token: &str, body: &str| {
        let headers = [("authorization", token), ("content-type", "application/json")];
        request(&server, "POST", "/items", &headers, body).await.status
    };
    assert_eq!(add(&bearer, r#"{"name":"tea"}"#).await, 201);
    assert!((400..500).contains(&add(&bearer, "[]").await));
    let bob = attempt(&server, "bob", "builder456").await;
    assert_eq!(bob.text("scope"), "items:read");
    assert_eq!(add(&format!("Bearer {}", bob.text("access_token")), "{}").await, 403);
    assert_eq!(add("", "{}").await, 401);

    assert_eq!(request(&server, "GET", "/token", &[], "").await.status, 404);
    assert_eq!(request(&server, "DELETE", "/users/me", &[("authorization", &bearer)], "").await.status, 405);
    assert_eq!(post(&server, "/nowhere", "").await.status, 404);

    let document = request(&server, "GET", "/openapi.json", &[], "").await.json();
    let scheme = &document["components"]["securitySchemes"]["password"];
    assert_eq!(scheme["flows"]["password"]["tokenUrl"], "/token");
    assert!(scheme["flows"]["password"]["scopes"]["items:write"].is_string());
    assert_eq!(document["paths"]["/items"]["get"]["security"], json!([{ "password": ["items:read"] }]));
    let item = &document["components"]["schemas"]["Item"];
    assert_eq!((&item["properties"]["name"]["type"], &item["required"]), (&json!("string"), &json!(["name"])));
    for path in ["/token", "/revoke"] {
        let body = &document["paths"][path]["post"]["requestBody"]["content"];
        assert!(body["application/x-www-form-urlencoded"]["schema"]["properties"].is_object(), "{path}: {body}");
    }

    let docs = request(&server, "GET", "/docs", &[], "").await;
    assert_eq!((docs.status, docs.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let page = String::from_utf8(docs.body.to_vec()).unwrap();
    let assets: Vec<_> = page.split('"').filter(|text| text.starts_with("/swagger-ui/")).collect();
    assert_eq!(assets.len(), 2, "{page}");
    for asset in assets {
        assert_eq!(request(&server, "GET", asset, &[], "").await.status, 200, "{asset}");
    }
}

#[tokio::test]
async fn the_access_token_has_the_form_of_rfc_9068() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let server = Example::start("server", &[SECRET, ("ACCESS_TOKEN_TTL", "60")]);
    let web = "grant_type=password&username=alice&password=wonderland123&client_id=demo-cli";
    let reply = post(&server, "/token", web).await;
    let token = reply.text("access_token");
    let part = |index: usize| -> serde_json::Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(index).unwrap()).unwrap()).unwrap()
    };
    assert_eq!((&part(0)["typ"], &part(0)["alg"]), (&json!("at+jwt"), &json!("HS256")));
    let claims = part(1);
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 60);
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("alice"), &json!("demo-cli")));
    assert_eq!(claims["scope"], json!("items:read items:write"));
    assert!(["iss", "aud", "jti"].iter().all(|name| claims[name].is_string()), "{claims}");

    let other = Example::start("server", &[SECRET]);
    assert_eq!(get(&other, "/users/me", &token).await.status, 200, "the same secret, the same server to clients");
    let stranger = Example::start("server", &[]);
    assert_eq!(get(&stranger, "/users/me", &token).await.status, 401);
}

#[tokio::test]
async fn a_pair_is_blocked_after_ten_failures() {
    let server = Example::start("server", &[]);
    for _ in 0..10 {
        assert_eq!(attempt(&server, "bob", "wrong").await.status, 400);
    }
    let blocked = attempt(&server, "bob", "builder456").await;
    assert_eq!(blocked.status, 429);
    assert!(blocked.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(blocked.text("error"), "invalid_request");
    assert_eq!(attempt(&server, "alice", "wonderland123").await.status, 200);
}

#[tokio::test]
async fn a_login_takes_less_than_a_second_in_the_dev_profile() {
    let server = Example::start("server", &[]);
    within_once(Duration::from_secs(1), "a login", async || drop(log_in(&server).await)).await;
}

#[test]
fn a_redis_url_needs_the_feature() {
    let variables = [("REDIS_URL", "redis://:hunter2@127.0.0.1:1")];
    let log = Example::start_binary(&server_without_redis(), &variables).err().unwrap();
    assert!(log.contains("--features redis") && !log.contains("hunter2"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_answers_requests_in_flight() {
    let mut server = Example::start("server", &[]);
    let token = log_in(&server).await.text("refresh_token");
    let logins = futures_util::future::join_all((0..4).map(|_| attempt(&server, "alice", "wonderland123")));
    let stop = async {
        // When the first login is being checked.
        while server.log().matches("login").count() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.signal("-TERM");
    };
    let (logins, ()) = tokio::join!(logins, stop);
    // A busy machine has no room for all.
    let served = |status| logins.iter().filter(|reply| reply.status == status).count();
    assert!(served(200) > 0 && served(200) + served(503) == 4, "{logins:?}");
    assert_eq!(server.wait(Duration::from_secs(10)), Some(0));
    drop(token);

    let mut idle = Example::start("server", &[]);
    let open = tokio::net::TcpStream::connect(idle.address).await.unwrap();
    assert_eq!(refresh(&idle, "x").await.status, 400);
    idle.signal("-INT");
    assert_eq!(
        idle.wait(Duration::from_secs(10)),
        Some(0),
        "an idle connection does not delay the end: {}",
        idle.log()
    );
    drop(open);
}

#[test]
fn a_signal_right_after_the_start_ends_the_server_in_order() {
    for signal in ["-TERM", "-INT"] {
        let mut server = Example::start("server", &[]);
        server.signal(signal);
        assert_eq!(server.wait(Duration::from_secs(10)), Some(0), "{signal}");
    }
}
