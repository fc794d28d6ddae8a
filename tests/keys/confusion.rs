//! The text of one key used as another kind of key (RFC 8725, section 2.1).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tower_oauth2_password::{Key, TokenValidator};

use super::{fixture, issue, jwt, keys};

fn hmac(secret: &[u8], header: &str, payload: &str) -> String {
    let message = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(header));
    let sum = Hmac::<Sha256>::new_from_slice(secret).unwrap().chain_update(&message).finalize().into_bytes();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(sum))
}

#[tokio::test]
async fn a_public_key_is_not_an_hmac_secret() {
    for (name, key) in keys() {
        let public = fixture(&format!("{name}.pub"));
        let id = key.id().to_owned();
        let jwt = jwt(key);
        let payload = issue(&jwt).await.split('.').nth(1).unwrap().to_owned();
        let trimmed = public.trim_ascii();
        let der: Vec<u8> = {
            let text = std::str::from_utf8(trimmed).unwrap();
            let lines: String = text.lines().filter(|line| !line.starts_with('-')).collect();
            base64::engine::general_purpose::STANDARD.decode(lines).unwrap()
        };
        for secret in [public.as_slice(), trimmed, &der, &der[der.len() - 32..]] {
            for header in [
                r#"{"alg":"HS256","typ":"at+jwt"}"#.to_owned(),
                format!(r#"{{"alg":"HS256","typ":"at+jwt","kid":"{id}"}}"#),
                format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{id}"}}"#),
                format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"{id}"}}"#),
                format!(r#"{{"alg":"RS256","typ":"at+jwt","kid":"{id}"}}"#),
            ] {
                assert!(jwt.validate(&hmac(secret, &header, &payload)).is_err(), "{name} {header}");
            }
        }
        // The forgery is well made: a validator that uses the text as a secret accepts it.
        let forged = hmac(&public, r#"{"alg":"HS256","typ":"at+jwt"}"#, &payload);
        assert!(super::jwt(Key::hs256(&public).unwrap()).validate(&forged).is_ok(), "{name}");
    }
}

#[tokio::test]
async fn a_token_does_not_choose_its_algorithm() {
    let [(_, eddsa), (_, es256), (_, rs256)] = keys();
    let all = [eddsa, es256, rs256].map(|key| jwt(key.with_id("same")));
    for (at, signing) in all.iter().enumerate() {
        let token = issue(signing).await;
        for (other, checking) in all.iter().enumerate() {
            assert_eq!(checking.validate(&token).is_ok(), at == other, "{signing:?} {checking:?}");
        }
        let (_, rest) = token.split_once('.').unwrap();
        for algorithm in ["none", "EdDSA", "ES256", "RS256", "HS256", "ES384", "PS256"] {
            let header = format!(r#"{{"alg":"{algorithm}","typ":"at+jwt","kid":"same"}}"#);
            let changed = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header));
            assert!(all.iter().all(|jwt| changed == token || jwt.validate(&changed).is_err()), "{algorithm}");
        }
    }
}
