//! The server that is compared with the model of refresh tokens, step by step, through the public API.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode};
use proptest::{prelude::*, test_runner::TestCaseError};
use serde_json::Value;
use tower::ServiceExt;
use tower_oauth2_password::{
    AuthorizationServer, BoxError, Identity, Jwt, Key, Login, RefreshTokens, Scope, StandaloneService, TokenValidator,
    Verdict, Verifier,
};

use crate::refresh_model::{self as model, Due, Model, Names, Step, Times, Which};

/// What the verifier currently says about a user.
#[derive(Clone, Copy, Debug)]
struct Account {
    welcome: bool,
    allowed: u8,
    stamp: u32,
}

#[derive(Clone)]
struct Accounts(Arc<Mutex<Vec<Account>>>);

impl Accounts {
    fn verdict(&self, subject: &str) -> Verdict {
        let number: usize = subject.parse().unwrap();
        let account = self.0.lock().unwrap()[number];
        if !account.welcome {
            return Verdict::Denied;
        }
        let scope = model::text(account.allowed).parse().unwrap();
        Identity::new(subject).with_scope(scope).with_security_stamp(account.stamp.to_string()).into()
    }
}

impl Verifier for Accounts {
    async fn verify(&self, login: Login) -> Result<Verdict, BoxError> {
        Ok(self.verdict(&login.username))
    }

    async fn verify_subject(&self, subject: &str) -> Result<Verdict, BoxError> {
        Ok(self.verdict(subject))
    }
}

/// The real server.
struct Server {
    accounts: Accounts,
    auth: AuthorizationServer,
    token: StandaloneService,
    revoke: StandaloneService,
    jwt: Jwt,
}

impl Server {
    fn new(tokens: RefreshTokens) -> Self {
        let start = Account { welcome: true, allowed: 0b111, stamp: 0 };
        let accounts = Accounts(Arc::new(Mutex::new(vec![start; model::USERS])));
        let jwt = Jwt::new(Key::hs256([7; 32]).unwrap(), "https://api.example", "api");
        let auth = AuthorizationServer::new(accounts.clone(), jwt.clone()).with_refresh_tokens(tokens);
        let (token, revoke) = (auth.token_endpoint().into_service(), auth.revocation_endpoint().into_service());
        Self { accounts, auth, token, revoke, jwt }
    }
}

async fn post(endpoint: &StandaloneService, form: &[(&str, &str)]) -> (StatusCode, Value) {
    // Tokens, numbers and scopes need no other form encoding.
    let body = form.iter().map(|(name, value)| format!("{name}={}", value.replace(' ', "+"))).collect::<Vec<_>>();
    let request = Request::post("/")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(body.join("&"))))
        .unwrap();
    let response = endpoint.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

/// Compares a reply with the expected one. Returns the refresh token in it.
fn compare(server: &Server, answer: &(StatusCode, Value), due: &Due) -> Result<Option<String>, TestCaseError> {
    let (status, body) = answer;
    let Due::Tokens { user, scope } = due else {
        prop_assert_eq!(status.as_u16(), 400, "{}", body);
        prop_assert_eq!(&body["error"], if *due == Due::InvalidScope { "invalid_scope" } else { "invalid_grant" });
        return Ok(None);
    };
    prop_assert_eq!(status.as_u16(), 200, "{}", body);
    let expected: Scope = model::text(*scope).parse().unwrap();
    prop_assert_eq!(&body["scope"].as_str().unwrap_or_default().parse::<Scope>().unwrap(), &expected);
    let access = server.jwt.validate(body["access_token"].as_str().unwrap()).unwrap();
    prop_assert_eq!(access.subject(), user.to_string());
    prop_assert_eq!(access.scope(), &expected);
    Ok(Some(body["refresh_token"].as_str().unwrap().to_owned()))
}

