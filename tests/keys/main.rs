//! Keys from PEM files, key rotation, and what other servers learn about keys and tokens.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

mod confusion;
mod foreign;
mod forgeries;
mod introspection;
mod jose;
mod jwk;
mod jwk_set;
mod metadata;
mod pem;
mod pyjwt;
mod rotation;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use tower_oauth2_password::{InvalidToken, Jwt, JwtValidator, Key, TokenIssuer, TokenRequest, TokenValidator};

const ISSUER: &str = "https://api.example";
const AUDIENCE: &str = "api";

/// Reads a file made by openssl.
fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/support/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// One key of each asymmetric algorithm.
fn keys() -> [(&'static str, Key); 3] {
    [
        ("ed25519", Key::eddsa_pem(&fixture("ed25519")).unwrap()),
        ("p256", Key::es256_pem(&fixture("p256")).unwrap()),
        ("rsa2048", Key::rs256_pem(&fixture("rsa2048")).unwrap()),
    ]
}

fn jwt(key: Key) -> Jwt {
    Jwt::new(key, ISSUER, AUDIENCE)
}

async fn issue(jwt: &Jwt) -> String {
    let mut request = TokenRequest::new("alice");
    request.client_id = Some("demo-web".to_owned());
    request.scope = "items:read".parse().unwrap();
    jwt.issue(request).await.unwrap().token.expose().to_owned()
}

fn header(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap()
}

/// Reads the keys that another implementation exports, and the tokens that it signs: for each algorithm one of type `at+jwt`
/// and one of type `JWT`.
fn accept_tokens_of_others(printed: &Value, algorithms: &[&str]) {
    let validator = JwtValidator::new(Key::hs256([7; 32]).unwrap(), ISSUER, AUDIENCE);
    assert_eq!(validator.replace_keys(printed["jwks"].to_string().as_bytes()), Ok(algorithms.len()), "{printed}");
    for algorithm in algorithms {
        let tokens = &printed["signed"][algorithm];
        let [access, other] = [0, 1].map(|at| tokens[at].as_str().unwrap());
        assert_eq!(header(access)["alg"], *algorithm);
        let token = validator.validate(access).unwrap_or_else(|error| panic!("{algorithm}: {error}: {printed}"));
        assert_eq!(
            (token.subject(), token.scope().as_str(), token.client_id()),
            ("alice", "items:read", Some("demo-web"))
        );
        assert_eq!(validator.validate(other).err(), Some(InvalidToken::Malformed), "{algorithm}: not an access token");
        let forged = format!("{access}A");
        assert!(validator.validate(&forged).is_err() && validator.validate(&access[..access.len() - 4]).is_err());
    }
}
