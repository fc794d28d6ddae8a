//! Rotating from one key to the next without rejecting a token.

use serde_json::{Value, json};
use tower_oauth2_password::{Jwt, JwtValidator, Key, TokenIssuer, TokenValidator, VerificationKey};

use super::{AUDIENCE, ISSUER, fixture, header, issue, jwt, keys};

fn kids(jwt: &Jwt) -> Vec<Value> {
    jwt.jwks()["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect()
}

#[tokio::test]
async fn old_tokens_are_valid_until_their_key_is_removed() {
    let old = Key::eddsa_pem(&fixture("ed25519")).unwrap();
    let new = Key::eddsa_pem(&fixture("ed25519-next")).unwrap();
    let elsewhere = |pem: &str| VerificationKey::eddsa_pem(&fixture(pem)).unwrap();
    let other_server =
        JwtValidator::new(elsewhere("ed25519.pub"), ISSUER, AUDIENCE).with_verification_key(new.verification_key());

    let announced = jwt(old.clone()).with_verification_key(new.verification_key());
    let overlapping = jwt(new.clone()).with_verification_key(&old);
    let dropped = jwt(new.clone());
    assert_eq!(kids(&announced), [old.id(), new.id()]);
    assert_eq!(kids(&overlapping), [new.id(), old.id()]);
    assert_eq!(kids(&dropped), [new.id()]);

    let (before, after) = (issue(&announced).await, issue(&overlapping).await);
    assert_eq!((&header(&before)["kid"], &header(&after)["kid"]), (&json!(old.id()), &json!(new.id())));
    for (stage, old_is_good, new_is_good) in [
        (&jwt(old.clone()), true, false),
        (&announced, true, true),
        (&overlapping, true, true),
        (&dropped, false, true),
    ] {
        assert_eq!(stage.validate(&before).is_ok(), old_is_good, "{stage:?}");
        assert_eq!(stage.validate(&after).is_ok(), new_is_good, "{stage:?}");
    }
    assert!(other_server.validate(&before).is_ok() && other_server.validate(&after).is_ok());
}

#[tokio::test]
async fn from_one_algorithm_to_another() {
    let old = Key::hs256([7; 32]).unwrap();
    for (name, new) in keys() {
        let before = issue(&jwt(old.clone())).await;
        let both = jwt(new.clone()).with_verification_key(old.clone());
        assert!(both.validate(&before).is_ok() && both.validate(&issue(&both).await).is_ok(), "{name}");
        assert_eq!(kids(&both), [new.id()], "{name}: the secret is not among them");
    }
}

#[test]
fn jwks_hold_public_members_only() {
    let [eddsa, es256, rs256] = keys().map(|(_, key)| key);
    let all = jwt(eddsa.clone())
        .with_verification_key(es256)
        .with_verification_key(rs256.clone().with_id("rsa"))
        .with_verification_key(Key::hs256("a secret that nobody may ever see").unwrap())
        .with_verification_key(&eddsa);
    let set = all.jwks();
    let members: Vec<Vec<&str>> = set["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| {
            let mut names: Vec<&str> = key.as_object().unwrap().keys().map(String::as_str).collect();
            names.sort_unstable();
            names
        })
        .collect();
    assert_eq!(
        members,
        [
            vec!["alg", "crv", "kid", "kty", "use", "x"],
            vec!["alg", "crv", "kid", "kty", "use", "x", "y"],
            vec!["alg", "e", "kid", "kty", "n", "use"],
        ]
    );
    assert_eq!((&set["keys"][2]["kid"], &set["keys"][2]["e"]), (&json!("rsa"), &json!("AQAB")));
    assert_eq!(jwt(Key::hs256([7; 32]).unwrap()).jwks(), json!({ "keys": [] }));
}
