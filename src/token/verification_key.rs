//! Keys that validate access tokens and cannot sign them.

use std::sync::Arc;

#[cfg(feature = "aws_lc_rs")]
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, crypto::JwtVerifier};
use serde_json::{Value, json};
use sha2::Sha256;

use super::pem::{self, Half, Parse};
use super::{backend::provider, jwk, jwk::PublicKey, key_error::KeyError};
use crate::secret::{debug_only, hmac};

/// A key that validates access tokens: a public key, for servers that must not sign tokens, or any
/// [`Key`](crate::Key). It determines the algorithm. Cheap to clone.
///
/// ```
/// use tower_oauth2_password::{JwtValidator, KeyError, VerificationKey};
///
/// let pem = b"-----BEGIN PUBLIC KEY-----
/// MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
/// -----END PUBLIC KEY-----
/// ";
/// let key = VerificationKey::eddsa_pem(pem)?;
/// assert_eq!(key.id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"); // its RFC 7638 thumbprint
/// let validator = JwtValidator::new(key, "https://api.example", "api");
/// assert_eq!(VerificationKey::eddsa_pem(b"no key").unwrap_err(), KeyError::Unreadable);
/// # Ok::<(), KeyError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct VerificationKey(Arc<Material>);

struct Material {
    algorithm: Algorithm,
    id: String,
    /// The encoded header of all tokens that are signed with this key.
    header: String,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    /// The keyed state, so that no token has to derive it again.
    Hmac(Hmac<Sha256>),
    /// As the crypto backend takes it, and as others do.
    Public(DecodingKey, PublicKey),
}

debug_only!(Material { algorithm, id });

impl VerificationKey {
    /// Ed25519, from a public key in PEM (`BEGIN PUBLIC KEY`).
    ///
    /// # Errors
    /// When the PEM holds no such key, or no crypto backend is enabled.
    pub fn eddsa_pem(pem: &[u8]) -> Result<Self, KeyError> {
        Self::ed25519(&public_part(pem, DecodingKey::from_ed_pem)?)
    }

