//! The examples that newcomers copy do what their first lines say.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::Value;
use tonic::{Code, Request, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::client::{attempt, eventually, get, log_in, otp, post, request};
use test_support::{
    example::{Example, binary},
    http::Reply,
};

#[tokio::test]
async fn hyper() {
    let server = Example::start("hyper", &[]);
    let token = log_in(&server).await.text("access_token");
    assert_eq!(get(&server, "/", &token).await.body, "Hello, alice\n");
    assert_eq!(get(&server, "/", "x").await.status, 401);
}

#[tokio::test]
async fn custom_verifier() {
    let server = Example::start("custom_verifier", &[]);
    let token = log_in(&server).await.text("access_token");
    assert_eq!(get(&server, "/users/me", &token).await.body, "alice of rabbit-holes\n");
    assert_eq!(attempt(&server, "carol", "any").await.text("error"), "invalid_grant", "who has a second factor");
    let carol = attempt(&server, "carol", "curiouser456").await;
    assert_eq!(
        (carol.status, carol.text("error"), carol.text("mfa_token").is_empty()),
        (400, "mfa_required".into(), false)
    );
    assert_eq!(attempt(&server, "alice", "wrong").await.text("error"), "invalid_grant");
}

#[tokio::test]
async fn extension_grant() {
    let server = Example::start("extension_grant", &[]);
    let log_in = async |mail: &str, code: &str| {
        let form = format!("grant_type=urn:example:mailed-code&mail={mail}&code={code}");
        let reply = post(&server, "/token", &form).await;
        (reply.status, reply.json()["error"].as_str().unwrap_or_default().to_owned())
    };
    let code = async |mail: &str| {
        let reply = post(&server, "/codes", mail).await;
        String::from_utf8(reply.body.to_vec()).unwrap()
    };
    let denied = (400, "invalid_grant".to_owned());
    let (alice, bob) = ("alice@api.example", "bob@api.example");
    let (hers, his) = (code(alice).await, code(bob).await);
    assert_eq!(log_in(bob, &his).await, denied, "who has no account");
    assert_eq!(log_in(alice, &code(bob).await).await, denied, "the code of another address");
    assert_eq!(log_in(alice, "").await.1, "invalid_request");
    assert_eq!(log_in(alice, &hers).await.0, 200);
    assert_eq!(log_in(alice, &hers).await, denied, "again");
    assert_eq!(attempt(&server, "alice", "any").await.text("error"), "invalid_grant", "nobody has a password");
}

#[tokio::test]
async fn client_credentials() {
    let server = Example::start("client_credentials", &[]);
    let ask = async |secret: &str, form: &str| {
        let basic = format!("Basic {}", STANDARD.encode(format!("reports:{secret}")));
        let headers = [("authorization", basic.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        request(&server, "POST", "/token", &headers, form).await
    };
    let wrong = ask("guess", "grant_type=client_credentials").await;
    assert_eq!((wrong.status, wrong.text("error")), (401, "invalid_client".to_owned()));
    let nobody = post(&server, "/token", "grant_type=client_credentials&client_id=reports").await;
    assert_eq!((nobody.status, nobody.text("error")), (401, "invalid_client".to_owned()), "its secret is required");
    let as_user = ask("reports-secret", "grant_type=password&username=alice&password=wonderland123").await;
    assert_eq!(as_user.text("error"), "unauthorized_client", "users do not log in through it");
    let wider = ask("reports-secret", "grant_type=client_credentials&scope=orders:own").await;
    assert_eq!(wider.text("error"), "invalid_scope");

    let service = ask("reports-secret", "grant_type=client_credentials").await;
    assert_eq!((service.text("scope"), &service.json()["refresh_token"]), ("orders:all".to_owned(), &Value::Null));
    let service = service.text("access_token");
    assert_eq!(get(&server, "/orders", &service).await.body, "all orders, for client:reports\n");
    let refused = get(&server, "/users/me", &service).await;
    assert_eq!((refused.status, &*refused.body), (403, b"Only users have an account\n".as_slice()));

    let alice = log_in(&server).await.text("access_token");
    assert_eq!(get(&server, "/users/me", &alice).await.body, "alice\n");
    assert_eq!(get(&server, "/orders", &alice).await.text("error"), "insufficient_scope");
    assert_eq!(get(&server, "/users/me", "x").await.status, 401);
}

#[tokio::test]
async fn second_factor() {
    let server = Example::start("second_factor", &[]);
    let send = async |method: &str, path: &str, token: &str, body: &str| {
        let headers = [("authorization", &*format!("Bearer {token}")), ("content-type", "text/plain")];
        request(&server, method, path, &headers, body).await
    };
    let second = async |kind: &str, code: &str| {
        let first = attempt(&server, "alice", "wonderland123").await;
        assert_eq!((first.status, first.text("error")), (403, "mfa_required".to_owned()), "{first:?}");
        let grant = format!("http://auth0.com/oauth/grant-type/mfa-{}", kind.replace('_', "-"));
        let form = format!("grant_type={grant}&mfa_token={}&{kind}={code}&trust_device=true", first.text("mfa_token"));
        post(&server, "/token", &form).await
    };
    let text = |reply: &Reply| String::from_utf8(reply.body.to_vec()).unwrap();

    let weak = log_in(&server).await.text("access_token");
    let url = text(&send("POST", "/me/factor", &weak, "").await);
    let secret = url.split(['=', '&']).nth(1).unwrap().to_owned();
    // One step apart, so that each is later than the one before, and all are within the window.
    let [first, next] = ["now", "+30 seconds"].map(|time| otp(&secret, time));
    let wrong = if first == "000000" { "111111" } else { "000000" };
    assert_eq!(send("POST", "/me/factor/confirm", &weak, wrong).await.text("error_description"), "The code is wrong");
    assert_eq!(log_in(&server).await.status, 200, "nothing was confirmed");
    let codes = text(&send("POST", "/me/factor/confirm", &weak, &first).await);
    assert_eq!(codes.lines().count(), 10, "{codes}");
    assert_eq!(send("POST", "/me/factor", &weak, "").await.status, 400, "who has one already");

    assert_eq!(second("otp", &first).await.text("error"), "invalid_grant", "the code that enrolled");
    assert_eq!(second("otp", "12345a").await.text("error"), "invalid_request");
    let login = second("otp", &next).await;
    assert_eq!(login.status, 200, "{login:?}");
    assert_eq!(second("otp", &next).await.text("error"), "invalid_grant", "the same code again");
    let code = codes.lines().next().unwrap();
    assert_eq!(second("recovery_code", code).await.status, 200);
    assert_eq!(second("recovery_code", code).await.text("error"), "invalid_grant", "the same code again");

    let device = login.text("device_token");
    let form = format!("grant_type=password&username=alice&password=wonderland123&device_token={device}");
    let trusted = post(&server, "/token", &form).await;
    assert_eq!(trusted.status, 200, "{trusted:?}");
    for token in [&weak, &trusted.text("access_token")] {
        let refused = send("DELETE", "/me/factor", token, "").await;
        assert_eq!((refused.status, refused.text("error")), (401, "insufficient_user_authentication".to_owned()));
    }
    assert_eq!(send("DELETE", "/me/factor", &login.text("access_token"), "").await.status, 200);
    assert_eq!(log_in(&server).await.status, 200, "a password is enough again");
}

#[tokio::test]
async fn legacy_hashes() {
    let server = Example::start("legacy_hashes", &[]);
    for (name, password) in [("alice", "wonderland123"), ("carol", "curiouser456")] {
        assert_eq!(attempt(&server, name, "wrong").await.text("error"), "invalid_grant");
        // The first login is by the old hash, the second by Argon2.
        for _ in 0..2 {
            let token = attempt(&server, name, password).await.text("access_token");
            assert_eq!(get(&server, "/", &token).await.body, "argon2id\n");
            assert_eq!(attempt(&server, name, "wrong").await.text("error"), "invalid_grant");
        }
    }
    let token = attempt(&server, "dave", "teaparty789").await.text("access_token");
    assert_eq!(get(&server, "/", &token).await.body, "nothing: the directory has it\n");
    for name in ["dave", "nobody"] {
        assert_eq!(attempt(&server, name, "any").await.text("error"), "invalid_grant");
    }
}

#[tokio::test]
async fn tonic() {
    let server = Example::start("tonic", &[]);
    let token = log_in(&server).await.text("access_token");
    let channel = Channel::from_shared(server.url()).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    let check = || Request::new(HealthCheckRequest::default());
    assert_eq!(health.check(check()).await.unwrap_err().code(), Code::Unauthenticated);
    let mut request = check();
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    assert_eq!(health.check(request).await.unwrap().into_inner().status, 1);
}

#[test]
fn https() {
    let mut server = Command::new(binary("https")).env("ADDR", "127.0.0.1:0").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let certificate = lines.next().unwrap().unwrap().replace("certificate: ", "");
    let listening = lines.next().unwrap().unwrap();
    let port = |after: &str| {
        let rest = listening.split_once(after).unwrap().1;
        rest.split([':', ' ']).nth(1).unwrap().to_owned()
    };
    let curl = |url: String, version: &str| {
        let form = "grant_type=password&username=alice&password=wonderland123";
        let arguments = ["-s", version, "--cacert", &certificate, "-d", form, &url];
        let output = Command::new("curl").args(arguments).output().expect("apt-get install curl");
        String::from_utf8(output.stdout).unwrap()
    };
    let secure = format!("https://localhost:{}/token", port("https://"));
    for version in ["--http1.1", "--http2"] {
        let reply = curl(secure.clone(), version);
        assert!(reply.contains("access_token"), "{version}: {reply}");
    }
    let reply = curl(format!("http://127.0.0.1:{}/token", port("http://")), "--http1.1");
    assert!(reply.contains("This endpoint answers over HTTPS only"), "{reply}");
    server.kill().unwrap();
    server.wait().unwrap();
}

#[tokio::test]
async fn prometheus() {
    let server = Example::start("prometheus", &[]);
    log_in(&server).await;
    assert_eq!(attempt(&server, "alice", "wrong").await.status, 400);
    // The last hash is counted a moment after its response was sent.
    let mut text = String::new();
    for _ in 0..1_000 {
        text = String::from_utf8(get(&server, "/metrics", "").await.body.to_vec()).unwrap();
        if ["queue", "hash"].iter().all(|what| text.contains(&format!("oauth2_password_{what}_seconds_count 2"))) {
            break;
        }
    }
    for line in [
        "oauth2_events_total{event=\"login\"} 1",
        "oauth2_events_total{event=\"denied\"} 1",
        "oauth2_answers_total{path=\"/token\",outcome=\"ok\"} 1",
        "oauth2_answers_total{path=\"/token\",outcome=\"invalid_grant\"} 1",
        "oauth2_password_hash_seconds_count 2",
        "oauth2_password_queue_seconds_count 2",
        "oauth2_password_queue_length 0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn key_rotation() {
    let server = Example::start("key_rotation", &[]);
    let token = log_in(&server).await.text("access_token");
    let kid = |token: &str| -> serde_json::Value {
        let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        serde_json::from_slice::<serde_json::Value>(&header).unwrap()["kid"].clone()
    };
    let published = async || -> Vec<serde_json::Value> {
        let keys = get(&server, "/.well-known/jwks.json", "").await.json();
        keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect()
    };
    let before = published().await;
    assert!(before.contains(&kid(&token)));
    let bearer = format!("Bearer {token}");
    assert!(request(&server, "POST", "/rotate", &[("authorization", &bearer)], "").await.status < 300);
    let new = log_in(&server).await.text("access_token");
    assert_ne!(kid(&new), kid(&token));
    assert!(before.contains(&kid(&new)), "the next key was published before it signed");
    assert!(published().await.contains(&kid(&token)), "the key before is published still");
    for token in [token, new] {
        assert_eq!(get(&server, "/", &token).await.status, 200);
    }
    let metadata = get(&server, "/.well-known/oauth-authorization-server", "").await.json();
    assert!(metadata["grant_types_supported"].as_array().unwrap().contains(&"password".into()));
}

#[tokio::test]
async fn jwks() {
    let issuer = Example::start("key_rotation", &[]);
    let set = format!("{}/.well-known/jwks.json", issuer.url());
    let server = Example::start("jwks", &[("JWKS_URL", &set), ("ISSUER", &issuer.url())]);
    let old = log_in(&issuer).await.text("access_token");
    assert_eq!(get(&server, "/", &old).await.body, "Hello, alice\n");
    // The next key is published already, and the one after it is not.
    let bearer = format!("Bearer {old}");
    for _ in 0..2 {
        assert_eq!(request(&issuer, "POST", "/rotate", &[("authorization", &bearer)], "").await.status, 204);
    }
    let new = log_in(&issuer).await.text("access_token");
    assert_eq!(get(&server, "/", &new).await.status, 401, "it is not known yet");
    eventually("the new key is accepted", async || get(&server, "/", &new).await.status == 200).await;
    assert_eq!(get(&server, "/", &old).await.status, 401, "its key is not published any more");
    // This address answers with an error, and not with a set.
    let error = Example::start_with("jwks", &[("JWKS_URL", &issuer.url())]).err().unwrap();
    assert!(error.contains("401"), "{error}");
}