/// Takes one step in the server and in the model.
async fn take(
    server: &Server,
    model: &mut Model,
    names: &mut Names,
    step: &Step,
    advance: &mut impl AsyncFnMut(u64),
) -> Result<(), TestCaseError> {
    match *step {
        Step::LogIn { user, asked } => {
            let (user_text, scope) = (user.to_string(), model::text(asked.unwrap_or(0)));
            let mut form = vec![("grant_type", "password"), ("username", &*user_text), ("password", "x")];
            if asked.is_some() {
                form.push(("scope", &scope));
            }
            let (due, begun) = model.log_in(user, asked);
            let token = compare(server, &post(&server.token, &form).await, &due)?;
            if let (Some(id), Some(token)) = (begun, token) {
                prop_assert!(names.give(id, token), "a login gave a token that was known");
            }
        }
        Step::Refresh { token, asked } => {
            let Some((presented, text)) = names.pick(token) else { return Ok(()) };
            let scope = model::text(asked.unwrap_or(0));
            let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", &*text)];
            if asked.is_some() {
                form.push(("scope", &scope));
            }
            let (due, successor) = model.refresh(presented, asked);
            let token = compare(server, &post(&server.token, &form).await, &due)?;
            if let (Some(successor), Some(token)) = (successor, token) {
                match names.text(successor) {
                    Some(known) => prop_assert_eq!(known, &token, "within the grace period it is the same successor"),
                    None => prop_assert!(names.give(successor, token), "a rotation gave a token that was known"),
                }
            }
        }
        Step::Revoke { token } => {
            let Some((presented, text)) = names.pick(token) else { return Ok(()) };
            model.revoke(presented);
            let (status, body) = post(&server.revoke, &[("token", &text)]).await;
            prop_assert_eq!(status.as_u16(), 200, "{}", body);
        }
        Step::RevokeSubject { user } => {
            let ended = server.auth.revoke_subject(&user.to_string()).await.unwrap();
            prop_assert_eq!(ended, model.revoke_subject(user));
            // Logins in progress are ended, too, so the next one begins later.
            advance(1_000).await;
            model.now += 1_000;
        }
        Step::Advance { millis } => {
            advance(millis).await;
            model.now += millis;
        }
        Step::Welcome { user, welcome } => {
            server.accounts.0.lock().unwrap()[user].welcome = welcome;
            model.users[user].welcome = welcome;
        }
        Step::Allow { user, allowed } => {
            server.accounts.0.lock().unwrap()[user].allowed = allowed;
            model.users[user].allowed = allowed;
        }
        Step::ChangePassword { user } => {
            server.accounts.0.lock().unwrap()[user].stamp += 1;
            model.users[user].stamp += 1;
        }
    }
    Ok(())
}

/// Takes steps in a server with these refresh tokens and in the model. `advance` moves the time of the server's store.
pub async fn run(
    times: Times,
    tokens: RefreshTokens,
    steps: &[Step],
    mut advance: impl AsyncFnMut(u64),
) -> Result<(), TestCaseError> {
    let (server, mut model, mut names) = (Server::new(tokens), Model::new(times), Names::default());
    for (n, step) in steps.iter().enumerate() {
        let taken = take(&server, &mut model, &mut names, step, &mut advance).await;
        taken.map_err(|error| TestCaseError::fail(format!("step {n}, {step:?}: {error}")))?;
    }
    Ok(())
}

fn which() -> impl Strategy<Value = Which> {
    prop_oneof![
        6 => any::<u8>().prop_map(Which::Current),
        3 => any::<u8>().prop_map(Which::Previous),
        2 => any::<u8>().prop_map(Which::Any),
        1 => any::<u8>().prop_map(Which::Forged),
        1 => any::<u8>().prop_map(Which::OfNoFamily),
    ]
}

pub fn step() -> impl Strategy<Value = Step> {
    let user = 0..model::USERS;
    let asked = proptest::option::weighted(0.4, 0b000..=0b111_u8);
    prop_oneof![
        6 => (user.clone(), asked.clone()).prop_map(|(user, asked)| Step::LogIn { user, asked }),
        16 => (which(), asked).prop_map(|(token, asked)| Step::Refresh { token, asked }),
        1 => which().prop_map(|token| Step::Revoke { token }),
        1 => user.clone().prop_map(|user| Step::RevokeSubject { user }),
        // Lands exactly on the ends of lifetimes and of the grace period, just before them, and after them.
        6 => prop_oneof![Just(1), Just(499), Just(500), Just(2_999), Just(3_000), 1..4_000_u64, Just(10_000)]
            .prop_map(|millis| Step::Advance { millis }),
        1 => (user.clone(), any::<bool>()).prop_map(|(user, welcome)| Step::Welcome { user, welcome }),
        1 => (user.clone(), 0b000..=0b111_u8).prop_map(|(user, allowed)| Step::Allow { user, allowed }),
        1 => user.prop_map(|user| Step::ChangePassword { user }),
    ]
}
