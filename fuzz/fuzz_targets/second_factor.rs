//! The second step of a login, and grants of the app. Each line is a form; `$n` is the n-th `mfa_token` or `device_token`, of
//! which the first belongs to a login of alice, and the second to one of alice with a client.
#![no_main]

use std::sync::LazyLock;

use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tower::Service;
use tower_oauth2_password::{
    AuthorizationServer, BoxError, Client, FactorCode, FactorVerdict, GrantRequest, Identity, Jwt, Key, Login,
    SecondFactor, SecondFactors, StaticClients, Verdict, Verifier, store::MemoryRefreshStore,
};
use tower_oauth2_password_fuzz::{ask::Ask, urlencoded::pieces};

const OTP: &str = "http://auth0.com/oauth/grant-type/mfa-otp";
const RECOVERY: &str = "http://auth0.com/oauth/grant-type/mfa-recovery-code";
const FIRST: [&str; 2] = [
    "grant_type=password&username=alice&password=right",
    "grant_type=password&username=alice&password=right&client_id=cli&scope=a",
];

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a runtime"));

struct Users;

impl Verifier for Users {
    async fn verify(&self, login: Login) -> Result<Verdict, BoxError> {
        let right = login.password.expose() == "right";
        Ok(if right { Identity::new(login.username).with_scope("a b".parse()?).into() } else { Verdict::Denied })
    }

    async fn verify_subject(&self, subject: &str) -> Result<Verdict, BoxError> {
        Ok(Identity::new(subject).with_scope("a b".parse()?).into())
    }
}

struct Codes;

impl SecondFactor for Codes {
    async fn is_required(&self, _: &Identity) -> Result<bool, BoxError> {
        Ok(true)
    }

    async fn verify(&self, _: &str, code: FactorCode) -> Result<FactorVerdict, BoxError> {
        Ok(match code {
            FactorCode::Otp(otp) if otp.expose() == "123456" => {
                FactorVerdict::Accepted { amr: "otp", recovery_code: None }
            }
            FactorCode::Recovery(code) if code.expose() == "lost" => {
                FactorVerdict::Accepted { amr: "pin", recovery_code: Some("n\"e\\xt".into()) }
            }
            _ => FactorVerdict::Denied,
        })
    }
}

async fn by_code(request: GrantRequest) -> Result<Verdict, BoxError> {
    let right = request.required("code")?.expose() == "right";
    Ok(if right { Identity::new("bob").with_scope("a".parse()?).into() } else { Verdict::Denied })
}

fn server() -> AuthorizationServer {
    let clients = [
        Client::public("cli"),
        Client::confidential("jobs", "secret").with_subject("client:jobs"),
        Client::public("tv"),
    ];
    let factors = SecondFactors::new(Codes, MemoryRefreshStore::new());
    let jwt = Jwt::new(Key::hs256([7; 32]).expect("a key"), "https://api.example", "api");
    AuthorizationServer::new(Users, jwt)
        .with_clients(StaticClients::new(clients))
        .with_client_credentials_grant()
        .with_extension_grant("urn:example:code", ["code"], by_code)
        .expect("a URI")
        .with_second_factor(
            factors.with_trusted_devices(MemoryRefreshStore::new(), std::time::Duration::from_secs(3_600)),
        )
}

async fn post(auth: &AuthorizationServer, form: &[u8]) -> (u16, Value) {
    let request = Ask::post("/token", form).request();
    let reply = auth.token_endpoint().into_service().call(request).await.expect("infallible");
    assert!(reply.headers().get("cache-control").is_some_and(|value| value == "no-store"));
    let status = reply.status().as_u16();
    let body = reply.into_body().collect().await.expect("infallible").to_bytes();
    (status, serde_json::from_slice(&body).expect("JSON"))
}

/// What a form says, if a parameter occurs once.
fn one<'a>(form: &'a [(Option<String>, Option<String>)], name: &str) -> Option<&'a str> {
    let mut found = form.iter().filter(|(own, _)| own.as_deref() == Some(name));
    let (_, value) = found.next()?;
    if found.next().is_some() { None } else { value.as_deref() }
}

fn check(form: &[u8], status: u16, body: &Value, live: &mut Vec<(String, &str)>) {
    let read = pieces(form);
    let grant = one(&read, "grant_type").unwrap_or_default();
    if [200, 403].contains(&status) {
        let sent = |name| one(&read, name).filter(|value| !value.is_empty());
        let is_meant = match grant {
            OTP | RECOVERY => sent("trust_device").is_none_or(|wish| ["true", "false"].contains(&wish)),
            "password" => sent("device_token").is_none_or(|token| token.len() == 64),
            _ => true,
        };
        assert!(is_meant, "what no client can mean was accepted");
    }
    match status {
        200 if [OTP, RECOVERY].contains(&grant) => {
            let token = one(&read, "mfa_token").expect("a login that waits");
            let client = one(&read, "client_id").unwrap_or_default();
            let waiting = live.iter().position(|known| known == &(token.to_owned(), client));
            live.remove(waiting.expect("issued to this client, and not used before"));
            let right = if grant == OTP {
                one(&read, "otp") == Some("123456")
            } else {
                one(&read, "recovery_code") == Some("lost")
            };
            assert!(right, "the right code");
            assert_eq!(body["recovery_code"].is_string(), grant == RECOVERY);
            assert_eq!(body["device_token"].is_string(), one(&read, "trust_device") == Some("true"));
        }
        200 => match grant {
            "urn:example:code" => assert_eq!(one(&read, "code"), Some("right")),
            "client_credentials" => assert!(body["refresh_token"].is_null()),
            "password" => assert!(one(&read, "device_token").is_some(), "a second step is required"),
            other => panic!("{other} got a token"),
        },
        403 => assert!(grant == "password" && body["error"] == "mfa_required" && body["mfa_token"].is_string()),
        400 | 401 | 413 | 429 => {
            assert!(body["access_token"].is_null() && body["mfa_token"].is_null());
            let described = body["error_description"].as_str().expect("a description");
            assert!(described.chars().all(|c| (' '..='~').contains(&c) && c != '"' && c != '\\'));
        }
        other => panic!("status {other}: {body}"),
    }
}

fuzz_target!(|input: &[u8]| {
    let auth = server();
    RUNTIME.block_on(async {
        let (mut tokens, mut live) = (Vec::new(), Vec::new());
        for (form, client) in FIRST.into_iter().zip(["", "cli"]) {
            let token = post(&auth, form.as_bytes()).await.1["mfa_token"].as_str().expect("a first step").to_owned();
            live.push((token.clone(), client));
            tokens.push(token);
        }
        for line in input.split(|byte| *byte == b'\n').take(12) {
            let mut text = String::from_utf8_lossy(line).into_owned();
            for (n, token) in tokens.iter().enumerate() {
                text = text.replace(&format!("${n}"), token);
            }
            let (status, body) = post(&auth, text.as_bytes()).await;
            check(text.as_bytes(), status, &body, &mut live);
            if let (403, Some(token)) = (status, body["mfa_token"].as_str()) {
                let client = one(&pieces(text.as_bytes()), "client_id").unwrap_or_default().to_owned();
                let known = ["", "cli", "tv", "jobs"].into_iter().find(|known| *known == client);
                live.push((token.to_owned(), known.expect("a registered client")));
                tokens.push(token.to_owned());
            }
            tokens.extend(body["device_token"].as_str().map(str::to_owned));
        }
    });
});
