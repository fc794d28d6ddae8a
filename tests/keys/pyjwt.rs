//! Tokens and keys, checked by another implementation.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use axum::Router;
use serde_json::Value;
use tower_oauth2_password::{JsonDocument, Jwt, Key, TokenIssuer};

use super::{AUDIENCE, ISSUER, accept_tokens_of_others, fixture, header, issue, jwt, keys};

// All versions are pinned, including PyJWT's own dependencies.
const PACKAGES: [&str; 4] = ["pyjwt==2.15.1", "cryptography==50.0.2", "cffi==2.1.1", "pycparser==3.12"];

pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!(
            "{command:?}: {error}; this test needs Python 3 with venv and Node.js: \
             apt install python3 python3-venv nodejs npm curl"
        )
    });
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The interpreter of a virtual environment with PyJWT, which is created on first use.
static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/keys-venv");
    let (python, stamp) = (venv.join("bin/python"), venv.join(".installed"));
    if std::fs::read_to_string(&stamp).ok().as_deref() != Some(&PACKAGES.join(" ")) {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(PACKAGES));
        std::fs::write(stamp, PACKAGES.join(" ")).unwrap();
    }
    python
});

async fn verify(published: &Jwt, tokens: Vec<String>) -> Vec<Value> {
    let app = Router::new().route_service("/.well-known/jwks.json", JsonDocument::new(&published.jwks()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/.well-known/jwks.json", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let printed = tokio::task::spawn_blocking(move || {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/verify.py");
        run(Command::new(&*PYTHON).args(["-B", script, &url, ISSUER, AUDIENCE]).args(tokens))
    });
    let printed = printed.await.unwrap();
    server.abort();
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pyjwt_accepts_tokens_of_published_keys_only() {
    let keys = keys().map(|(_, key)| key);
    let mut published = jwt(keys[0].clone());
    for key in &keys[1..] {
        published = published.with_verification_key(key);
    }
    let mut tokens = Vec::new();
    for key in &keys {
        tokens.push(issue(&jwt(key.clone())).await);
    }
    let stranger = Key::eddsa_pem(&fixture("ed25519-next")).unwrap();
    tokens.push(issue(&jwt(stranger.clone())).await);
    tokens.push(issue(&jwt(stranger.with_id(keys[0].id()))).await);
    tokens.push(issue(&Jwt::new(keys[0].clone(), ISSUER, "another")).await);
    tokens.push(issue(&Jwt::new(keys[0].clone(), "https://another.example", AUDIENCE)).await);

    let found = verify(&published, tokens.clone()).await;
    for (answer, token) in found.iter().zip(&tokens).take(3) {
        assert_eq!(answer["kid"], header(token)["kid"], "{answer}");
        assert_eq!((&answer["claims"]["sub"], &answer["claims"]["scope"]), (&"alice".into(), &"items:read".into()));
    }
    let errors: Vec<&Value> = found[3..].iter().map(|answer| &answer["error"]).collect();
    let expected = ["PyJWKClientError", "InvalidSignatureError", "InvalidAudienceError", "InvalidIssuerError"];
    assert_eq!(errors, expected);
}

#[test]
fn tokens_of_pyjwt_are_accepted_by_its_keys() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/sign.py");
    let printed = run(Command::new(&*PYTHON).args(["-B", script, ISSUER, AUDIENCE]));
    accept_tokens_of_others(&serde_json::from_str(&printed).unwrap(), &["EdDSA", "ES256", "RS256"]);
}
