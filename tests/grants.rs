//! Grants of the app (RFC 6749, section 4.5), and of clients for themselves (section 4.4).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::{future::pending, time::Duration};

use http::{Request, request::Parts};
use serde_json::{Value, json};
use test_support::oneshot::{guarded, post_form};
use tower_oauth2_password::{
    AttemptLimits, AuthorizationServer, BoxError, Client, EventKind, GrantRequest, Identity, Jwt, Key, Login,
    RefreshTokens, StaticClients, TokenError, TokenValidator, Verdict, Verifier,
    store::{MemoryAttemptStore, MemoryDenyList, MemoryRefreshStore},
};

const CODE: &str = "urn:example:mailed-code";

struct Users;

impl Verifier for Users {
    async fn verify(&self, login: Login) -> Result<Verdict, BoxError> {
        Ok(if login.password.expose() == "right" { Identity::new(login.username).into() } else { Verdict::Denied })
    }

    async fn verify_subject(&self, subject: &str) -> Result<Verdict, BoxError> {
        Ok(Identity::new(subject).with_scope("read write".parse().unwrap()).into())
    }
}

/// The code `right` of an account. Others show what a grant may do.
async fn by_code(request: GrantRequest) -> Result<Verdict, BoxError> {
    let (account, code) = (request.required("account")?, request.required("code")?);
    match code.expose() {
        "away" => return Err("mail.internal is away".into()),
        "own" => return Err(TokenError::custom("too_late", "The code was for yesterday").into()),
        "hangs" => pending().await,
        "panics" => panic!("a grant of the app"),
        _ => {}
    }
    let attempt = request.reserve_attempt(account.expose()).await?;
    if code.expose() != "right" {
        attempt.failed().await?;
        return Ok(Verdict::Denied);
    }
    attempt.succeeded().await?;
    let client = request.client_id.as_deref().unwrap_or("none").to_owned();
    let identity = Identity::new(account.expose()).with_scope("read write".parse()?).with_amr(["otp"]);
    Ok(identity.with_claim("client", client).into())
}

fn jwt() -> Jwt {
    Jwt::new(Key::hs256([7; 32]).unwrap(), "https://api.example", "api")
}

fn bare() -> AuthorizationServer {
    let clients = StaticClients::new([
        Client::public("cli"),
        Client::public("reader").with_scope("read".parse().unwrap()).with_grants(["password", CODE]),
        Client::public("old").with_grants(["password"]),
        Client::public("open").with_subject("client:open"),
        Client::confidential("web", "secret"),
        Client::confidential("alice", "secret").with_subject("alice").with_scope("jobs:run jobs:read".parse().unwrap()),
        Client::confidential("idle", "secret").with_subject("client:idle").with_grants(["password"]),
    ]);
    AuthorizationServer::new(Users, jwt())
        .with_attempt_limits(AttemptLimits::new(MemoryAttemptStore::new(), |_: &Parts| None))
        .with_refresh_tokens(RefreshTokens::new(MemoryRefreshStore::new()))
        .with_deny_list(MemoryDenyList::new())
        .with_clients(StaticClients::clone(&clients))
}

fn server() -> AuthorizationServer {
    bare().with_client_credentials_grant().with_extension_grant(CODE, ["account", "code"], by_code).unwrap()
}

async fn post_to(auth: &AuthorizationServer, path: &str, body: &str) -> (u16, Value) {
    let (status, _, body) = post_form(auth.endpoints().into_service(), Request::post(path), body).await;
    (status, body)
}

async fn post(auth: &AuthorizationServer, body: &str) -> (u16, Value) {
    post_to(auth, "/token", body).await
}

async fn code(auth: &AuthorizationServer, code: &str) -> (u16, Value) {
    post(auth, &format!("grant_type={CODE}&account=alice&code={code}")).await
}

fn text<'a>(body: &'a Value, name: &str) -> &'a str {
    body[name].as_str().unwrap_or_else(|| panic!("no {name} in {body}"))
}

