//! The public half of a key as a JSON Web Key (RFC 7517), and its thumbprint (RFC 7638).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A public key, its parts in base64url.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PublicKey(Vec<(&'static str, String)>);

impl PublicKey {
    pub(super) fn ed25519(x: &[u8]) -> Self {
        Self(vec![("crv", "Ed25519".into()), ("kty", "OKP".into()), ("x", URL_SAFE_NO_PAD.encode(x))])
    }

    pub(super) fn p256(x: &[u8], y: &[u8]) -> Self {
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        Self(vec![("crv", "P-256".into()), ("kty", "EC".into()), ("x", x), ("y", y)])
    }

    pub(super) fn rsa(n: &[u8], e: &[u8]) -> Self {
        Self(vec![("e", integer(e)), ("kty", "RSA".into()), ("n", integer(n))])
    }

    pub(super) fn jwk(&self, id: &str, algorithm: Algorithm) -> Value {
        let members = self.0.iter().map(|(name, value)| (*name, json!(value)));
        members.chain([("kid", json!(id)), ("use", json!("sig")), ("alg", json!(algorithm))]).collect()
    }

    /// SHA-256 of the required members, sorted by name, without whitespace.
    pub(super) fn thumbprint(&self) -> String {
        // Not through a JSON map: its order depends on the features of serde_json that other crates enable.
        let members: Vec<_> = self.0.iter().map(|(name, value)| format!(r#""{name}":"{value}""#)).collect();
        URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{{{}}}", members.join(","))))
    }
}

/// What a member holds in unpadded and canonical base64url.
pub(super) fn bytes(jwk: &Value, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(jwk[name].as_str()?).ok()
}

/// What a member holds if it is an odd number, as both parts of an RSA key are.
pub(super) fn odd(jwk: &Value, name: &str) -> Option<Vec<u8>> {
    bytes(jwk, name).filter(|number| number.first() != Some(&0) && number.last().is_some_and(|byte| byte % 2 == 1))
}

/// Whether a key is public and meant to verify signatures of this algorithm (RFC 7517, section 4).
pub(super) fn is_to_verify(jwk: &Value, is_alg: impl Fn(&str) -> bool) -> bool {
    jwk.get("d").is_none()
        && jwk.get("use").is_none_or(|purpose| purpose == "sig")
        && jwk.get("key_ops").is_none_or(|all| all.as_array().is_some_and(|all| all.contains(&"verify".into())))
        && jwk.get("alg").is_none_or(|alg| alg.as_str().is_some_and(is_alg))
}

/// `Base64urlUInt` of RFC 7518, section 2: without leading zeros.
fn integer(bytes: &[u8]) -> String {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    URL_SAFE_NO_PAD.encode(bytes.get(zeros..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbprints_are_those_of_the_rfcs() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3o\
                 knjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6\
                 qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awap\
                 JzKnqDKgw";
        let rsa = PublicKey::rsa(&URL_SAFE_NO_PAD.decode(n).unwrap(), &[0, 1, 0, 1]);
        assert_eq!(rsa.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", "RFC 7638, section 3.1");
        let x = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        let ed25519 = PublicKey::ed25519(&x);
        assert_eq!(ed25519.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", "RFC 8037, appendix A.3");
        assert_eq!(ed25519.jwk("k", Algorithm::EdDSA)["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    }
}
