//! Keys that validate access tokens and cannot sign them.

use std::sync::Arc;

#[cfg(feature = "aws_lc_rs")]
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, crypto::CryptoProvider};
use serde_json::{Value, json};
use sha2::Sha256;

use super::pem::{self, Half};
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

#[derive(Clone)]
struct Material {
    algorithm: Algorithm,
    id: String,
    /// The encoded header of all tokens that are signed with this key.
    header: String,
    material: DecodingKey,
    public: Option<PublicKey>,
    /// The keyed state, so that no token has to derive it again.
    hmac: Option<Hmac<Sha256>>,
    provider: &'static CryptoProvider,
}

debug_only!(Material { algorithm, id });

impl VerificationKey {
    /// Ed25519, from a public key in PEM (`BEGIN PUBLIC KEY`).
    ///
    /// # Errors
    /// When the PEM holds no such key, or no crypto backend is enabled.
    pub fn eddsa_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let provider = provider()?;
        pem::check(pem, Half::Public)?;
        let key = DecodingKey::from_ed_pem(pem).map_err(|_| KeyError::Unreadable)?;
        let x = key.try_get_as_bytes().map_err(|_| KeyError::Unreadable)?;
        // The backends rely on the length.
        if x.len() != 32 {
            return Err(KeyError::Unreadable);
        }
        Self::ed25519(x, provider)
    }

    /// ECDSA with P-256 and SHA-256, from a public key in PEM (`BEGIN PUBLIC KEY`).
    ///
    /// # Errors
    /// When the PEM holds no such key, or no crypto backend is enabled.
    pub fn es256_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let provider = provider()?;
        pem::check(pem, Half::Public)?;
        let key = DecodingKey::from_ec_pem(pem).map_err(|_| KeyError::Unreadable)?;
        let point = key.try_get_as_bytes().map_err(|_| KeyError::Unreadable)?;
        let Some((4, coordinates)) = point.split_first() else { return Err(KeyError::Unreadable) };
        let Some((x, y)) = coordinates.split_first_chunk::<32>().filter(|(_, y)| y.len() == 32) else {
            return Err(KeyError::Unreadable);
        };
        Self::p256(x, y, provider)
    }

    /// RSA PKCS#1 v1.5 with SHA-256, from a public key in PEM (`BEGIN PUBLIC KEY` or `BEGIN RSA PUBLIC KEY`) of 2,048 to
    /// 4,096 bits.
    ///
    /// # Errors
    /// When the PEM holds no such key, its length is not supported, or no crypto backend is enabled.
    pub fn rs256_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let provider = provider()?;
        pem::check(pem, Half::Public)?;
        let key = DecodingKey::from_rsa_pem(pem).map_err(|_| KeyError::Unreadable)?;
        let der = key.try_get_as_bytes().map_err(|_| KeyError::Unreadable)?;
        pem::check_modulus(der, Half::Public)?;
        let (n, e) = (provider.key_utils.rsa_pub_components_from_public_key)(der).map_err(|_| KeyError::Unreadable)?;
        Self::rsa(&n, &e, provider)
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
        Self::of_jwk(jwk, provider()?).ok_or(KeyError::UnusableJwk)
    }

    fn of_jwk(jwk: &Value, provider: &'static CryptoProvider) -> Option<Self> {
        let coordinate = |name| jwk::bytes(jwk, name).filter(|bytes| bytes.len() == 32);
        let key = match (jwk["kty"].as_str()?, jwk["crv"].as_str()) {
            ("OKP", Some("Ed25519")) => Self::ed25519(&coordinate("x")?, provider),
            ("EC", Some("P-256")) => Self::p256(&coordinate("x")?, &coordinate("y")?, provider),
            ("RSA", _) => {
                // With an exponent of 1, anything is a signature. Not every backend takes more than 4 bytes.
                let (n, e) = (jwk::odd(jwk, "n")?, jwk::odd(jwk, "e").filter(|e| *e != [1] && e.len() <= 4)?);
                pem::check_bits(&n).and_then(|()| Self::rsa(&n, &e, provider))
            }
            _ => return None,
        };
        let key = key.ok().filter(|key| jwk::is_to_verify(jwk, |alg| key.is_for(alg)))?;
        let Some(id) = jwk.get("kid") else { return Some(key) };
        Some(key.with_id(id.as_str()?))
    }

    /// Sets the `kid` by which tokens name this key.
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        let key = Arc::make_mut(&mut self.0);
        key.id = id.into();
        key.header = header(key.algorithm, &key.id);
        self
    }

    /// The `kid`. The default is the key's thumbprint (RFC 7638), or a short digest for HMAC.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    pub(super) fn hmac(secret: &[u8], provider: &'static CryptoProvider) -> Result<Self, KeyError> {
        let hmac = hmac(secret);
        let mut id = URL_SAFE_NO_PAD.encode(hmac.clone().chain_update("kid").finalize().into_bytes());
        id.truncate(11);
        let (algorithm, header) = (Algorithm::HS256, header(Algorithm::HS256, &id));
        let material = DecodingKey::from_secret(secret);
        Self::usable(Material { algorithm, id, header, material, public: None, hmac: Some(hmac), provider })
    }

    pub(super) fn ed25519(x: &[u8], provider: &'static CryptoProvider) -> Result<Self, KeyError> {
        Self::asymmetric(Algorithm::EdDSA, DecodingKey::from_ed_der(x), PublicKey::ed25519(x), provider)
    }

    pub(super) fn p256(x: &[u8], y: &[u8], provider: &'static CryptoProvider) -> Result<Self, KeyError> {
        let material = DecodingKey::from_ec_components(&URL_SAFE_NO_PAD.encode(x), &URL_SAFE_NO_PAD.encode(y))
            .map_err(|_| KeyError::Unreadable)?;
        // Otherwise a point of another curve would be found out at each signature. `rust_crypto` alone finds out below.
        #[cfg(feature = "aws_lc_rs")]
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, [&[4], x, y].concat()).map_err(|_| KeyError::Unreadable)?;
        Self::asymmetric(Algorithm::ES256, material, PublicKey::p256(x, y), provider)
    }

    pub(super) fn rsa(n: &[u8], e: &[u8], provider: &'static CryptoProvider) -> Result<Self, KeyError> {
        let material = DecodingKey::from_rsa_raw_components(n, e);
        Self::asymmetric(Algorithm::RS256, material, PublicKey::rsa(n, e), provider)
    }

    fn asymmetric(
        algorithm: Algorithm,
        material: DecodingKey,
        public: PublicKey,
        provider: &'static CryptoProvider,
    ) -> Result<Self, KeyError> {
        let id = public.thumbprint();
        let header = header(algorithm, &id);
        Self::usable(Material { algorithm, id, header, material, public: Some(public), hmac: None, provider })
    }

    fn usable(key: Material) -> Result<Self, KeyError> {
        (key.provider.verifier_factory)(&key.algorithm, &key.material).map_err(|_| KeyError::Unreadable)?;
        Ok(Self(Arc::new(key)))
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.0.algorithm
    }

    /// The algorithm's name in a token's header.
    pub(super) fn algorithm_name(&self) -> &'static str {
        name(self.0.algorithm)
    }

    /// Whether `alg` names the algorithm. EdDSA with this curve has two names (RFC 9864, section 2.2).
    pub(super) fn is_for(&self, alg: &str) -> bool {
        alg == self.algorithm_name() || (alg == "Ed25519" && self.0.algorithm == Algorithm::EdDSA)
    }

    /// The encoded header of all tokens that are signed with this key.
    pub(super) fn header(&self) -> &str {
        &self.0.header
    }

    /// The public key. HMAC has none.
    pub(super) fn jwk(&self) -> Option<Value> {
        self.0.public.as_ref().map(|public| public.jwk(&self.0.id, self.algorithm_name()))
    }

    pub(super) fn provider(&self) -> &'static CryptoProvider {
        self.0.provider
    }

    pub(super) fn verify(&self, message: &[u8], signature: &Vec<u8>) -> bool {
        if let Some(hmac) = &self.0.hmac {
            return hmac.clone().chain_update(message).verify_slice(signature).is_ok();
        }
        (self.0.provider.verifier_factory)(&self.0.algorithm, &self.0.material)
            .is_ok_and(|verifier| signature::Verifier::verify(&*verifier, message, signature).is_ok())
    }
}

fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::EdDSA => "EdDSA",
        Algorithm::ES256 => "ES256",
        Algorithm::RS256 => "RS256",
        _ => "HS256",
    }
}

fn header(algorithm: Algorithm, id: &str) -> String {
    URL_SAFE_NO_PAD.encode(json!({ "typ": "at+jwt", "alg": name(algorithm), "kid": id }).to_string())
}
