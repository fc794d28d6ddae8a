//! Forged tokens that other libraries have accepted, each with the number of its advisory.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
#[cfg(feature = "aws_lc_rs")]
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER as PROVIDER;
#[cfg(not(feature = "aws_lc_rs"))]
use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER as PROVIDER;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use tower_oauth2_password::{InvalidToken, Jwt, Key, TokenIssuer, TokenValidator};

use super::{fixture, issue, jwt, keys};

const SECRET: [u8; 32] = [7; 32];

fn encode(part: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

fn parts(token: &str) -> [&str; 3] {
    token.split('.').collect::<Vec<_>>().try_into().unwrap()
}

/// A token signed with any key, under any header.
fn signed(header: &Value, payload: &str, algorithm: Algorithm, key: &EncodingKey) -> String {
    let message = format!("{}.{payload}", encode(header.to_string()));
    let signature = (PROVIDER.signer_factory)(&algorithm, key).unwrap().try_sign(message.as_bytes()).unwrap();
    format!("{message}.{}", encode(signature))
}

fn hs256(claims: &Value) -> String {
    let header = json!({"alg": "HS256", "typ": "at+jwt"});
    signed(&header, &encode(claims.to_string()), Algorithm::HS256, &EncodingKey::from_secret(&SECRET))
}

#[tokio::test]
async fn an_empty_zero_or_trivial_signature_is_rejected() {
    // CVE-2020-28042: empty; CVE-2022-21449: r and s are 0.
    let order = b"\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\
        \xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51";
    let one = [[0; 31].as_slice(), &[1]].concat();
    let zero = [0; 32];
    let der = [0x30, 6, 2, 1, 0, 2, 1, 0];
    let mut signatures: Vec<Vec<u8>> = vec![vec![], vec![0], der.to_vec(), vec![0; 32], vec![0; 256], vec![0xff; 256]];
    for r in [zero.as_slice(), &one, order] {
        for s in [zero.as_slice(), &one, order] {
            signatures.push([r, s].concat());
        }
    }
    let all = keys().map(|(_, key)| key).into_iter().chain([Key::hs256(SECRET).unwrap()]);
    for jwt in all.map(jwt) {
        let token = issue(&jwt).await;
        assert!(jwt.validate(&token).is_ok());
        let [header, payload, _] = parts(&token);
        for signature in &signatures {
            let forged = format!("{header}.{payload}.{}", encode(signature));
            assert_eq!(jwt.validate(&forged).err(), Some(InvalidToken::Signature), "{jwt:?} {signature:?}");
        }
    }
}

#[tokio::test]
async fn a_key_in_the_header_is_ignored() {
    // CVE-2018-0114 and RFC 8725, section 3.10.
    let stranger = Key::eddsa_pem(&fixture("ed25519-next")).unwrap();
    let jwk = serde_json::to_value(jwt(stranger).jwks()).unwrap()["keys"][0].clone();
    let signing = EncodingKey::from_ed_pem(&fixture("ed25519-next")).unwrap();
    let [(_, key), ..] = keys();
    let id = key.id().to_owned();
    let jwt = jwt(key);
    let token = issue(&jwt).await;
    let forge = |jwt: &Jwt, member: &str, value: &Value, kid: Option<&str>| {
        let mut header = json!({"alg": "EdDSA", "typ": "at+jwt", member: value});
        if let Some(kid) = kid {
            header["kid"] = kid.into();
        }
        jwt.validate(&signed(&header, parts(&token)[1], Algorithm::EdDSA, &signing)).err()
    };
    for (member, value) in [
        ("jwk", &jwk),
        ("jku", &json!("http://127.0.0.1:9/jwks.json")),
        ("x5u", &json!("http://127.0.0.1:9/chain.pem")),
        ("x5c", &json!(["MIIB"])),
    ] {
        for kid in [None, Some(id.as_str()), jwk["kid"].as_str()] {
            assert_eq!(forge(&jwt, member, value, kid), Some(InvalidToken::Signature), "{member} {kid:?}");
        }
    }
    // The forgery is well made: a validator that knows the key accepts it.
    let knowing = jwt.with_verification_key(Key::eddsa_pem(&fixture("ed25519-next")).unwrap());
    assert_eq!(forge(&knowing, "jwk", &jwk, None), None);
}

#[tokio::test]
async fn a_key_id_is_neither_a_path_nor_a_query() {
    let [(_, key), ..] = keys();
    let signing = EncodingKey::from_ed_pem(&fixture("ed25519")).unwrap();
    let jwt = jwt(key);
    let token = issue(&jwt).await;
    for kid in ["", "/dev/null", "../../../dev/null", "' UNION SELECT 'x", "|id"] {
        let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": kid});
        let forged = signed(&header, parts(&token)[1], Algorithm::EdDSA, &signing);
        assert_eq!(jwt.validate(&forged).err(), Some(InvalidToken::Signature), "{kid}");
    }
}

#[tokio::test]
async fn only_the_compact_form_with_three_parts_is_a_token() {
    let [(_, key), ..] = keys();
    let jwt = jwt(key);
    let token = issue(&jwt).await;
    let [header, payload, signature] = parts(&token);
    let forged = encode(r#"{"sub":"mallory"}"#);
    for text in [
        // CVE-2022-39227: one half of a library read the compact form in it, the other half the JSON.
        format!(
            r#"{{"  {header}.{forged}.":"","protected":"{header}","payload":"{payload}","signature":"{signature}"}}"#
        ),
        json!({"protected": header, "payload": payload, "signature": signature}).to_string(),
        json!({"payload": payload, "signatures": [{"protected": header, "signature": signature}]}).to_string(),
        // RFC 7516: five parts are an encrypted token. It is never decompressed (CVE-2024-33664).
        format!("{header}.{payload}.{payload}.{payload}.{signature}"),
        format!("{header}.{payload}.{payload}.{signature}"),
        format!("{token}.{signature}"),
        format!(".{token}"),
        format!("{token}."),
        format!("{header}.{payload}"),
        format!("{header}..{signature}"),
        format!("{header}.{forged}.{signature}"),
        ".".repeat(1_000_000),
        format!("{token}{}", ".".repeat(4_000)),
    ] {
        assert!(jwt.validate(&text).is_err(), "{text}");
    }
}

fn good_claims() -> Value {
    json!({"iss": "https://api.example", "aud": "api", "exp": 4e9, "iat": 1, "jti": "x", "sub": "alice"})
}

#[test]
fn a_time_that_is_not_a_number_is_rejected() {
    // CVE-2026-25537: such a claim counted as missing, and missing claims were not checked.
    let jwt = jwt(Key::hs256(SECRET).unwrap());
    for claim in ["exp", "nbf", "iat"] {
        for value in [json!("9999999999"), json!("never"), json!([1]), json!({"at": 1}), json!(true)] {
            let mut claims = good_claims();
            claims[claim] = value;
            assert_eq!(jwt.validate(&hs256(&claims)).err(), Some(InvalidToken::Malformed), "{claims}");
        }
    }
}

#[test]
fn no_variant_of_an_audience_or_issuer_passes_as_ours() {
    let jwt = jwt(Key::hs256(SECRET).unwrap());
    let good = good_claims();
    assert!(jwt.validate(&hs256(&good)).is_ok());
    for (claim, values) in [
        // CVE-2020-26160: an empty list passed.
        ("aud", json!([null, "", [], [""], ["ap"], "ap", "apis", "API", ["other"], [["api"]], {"api": true}, 1, true])),
        // CVE-2024-53861: part of the issuer passed; CVE-2025-30144: a list that contains it passed.
        ("iss", json!([null, "", "https://", "https://api.example/", ["https://api.example"], {}, 1])),
    ] {
        for value in values.as_array().unwrap() {
            let mut claims = good.clone();
            claims[claim] = value.clone();
            assert!(jwt.validate(&hs256(&claims)).is_err(), "{claims}");
        }
    }
}

#[tokio::test]
async fn an_error_does_not_reveal_the_expected_signature() {
    // CVE-2019-7644.
    let jwt = jwt(Key::hs256(SECRET).unwrap());
    let token = issue(&jwt).await;
    let [header, payload, signature] = parts(&token);
    let forged = format!("{header}.{payload}.{}", encode([1; 32]));
    let error = jwt.validate(&forged).unwrap_err();
    let said = format!("{error} {error:?}");
    assert!(!said.contains(signature) && !said.contains(&encode([1; 32])), "{said}");
    assert_eq!(error, InvalidToken::Signature);
}
