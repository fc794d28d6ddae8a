//! Keys that sign and verify access tokens.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto::CryptoProvider};
use sha2::{Digest, Sha256};

#[cfg(feature = "aws_lc_rs")]
static PROVIDER: Option<&CryptoProvider> = Some(&jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER);
#[cfg(all(feature = "rust_crypto", not(feature = "aws_lc_rs")))]
static PROVIDER: Option<&CryptoProvider> = Some(&jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER);
#[cfg(not(any(feature = "rust_crypto", feature = "aws_lc_rs")))]
static PROVIDER: Option<&CryptoProvider> = None;

/// A key for access tokens. It fixes the algorithm: a token's header cannot choose another. Cheap to clone.
///
/// Each constructor ends in a key that has signed and verified, or in an error; nothing is left to fail at the first
/// login.
#[derive(Clone)]
pub struct Key(Arc<Parts>);

#[derive(Clone)]
struct Parts {
    algorithm: Algorithm,
    id: String,
    signing: EncodingKey,
    verifying: DecodingKey,
    provider: &'static CryptoProvider,
}

impl Key {
    /// HMAC with SHA-256, of a random secret of at least 32 bytes (RFC 7518, section 3.2).
    ///
    /// # Errors
    /// When the secret is shorter, or no crypto backend is enabled.
    ///
    /// ```
    /// use tower_oauth2_password::Key;
    ///
    /// assert!(Key::hs256([7; 32]).is_ok());
    /// assert!(Key::hs256("too short").unwrap_err().to_string().contains("9 bytes"));
    /// ```
    pub fn hs256(secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let secret = secret.as_ref();
        if secret.len() < 32 {
            return Err(KeyError::TooShort { bytes: secret.len() });
        }
        let mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| KeyError::Unreadable)?;
        let sum = mac.chain_update("kid").finalize().into_bytes();
        let id = sum.first_chunk::<8>().map(|start| URL_SAFE_NO_PAD.encode(start)).unwrap_or_default();
        Self::proven(Algorithm::HS256, id, EncodingKey::from_secret(secret), DecodingKey::from_secret(secret))
    }

    /// Ed25519, from a private key in PKCS#8 PEM.
    ///
    /// # Errors
    /// When the PEM holds no such key, or no crypto backend is enabled.
    pub fn eddsa_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let signing = EncodingKey::from_ed_pem(pem).map_err(|_| KeyError::Unreadable)?;
        let curve = jsonwebtoken::jwk::EllipticCurve::Ed25519;
        let public = (provider()?.key_utils.ed_pub_components_from_private_key)(signing.as_bytes(), &curve)
            .map_err(|_| KeyError::Unreadable)?;
        Self::proven(Algorithm::EdDSA, thumbprint(&[&public]), signing, DecodingKey::from_ed_der(&public))
    }

    /// ECDSA with P-256 and SHA-256, from a private key in PKCS#8 PEM.
    ///
    /// # Errors
    /// When the PEM holds no such key, or no crypto backend is enabled.
    pub fn es256_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let signing = EncodingKey::from_ec_pem(pem).map_err(|_| KeyError::Unreadable)?;
        let (_, x, y) =
            (provider()?.key_utils.ec_pub_components_from_private_key)(signing.as_bytes(), Algorithm::ES256)
                .map_err(|_| KeyError::Unreadable)?;
        let verifying = DecodingKey::from_ec_components(&URL_SAFE_NO_PAD.encode(&x), &URL_SAFE_NO_PAD.encode(&y))
            .map_err(|_| KeyError::Unreadable)?;
        Self::proven(Algorithm::ES256, thumbprint(&[&x, &y]), signing, verifying)
    }

    /// RSA PKCS#1 v1.5 with SHA-256, from a private key in PEM, 2,048 bits or more.
    ///
    /// # Errors
    /// When the PEM holds no such key, it is too short, or no crypto backend is enabled.
    pub fn rs256_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let signing = EncodingKey::from_rsa_pem(pem).map_err(|_| KeyError::Unreadable)?;
        let (n, e) = (provider()?.key_utils.rsa_pub_components_from_private_key)(signing.as_bytes())
            .map_err(|_| KeyError::Unreadable)?;
        let modulus = n.iter().skip_while(|byte| **byte == 0).count();
        if modulus < 256 {
            return Err(KeyError::TooShort { bytes: modulus });
        }
        let verifying = DecodingKey::from_rsa_raw_components(&n, &e);
        Self::proven(Algorithm::RS256, thumbprint(&[&n, &e]), signing, verifying)
    }

    /// The `kid` by which tokens name this key, instead of one derived from the key.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).id = id.into();
        self
    }

    /// The `kid`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    pub(super) fn algorithm(&self) -> &'static str {
        match self.0.algorithm {
            Algorithm::EdDSA => "EdDSA",
            Algorithm::ES256 => "ES256",
            Algorithm::RS256 => "RS256",
            _ => "HS256",
        }
    }

    fn proven(
        algorithm: Algorithm,
        id: String,
        signing: EncodingKey,
        verifying: DecodingKey,
    ) -> Result<Self, KeyError> {
        let key = Self(Arc::new(Parts { algorithm, id, signing, verifying, provider: provider()? }));
        let signature = key.sign(b"probe").ok_or(KeyError::Unreadable)?;
        if key.verify(b"probe", &signature) { Ok(key) } else { Err(KeyError::Unreadable) }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let signer = (self.0.provider.signer_factory)(&self.0.algorithm, &self.0.signing).ok()?;
        signature::Signer::try_sign(&*signer, message).ok()
    }

    pub(super) fn verify(&self, message: &[u8], signature: &Vec<u8>) -> bool {
        (self.0.provider.verifier_factory)(&self.0.algorithm, &self.0.verifying)
            .is_ok_and(|verifier| signature::Verifier::verify(&*verifier, message, signature).is_ok())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("algorithm", &self.0.algorithm).field("id", &self.0.id).finish_non_exhaustive()
    }
}

/// The backend is named directly: jsonwebtoken's process-wide choice panics where none or both of its features are on.
fn provider() -> Result<&'static CryptoProvider, KeyError> {
    PROVIDER.ok_or(KeyError::NoBackend)
}

fn thumbprint(components: &[&[u8]]) -> String {
    let mut digest = Sha256::new();
    components.iter().for_each(|component| digest.update(component));
    URL_SAFE_NO_PAD.encode(digest.finalize())
}

/// A key that cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// An HMAC secret of less than 32 bytes, or an RSA modulus of less than 256.
    TooShort {
        /// The length found.
        bytes: usize,
    },
    /// The text holds no private key of the kind.
    Unreadable,
    /// Neither the feature `aws_lc_rs` nor `rust_crypto` is enabled.
    NoBackend,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { bytes } => write!(
                f,
                "the key has {bytes} bytes: take a random HMAC secret of 32 bytes or more, an RSA modulus of 256 or more"
            ),
            Self::Unreadable => f.write_str("the text holds no private key of this kind: PKCS#8 PEM is expected"),
            Self::NoBackend => {
                f.write_str("no crypto backend: enable the feature aws_lc_rs or rust_crypto of tower-oauth2-password")
            }
        }
    }
}

impl std::error::Error for KeyError {}
