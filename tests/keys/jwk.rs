//! Keys of others: which JWKs are accepted (RFC 7517, RFC 7518 section 6, RFC 8037).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tower_oauth2_password::{JwtValidator, KeyError, TokenIssuer, TokenValidator, VerificationKey};

use super::{AUDIENCE, ISSUER, issue, jwt, keys};

fn jwks() -> [Value; 3] {
    keys().map(|(_, key)| jwt(key).jwks()["keys"][0].clone())
}

fn with(jwk: &Value, name: &str, value: impl Into<Value>) -> Value {
    let mut changed = jwk.clone();
    changed[name] = value.into();
    changed
}

fn without(jwk: &Value, name: &str) -> Value {
    let mut changed = jwk.clone();
    changed.as_object_mut().unwrap().remove(name).unwrap();
    changed
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decoded(jwk: &Value, name: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap()
}

fn error(jwk: &Value) -> KeyError {
    match VerificationKey::from_jwk(jwk) {
        Ok(key) => panic!("{jwk} is accepted as {key:?}"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_published_key_is_read_again() {
    for ((name, key), jwk) in keys().into_iter().zip(jwks()) {
        let least = without(&without(&without(&jwk, "kid"), "use"), "alg");
        for jwk in [
            &jwk,
            &least,
            &with(&least, "key_ops", json!(["verify"])),
            &with(&least, "key_ops", json!(["sign", "verify"])),
            &with(&jwk, "x5c", json!(["unknown members are ignored"])),
        ] {
            let read = VerificationKey::from_jwk(jwk).unwrap_or_else(|error| panic!("{jwk}: {error}"));
            assert_eq!(read.id(), key.id(), "{name}: the default is the thumbprint");
            let token = issue(&jwt(key.clone())).await;
            assert!(JwtValidator::new(read, ISSUER, AUDIENCE).validate(&token).is_ok(), "{name}");
        }
        let named = VerificationKey::from_jwk(&with(&jwk, "kid", "2026")).unwrap();
        assert_eq!(named.id(), "2026");
        let token = issue(&jwt(key.clone())).await;
        let validator = JwtValidator::new(named, ISSUER, AUDIENCE);
        assert!(validator.validate(&token).is_err(), "{name}: the token names another key");
        assert!(validator.validate(&issue(&jwt(key.with_id("2026"))).await).is_ok(), "{name}");
    }
    let [eddsa, ..] = jwks();
    assert!(VerificationKey::from_jwk(&with(&eddsa, "alg", "Ed25519")).is_ok(), "RFC 9864, section 2.2");
}

#[test]
fn what_is_no_key_for_verifying_is_refused() {
    for jwk in jwks() {
        let own = jwk["alg"].as_str().unwrap();
        for alg in ["EdDSA", "Ed25519", "ES256", "RS256", "RS512", "PS256", "HS256", "none", "eddsa", "es256", ""] {
            if alg != own && (own, alg) != ("EdDSA", "Ed25519") {
                assert_eq!(error(&with(&jwk, "alg", alg)), KeyError::UnusableJwk);
            }
        }
        for (name, value) in [
            ("alg", json!(7)),
            ("alg", Value::Null),
            ("use", json!("enc")),
            ("use", json!(7)),
            ("key_ops", json!(["sign"])),
            ("key_ops", json!([])),
            ("key_ops", json!("verify")),
            ("kid", json!(7)),
            ("kid", Value::Null),
            ("kty", json!("oct")),
            ("kty", json!("AKP")),
            ("kty", json!(7)),
        ] {
            assert_eq!(error(&with(&jwk, name, value)), KeyError::UnusableJwk);
        }
        assert_eq!(error(&without(&jwk, "kty")), KeyError::UnusableJwk);
        assert_eq!(error(&with(&jwk, "d", "AQAB")), KeyError::UnusableJwk);
    }
    let oct = json!({ "kty": "oct", "k": encoded([7; 32]), "kid": "1" });
    for jwk in [oct, json!({}), json!(null), json!([]), json!("x"), json!(7)] {
        assert_eq!(error(&jwk), KeyError::UnusableJwk);
    }
    let [eddsa, es256, _] = jwks();
    for crv in ["Ed448", "X25519", "P-256", "ed25519"] {
        assert_eq!(error(&with(&eddsa, "crv", crv)), KeyError::UnusableJwk);
    }
    for crv in ["P-384", "P-521", "secp256k1", "Ed25519"] {
        assert_eq!(error(&with(&es256, "crv", crv)), KeyError::UnusableJwk);
    }
}

#[test]
fn a_member_has_one_spelling() {
    let [eddsa, es256, rs256] = jwks();
    for (jwk, names) in [(&eddsa, &["x"][..]), (&es256, &["x", "y"]), (&rs256, &["n", "e"])] {
        for name in names {
            let text = jwk[*name].as_str().unwrap();
            for changed in [format!("{text}="), format!("{text} "), format!("{text}+"), String::new()] {
                assert_eq!(error(&with(jwk, name, changed)), KeyError::UnusableJwk);
            }
            assert_eq!(error(&with(jwk, name, 7)), KeyError::UnusableJwk);
            assert_eq!(error(&without(jwk, name)), KeyError::UnusableJwk);
        }
    }
    // 32 bytes end with a character whose last two bits are zero.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let x = eddsa["x"].as_str().unwrap();
    let (start, last) = x.split_at(42);
    let next = alphabet.split_once(last).unwrap().1.chars().next().unwrap();
    assert_eq!(error(&with(&eddsa, "x", format!("{start}{next}"))), KeyError::UnusableJwk);
}

#[test]
fn a_point_has_two_coordinates_of_32_bytes_and_is_on_the_curve() {
    let [eddsa, es256, _] = jwks();
    let (x, y) = (decoded(&es256, "x"), decoded(&es256, "y"));
    for (jwk, name) in [(&eddsa, "x"), (&es256, "x"), (&es256, "y")] {
        let bytes = decoded(jwk, name);
        for wrong in [&bytes[1..], &[&bytes[..], &[0]].concat(), &[&[0], &bytes[..]].concat()] {
            assert_eq!(error(&with(jwk, name, encoded(wrong))), KeyError::UnusableJwk);
        }
    }
    for bit in 0..8 {
        let mut other = y.clone();
        other[31] ^= 1 << bit;
        assert_eq!(error(&with(&es256, "y", encoded(other))), KeyError::UnusableJwk);
    }
    for (x, y) in [(&y, &x), (&x, &x), (&vec![0; 32], &vec![0; 32]), (&vec![0xFF; 32], &y), (&x, &vec![0xFF; 32])] {
        assert_eq!(error(&with(&with(&es256, "x", encoded(x)), "y", encoded(y))), KeyError::UnusableJwk);
    }
}

#[test]
fn an_rsa_key_has_2048_to_4096_bits_and_an_odd_exponent() {
    let [.., rs256] = jwks();
    let modulus = |first: u8, length: usize| {
        let mut modulus = vec![0xFF; length];
        modulus[0] = first;
        with(&rs256, "n", encoded(modulus))
    };
    for (first, length) in [(1, 1), (0xFF, 128), (0x7F, 256), (1, 513)] {
        assert_eq!(error(&modulus(first, length)), KeyError::UnusableJwk, "{first:x} {length}");
    }
    for jwk in [modulus(0x80, 256), modulus(1, 257), modulus(0xFF, 512)] {
        assert!(VerificationKey::from_jwk(&jwk).is_ok());
    }
    let n = decoded(&rs256, "n");
    let mut even = n.clone();
    even[255] &= 0xFE;
    for wrong in [&even, &[&[0], &n[..]].concat()] {
        assert_eq!(error(&with(&rs256, "n", encoded(wrong))), KeyError::UnusableJwk);
    }
    for wrong in [&[1][..], &[0], &[2], &[0, 1, 0, 1], &[1, 0, 0], &[1, 0, 0, 0, 1]] {
        assert_eq!(error(&with(&rs256, "e", encoded(wrong))), KeyError::UnusableJwk, "{wrong:?}");
    }
    assert!(VerificationKey::from_jwk(&with(&rs256, "e", encoded([3]))).is_ok());
}
