//! Keys that verify access tokens and cannot sign them.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, crypto::CryptoProvider};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{
    Key, KeyError,
    jwk::PublicKey,
    key::provider,
    pem::{self, Half},
};

/// A key that checks access tokens: the public half of a pair, for servers that must not be able to make tokens, or
/// any [`Key`]. It fixes the algorithm. Cheap to clone.
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
/// # Ok::<(), KeyError>(())
/// ```
#[derive(Clone)]
pub struct VerificationKey(Arc<Parts>);

#[derive(Clone)]
struct Parts {
    algorithm: Algorithm,
    id: String,
    /// The header of tokens that are signed with this key, as it stands in them.
    header: String,
    material: DecodingKey,
    public: Option<PublicKey>,
    /// The keyed state, so that it is not made anew for each token.
    hmac: Option<Hmac<Sha256>>,
    provider: &'static CryptoProvider,
}

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
        // The backends take the length for granted.
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
        pem::check_p256(pem)?;
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

    /// The `kid` by which tokens name this key, instead of one derived from the key.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        let parts = Arc::make_mut(&mut self.0);
        parts.id = id.into();
        parts.header = header(parts.algorithm, &parts.id);
        self
    }

    /// The `kid`: unless set, the key's thumbprint (RFC 7638), or for HMAC a short digest.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    pub(super) fn hmac(secret: &[u8], id: String, provider: &'static CryptoProvider) -> Result<Self, KeyError> {
        let hmac = Some(Hmac::new_from_slice(secret).map_err(|_| KeyError::Unreadable)?);
        let (algorithm, header) = (Algorithm::HS256, header(Algorithm::HS256, &id));
        let material = DecodingKey::from_secret(secret);
        Self::usable(Parts { algorithm, id, header, material, public: None, hmac, provider })
    }

    pub(super) fn ed25519(x: &[u8], provider: &'static CryptoProvider) -> Result<Self, KeyError> {
        Self::asymmetric(Algorithm::EdDSA, DecodingKey::from_ed_der(x), PublicKey::ed25519(x), provider)
    }

    pub(super) fn p256(x: &[u8], y: &[u8], provider: &'static CryptoProvider) -> Result<Self, KeyError> {
        let material = DecodingKey::from_ec_components(&URL_SAFE_NO_PAD.encode(x), &URL_SAFE_NO_PAD.encode(y))
            .map_err(|_| KeyError::Unreadable)?;
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
        Self::usable(Parts { algorithm, id, header, material, public: Some(public), hmac: None, provider })
    }

    fn usable(parts: Parts) -> Result<Self, KeyError> {
        (parts.provider.verifier_factory)(&parts.algorithm, &parts.material).map_err(|_| KeyError::Unreadable)?;
        Ok(Self(Arc::new(parts)))
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.0.algorithm
    }

    /// The algorithm as a token's header names it.
    pub(super) fn algorithm_name(&self) -> &'static str {
        name(self.0.algorithm)
    }

    /// The header of tokens that are signed with this key, as it stands in them.
    pub(super) fn header(&self) -> &str {
        &self.0.header
    }

    /// The key as everybody may see it; an HMAC secret never.
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

impl From<Key> for VerificationKey {
    fn from(key: Key) -> Self {
        key.verification_key()
    }
}

impl From<&Key> for VerificationKey {
    fn from(key: &Key) -> Self {
        key.verification_key()
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey")
            .field("algorithm", &self.0.algorithm)
            .field("id", &self.0.id)
            .finish_non_exhaustive()
    }
}