    /// ECDSA with P-256 and SHA-256, from a public key in PEM (`BEGIN PUBLIC KEY`).
    ///
    /// # Errors
    /// When the PEM holds no such key, or no crypto backend is enabled.
    pub fn es256_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let point = public_part(pem, DecodingKey::from_ec_pem)?;
        let coordinates = point.strip_prefix(&[4]).and_then(|both| both.split_at_checked(32));
        let (x, y) = coordinates.ok_or(KeyError::Unreadable)?;
        Self::p256(x, y)
    }

    /// RSA PKCS#1 v1.5 with SHA-256, from a public key in PEM (`BEGIN PUBLIC KEY` or `BEGIN RSA PUBLIC KEY`) of 2,048 to
    /// 4,096 bits.
    ///
    /// # Errors
    /// When the PEM holds no such key, its length is not supported, or no crypto backend is enabled.
    pub fn rs256_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let der = public_part(pem, DecodingKey::from_rsa_pem)?;
        pem::check_modulus(&der, Half::Public)?;
        let parts = (provider()?.key_utils.rsa_pub_components_from_public_key)(&der);
        let (n, e) = parts.map_err(|_| KeyError::Unreadable)?;
        Self::rsa(&n, &e)
    }

    /// A public key as a JSON Web Key (RFC 7517): Ed25519 (RFC 8037), P-256, or RSA of 2,048 to 4,096 bits (RFC 7518,
    /// section 6). `kid`, if there is one, becomes the [`id`](Self::id).
    ///
    /// # Errors
    /// When it is a private or symmetric key, or of another kind, or its point is not on the curve; when it is not for
    /// verifying (`use`, `key_ops`) or `alg` is not EdDSA (or Ed25519, RFC 9864), ES256 or RS256, whichever fits the key;
    /// when a member is padded or otherwise not canonical; or when no crypto backend is enabled.
    ///
    /// ```
    /// use tower_oauth2_password::{KeyError, VerificationKey};
    ///
    /// let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    /// let mut jwk = serde_json::json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "2026" });
    /// assert_eq!(VerificationKey::from_jwk(&jwk)?.id(), "2026");
    /// jwk["alg"] = "ES256".into();
    /// assert_eq!(VerificationKey::from_jwk(&jwk).unwrap_err(), KeyError::UnusableJwk);
    /// # Ok::<(), KeyError>(())
    /// ```
    pub fn from_jwk(jwk: &Value) -> Result<Self, KeyError> {
        provider()?;
        Self::of_jwk(jwk).ok_or(KeyError::UnusableJwk)
    }

    fn of_jwk(jwk: &Value) -> Option<Self> {
        let coordinate = |name| jwk::bytes(jwk, name);
        let key = match (jwk["kty"].as_str()?, jwk["crv"].as_str()) {
            ("OKP", Some("Ed25519")) => Self::ed25519(&coordinate("x")?),
            ("EC", Some("P-256")) => Self::p256(&coordinate("x")?, &coordinate("y")?),
            ("RSA", _) => {
                // With an exponent of 1, anything is a signature. Not every backend takes more than 4 bytes.
                let (n, e) = (jwk::odd(jwk, "n")?, jwk::odd(jwk, "e").filter(|e| *e != [1] && e.len() <= 4)?);
                pem::check_bits(&n).and_then(|()| Self::rsa(&n, &e))
            }
            _ => return None,
        };
        let key = key.ok().filter(|key| jwk::is_to_verify(jwk, |alg| key.is_for(alg)))?;
        let Some(id) = jwk.get("kid") else { return Some(key) };
        Some(key.with_id(id.as_str()?))
    }

    /// Sets the `kid` by which tokens name this key.
    pub fn with_id(self, id: impl Into<String>) -> Self {
        Self::new(self.0.algorithm, id.into(), self.0.kind.clone())
    }

    /// The `kid`. The default is the key's thumbprint (RFC 7638), or a short digest for HMAC.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    fn new(algorithm: Algorithm, id: String, kind: Kind) -> Self {
        let header = json!({ "typ": "at+jwt", "alg": algorithm, "kid": id }).to_string();
        Self(Arc::new(Material { algorithm, id, header: URL_SAFE_NO_PAD.encode(header), kind }))
    }

    pub(super) fn hmac(secret: &[u8]) -> Self {
        let hmac = hmac(secret);
        let mut id = URL_SAFE_NO_PAD.encode(hmac.clone().chain_update("kid").finalize().into_bytes());
        id.truncate(11);
        Self::new(Algorithm::HS256, id, Kind::Hmac(hmac))
    }

    pub(super) fn ed25519(x: &[u8]) -> Result<Self, KeyError> {
        check_coordinates(&[x])?;
        Self::public(Algorithm::EdDSA, DecodingKey::from_ed_der(x), PublicKey::ed25519(x))
    }

    pub(super) fn p256(x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        check_coordinates(&[x, y])?;
        let point = [&[4], x, y].concat();
        // Otherwise a point of another curve would be found out at each signature. `rust_crypto` alone finds out below.
        #[cfg(feature = "aws_lc_rs")]
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).map_err(|_| KeyError::Unreadable)?;
        Self::public(Algorithm::ES256, DecodingKey::from_ec_der(&point), PublicKey::p256(x, y))
    }

    pub(super) fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        Self::public(Algorithm::RS256, DecodingKey::from_rsa_raw_components(n, e), PublicKey::rsa(n, e))
    }

    fn public(algorithm: Algorithm, key: DecodingKey, public: PublicKey) -> Result<Self, KeyError> {
        verifier(algorithm, &key)?;
        Ok(Self::new(algorithm, public.thumbprint(), Kind::Public(key, public)))
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.0.algorithm
    }

    /// Whether `alg` names the algorithm. EdDSA with this curve has two names (RFC 9864, section 2.2).
    pub(super) fn is_for(&self, alg: &str) -> bool {
        let alg = if alg == "Ed25519" { "EdDSA" } else { alg };
        alg.parse().is_ok_and(|alg: Algorithm| alg == self.0.algorithm)
    }

    /// The encoded header of all tokens that are signed with this key.
    pub(super) fn header(&self) -> &str {
        &self.0.header
    }

    /// The public key. HMAC has none.
    pub(super) fn jwk(&self) -> Option<Value> {
        let Kind::Public(_, public) = &self.0.kind else { return None };
        Some(public.jwk(&self.0.id, self.0.algorithm))
    }

    pub(super) fn verify(&self, message: &[u8], signature: &Vec<u8>) -> bool {
        match &self.0.kind {
            Kind::Hmac(hmac) => hmac.clone().chain_update(message).verify_slice(signature).is_ok(),
            Kind::Public(key, _) => verifier(self.0.algorithm, key)
                .is_ok_and(|verifier| signature::Verifier::verify(&*verifier, message, signature).is_ok()),
        }
    }
}

/// The public key in a PEM block, without the frame that names its kind.
fn public_part(pem: &[u8], parse: Parse<DecodingKey>) -> Result<Vec<u8>, KeyError> {
    let key = pem::read(pem, Half::Public, parse)?;
    key.try_get_as_bytes().map(<[u8]>::to_vec).map_err(|_| KeyError::Unreadable)
}

fn verifier(algorithm: Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, KeyError> {
    (provider()?.verifier_factory)(&algorithm, key).map_err(|_| KeyError::Unreadable)
}

/// The backends rely on the length.
fn check_coordinates(all: &[&[u8]]) -> Result<(), KeyError> {
    if all.iter().all(|one| one.len() == 32) { Ok(()) } else { Err(KeyError::Unreadable) }
}