#[tokio::test]
async fn a_grant_of_the_app_begins_a_session_as_a_password_does() {
    let auth = server();
    let (status, body) =
        post(&auth, &format!("grant_type={CODE}&account=alice&code=right&client_id=reader&scope=read")).await;
    assert_eq!((status, &body["scope"], &body["refresh_token"]), (200, &json!("read"), &Value::Null), "{body}");
    let (_, body) = code(&auth, "right").await;
    let token = jwt().validate(text(&body, "access_token")).unwrap();
    assert_eq!(
        (token.user(), token.claim("client"), token.claim("amr")),
        (Some("alice"), Some(&json!("none")), Some(&json!(["otp"])))
    );
    assert_eq!(auth.sessions("alice").await.unwrap()[0].id, token.session_id().unwrap());
    let refresh = format!("grant_type=refresh_token&refresh_token={}", text(&body, "refresh_token"));
    assert_eq!(post(&auth, &refresh).await.0, 200);
    let grants = auth.metadata().unwrap().to_json()["grant_types_supported"].clone();
    assert_eq!(grants, json!(["password", "refresh_token", "client_credentials", CODE]));
}

#[tokio::test]
async fn guesses_of_a_grant_and_of_passwords_count_together() {
    let auth = server();
    for _ in 0..5 {
        assert_eq!(code(&auth, "wrong").await.1["error"], "invalid_grant");
        assert_eq!(post(&auth, "grant_type=password&username=alice&password=wrong").await.0, 400);
    }
    assert_eq!(code(&auth, "right").await.0, 429);
    assert_eq!(post(&auth, "grant_type=password&username=alice&password=right").await.0, 429);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_a_grant_is_sent_if_it_is_a_token_error_and_hidden_otherwise() {
    let auth = server();
    for outage in ["away", "hangs", "panics"] {
        let (status, body) = code(&auth, outage).await;
        assert_eq!((status, &body["error"]), (503, &json!("temporarily_unavailable")), "{outage}");
        assert!(!body.to_string().contains("mail.internal"));
    }
    assert_eq!(code(&auth, "own").await.1["error"], "too_late");
}

#[tokio::test]
async fn the_parameters_of_a_grant_follow_the_rules_of_the_form() {
    let auth = server();
    let form = format!("grant_type={CODE}&account=alice");
    for (path, form) in [
        ("/token", form.clone()),
        ("/token", format!("{form}&code=")),
        ("/token", format!("{form}&code=right&code=right")),
        ("/token", format!("{form}&code=%00")),
        ("/token", format!("{form}&code=%FF")),
        ("/token?code=right", format!("{form}&code=right")),
    ] {
        let (status, body) = post_to(&auth, path, &form).await;
        assert_eq!((status, &body["error"]), (400, &json!("invalid_request")), "{path} {form}");
    }
    assert_eq!(code(&auth, "right&scope=a%22b").await.1["error"], "invalid_scope");
    assert_eq!(code(&auth, "right&scope=admin").await.1["error"], "invalid_scope");
    let (_, missing) = post(&auth, &form).await;
    assert_eq!(missing["error_description"], "The parameter code is missing");
}

#[tokio::test]
async fn a_grant_is_for_the_clients_that_may_use_it() {
    let auth = server();
    assert_eq!(code(&auth, "right&client_id=old").await.1["error"], "unauthorized_client");
    assert_eq!(code(&auth, "right&client_id=nobody").await.1["error"], "invalid_client");
    let (_, body) = code(&auth, "right&client_id=cli").await;
    assert_eq!(jwt().validate(text(&body, "access_token")).unwrap().claim("client"), Some(&json!("cli")));
}

#[test]
fn a_grant_that_cannot_be_served_fails_when_it_is_built() {
    let error = |grant_type: &str, parameters: &[&'static str]| {
        let added = server().with_extension_grant(grant_type, parameters.iter().copied(), by_code);
        added.unwrap_err().to_string()
    };
    for grant_type in ["code", "", ":", "urn:", ":code", "urn:a b", "urn:\u{e4}"] {
        assert!(error(grant_type, &[]).contains("absolute URI"), "{grant_type}");
    }
    for served in [CODE, "http://auth0.com/oauth/grant-type/mfa-otp"] {
        assert!(error(served, &[]).contains("already"), "{served}");
    }
    for parameter in ["grant_type", "username", "client_secret", "", "c\u{f6}de"] {
        assert!(error("urn:example:other", &[parameter]).contains("printable ASCII"), "{parameter}");
    }
}

#[tokio::test]
async fn a_grant_knows_the_canonical_account_and_the_client_of_a_request() {
    let auth = server().with_usernames(tower_oauth2_password::Usernames::new(|name| Some(name.to_lowercase())));
    for name in ["alice", "ALICE", "Alice", "aLICE", "alicE"].into_iter().cycle().take(10) {
        assert_eq!(post(&auth, &format!("grant_type={CODE}&account={name}&code=wrong")).await.0, 400);
    }
    assert_eq!(code(&auth, "right").await.0, 429);
}

async fn for_itself(auth: &AuthorizationServer, client: &str, more: &str) -> (u16, Value) {
    post(auth, &format!("grant_type=client_credentials&client_id={client}&client_secret=secret{more}")).await
}

#[tokio::test]
async fn a_client_gets_a_token_for_itself_and_is_no_user() {
    let auth = server();
    let (status, body) = for_itself(&auth, "alice", "").await;
    assert_eq!((status, &body["scope"]), (200, &json!("jobs:run jobs:read")), "{body}");
    assert_eq!(body["refresh_token"], Value::Null);
    let token = jwt().validate(text(&body, "access_token")).unwrap();
    assert_eq!((token.subject(), token.client_id(), token.user()), ("alice", Some("alice"), None));
    assert_eq!((token.claim("gty"), token.session_id()), (Some(&json!("client_credentials")), None));
    assert!(auth.sessions("alice").await.unwrap().is_empty());
    let auth = auth.with_introspection(StaticClients::new([Client::confidential("api", "secret")]));
    let ask = format!("client_id=api&client_secret=secret&token={}", text(&body, "access_token"));
    assert_eq!(
        post_to(&auth, "/introspect", &ask).await.1["gty"],
        "client_credentials",
        "a server that asks learns it"
    );
    assert_eq!(for_itself(&auth, "alice", "&scope=jobs:read").await.1["scope"], "jobs:read");

    let revoke = format!("token={}&client_id=alice&client_secret=secret", text(&body, "access_token"));
    assert_eq!(post_to(&auth, "/revoke", &revoke).await.0, 200);
    assert_eq!(guarded(auth.guard(), text(&body, "access_token")).await, 401);
}

#[tokio::test]
async fn a_client_without_secret_subject_or_permission_gets_no_token_for_itself() {
    let auth = server();
    for (body, status, error) in [
        ("", 401, "invalid_client"),
        ("&client_id=open", 400, "unauthorized_client"),
        ("&client_id=web&client_secret=secret", 400, "unauthorized_client"),
        ("&client_id=idle&client_secret=secret", 400, "unauthorized_client"),
        ("&client_id=alice&client_secret=wrong", 401, "invalid_client"),
        ("&client_id=alice&client_secret=secret&scope=admin", 400, "invalid_scope"),
    ] {
        let (found, answer) = post(&auth, &format!("grant_type=client_credentials{body}")).await;
        assert_eq!((found, &answer["error"]), (status, &json!(error)), "{body}");
    }
    assert_eq!(for_itself(&bare(), "alice", "").await.1["error"], "unsupported_grant_type", "not asked for");
}

#[tokio::test]
async fn each_grant_is_audited_by_its_kind() {
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let auth = server().with_verifier_timeout(Duration::from_secs(5)).with_event_handler(move |event| {
        sender.send(event).unwrap();
        async {}
    });
    code(&auth, "wrong").await;
    code(&auth, "right").await;
    for_itself(&auth, "alice", "").await;
    for (kind, subject) in
        [(EventKind::Denied, None), (EventKind::Login, Some("alice")), (EventKind::ClientLogin, Some("alice"))]
    {
        let event = events.recv().await.unwrap();
        assert_eq!((event.kind, event.subject.as_deref()), (kind, subject));
    }
}
