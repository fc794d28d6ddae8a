//! Grants beside the password, as client libraries of other languages use them: over HTTPS with a private CA.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

mod factors;
mod mailed_code;
mod server;

use std::{net::SocketAddr, path::PathBuf, process::Command, sync::LazyLock};

use axum::{Router, routing::post};
use serde_json::json;
use tower_oauth2_password::{
    AttemptLimits, AuthorizationServer, BoxError, Client, ClientAddress, Identity, Login, RefreshTokens, SecondFactors,
    StaticClients, Verdict, Verifier,
    store::{MemoryAttemptStore, MemoryRefreshStore},
};

use self::{factors::Factors, mailed_code::MailedCode, server::Server};

const PASSWORD: &str = "wonderland123";

/// Many, since a code that was used blocks those of the same time and before.
const USERS: [&str; 8] = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"];

/// They know the users above, who have a second factor, and `ivan`, who has none.
struct Users;

impl Verifier for Users {
    async fn verify(&self, login: Login) -> Result<Verdict, BoxError> {
        if login.password.expose() != PASSWORD {
            return Ok(Verdict::Denied);
        }
        self.verify_subject(&login.username).await
    }

    async fn verify_subject(&self, subject: &str) -> Result<Verdict, BoxError> {
        let known = USERS.contains(&subject) || subject == "ivan";
        let scope = "items:read items:write".parse()?;
        Ok(if known { Identity::new(subject).with_scope(scope).into() } else { Verdict::Denied })
    }
}

fn clients() -> StaticClients {
    StaticClients::new([
        Client::confidential("web", "web-secret"),
        Client::confidential("other", "other-secret"),
        Client::confidential("reports", "reports-secret")
            .with_subject("client:reports")
            .with_scope("items:read".parse().unwrap()),
        Client::public("cli").with_subject("client:cli"),
    ])
}

/// Serves the metadata, the keys and `/users/me` beside the endpoints.
async fn start(also: impl FnOnce(AuthorizationServer) -> (AuthorizationServer, Router)) -> Server {
    Server::start(|jwt| {
        let limits = AttemptLimits::new(MemoryAttemptStore::new(), ClientAddress::peer(|peer: &SocketAddr| *peer));
        let auth = AuthorizationServer::new(Users, jwt)
            .with_clients(clients())
            .with_refresh_tokens(RefreshTokens::new(MemoryRefreshStore::new()))
            .with_attempt_limits(limits)
            .with_client_credentials_grant();
        also(auth)
    })
    .await
}

/// What JavaScript and Python need is installed at first use. The script says which programs are missing, and how to get them.
static INSTALLED: LazyLock<()> = LazyLock::new(|| {
    let output = Command::new(file("tests/clients/install")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
});

fn file(path: &str) -> PathBuf {
    test_support::root().join(path)
}

fn python() -> PathBuf {
    LazyLock::force(&INSTALLED);
    file("target/clients-venv/bin/python")
}

/// Runs a script, which prints `ok ...` or `FAIL ...` for each check.
async fn run(server: &Server, script: &str, arguments: &[String]) {
    let python = python();
    let mut command = Command::new(if script.ends_with(".py") { python.as_os_str() } else { "node".as_ref() });
    command.arg(file("tests/clients").join(script)).arg(&server.url).args(arguments);
    command.env("NODE_EXTRA_CA_CERTS", server.root()).env("CA_FILE", server.root()).env("PYTHON", python);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let passed = printed.lines().filter(|line| line.starts_with("ok ")).count();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && passed > 0 && !printed.contains("FAIL"), "{script}:\n{printed}{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn auth0_auth_js_logs_in_with_a_second_factor() {
    let factors = Factors::new(USERS);
    let secrets = json!(factors.secrets()).to_string();
    let server = start(|auth| {
        let factors = SecondFactors::new(factors, MemoryRefreshStore::new());
        (auth.with_second_factor(factors), Router::new())
    });
    run(&server.await, "js/mfa.mjs", &[PASSWORD.to_owned(), secrets]).await;
}

async fn grants_server() -> Server {
    let codes = MailedCode::default();
    start(|auth| {
        let mail = Router::new().route("/mail/{address}", post(MailedCode::send)).with_state(codes.clone());
        (auth.with_extension_grant("urn:example:mailed-code", ["mail", "code"], codes).unwrap(), mail)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn openid_client_and_oauth4webapi_use_other_grants() {
    run(&grants_server().await, "js/grants.mjs", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_oauthlib_uses_other_grants() {
    run(&grants_server().await, "python/grants.py", &[]).await;
}
