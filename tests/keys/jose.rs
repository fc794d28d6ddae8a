//! Tokens and keys, exchanged with jose, the JavaScript library.

use std::process::Command;

use serde_json::Value;
use tower_oauth2_password::{Jwt, Key, TokenIssuer};

use super::{AUDIENCE, ISSUER, accept_tokens_of_others, fixture, header, issue, jwt, keys, pyjwt::run};

#[tokio::test]
async fn jose_and_this_crate_accept_each_others_tokens() {
    let keys = keys().map(|(_, key)| key);
    let [first, others @ ..] = &keys;
    let published = others.iter().fold(jwt(first.clone()), Jwt::with_verification_key);
    let stranger = Key::eddsa_pem(&fixture("ed25519-next")).unwrap();
    let mut tokens = Vec::new();
    for jwt in [
        jwt(keys[0].clone()),
        jwt(keys[1].clone()),
        jwt(keys[2].clone()),
        jwt(stranger.clone()),
        jwt(stranger.with_id(keys[0].id())),
        Jwt::new(keys[0].clone(), ISSUER, "another"),
    ] {
        tokens.push(issue(&jwt).await);
    }

    let clients = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");
    // It says which programs are missing, and how to get them.
    run(&mut Command::new(format!("{clients}/install")));
    let script = format!("{clients}/js/jose.mjs");
    let printed =
        run(Command::new("node").args([&script, ISSUER, AUDIENCE, &published.jwks().to_string()]).args(&tokens));
    let printed: Value = serde_json::from_str(&printed).unwrap();

    let verified = printed["verified"].as_array().unwrap();
    for (answer, token) in verified.iter().zip(&tokens).take(3) {
        assert_eq!(answer["kid"], header(token)["kid"], "{answer}");
        assert_eq!((&answer["claims"]["sub"], &answer["claims"]["scope"]), (&"alice".into(), &"items:read".into()));
    }
    let errors: Vec<&Value> = verified[3..].iter().map(|answer| &answer["error"]).collect();
    let expected =
        ["ERR_JWKS_NO_MATCHING_KEY", "ERR_JWS_SIGNATURE_VERIFICATION_FAILED", "ERR_JWT_CLAIM_VALIDATION_FAILED"];
    assert_eq!(errors, expected);

    accept_tokens_of_others(&printed, &["EdDSA", "Ed25519", "ES256", "RS256"]);
}
