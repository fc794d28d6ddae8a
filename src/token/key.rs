//! Keys that sign and verify access tokens.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, EncodingKey, jwk::EllipticCurve};

use super::pem::{self, Half};
use super::{backend::provider, key_error::KeyError, verification_key::VerificationKey};
use crate::secret::debug_only;

/// A key that signs and validates access tokens. It determines the algorithm: a token's header cannot choose another. Cheap
/// to clone.
///
/// Each constructor signs and verifies once, so a key that does not work is an error here and not at the first login.
///
/// To generate a private key, run `openssl genpkey -algorithm ed25519`, or `-algorithm EC -pkeyopt
/// ec_paramgen_curve:P-256`, or `-algorithm RSA -pkeyopt rsa_keygen_bits:2048`.
///
/// ```
/// use tower_oauth2_password::Key;
///
/// let key = Key::hs256([7; 32])?.with_id("2026");
/// assert_eq!(key.id(), "2026");
/// assert_eq!(key.verification_key().id(), "2026");
/// # Ok::<(), tower_oauth2_password::KeyError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Key {
    signing: Arc<EncodingKey>,
    pub(super) verifying: VerificationKey,
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
        Self::checked(EncodingKey::from_secret(secret), VerificationKey::hmac(secret))
    }

    /// Ed25519, from a private key in PKCS#8 PEM (`BEGIN PRIVATE KEY`).
    ///
    /// # Errors
    /// When the PEM holds no such key, or no crypto backend is enabled.
    ///
    /// ```
    /// use tower_oauth2_password::{Key, KeyError};
    ///
    /// let pem = b"-----BEGIN PRIVATE KEY-----
    /// MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
    /// -----END PRIVATE KEY-----
    /// ";
    /// assert_eq!(Key::eddsa_pem(pem)?.id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    /// assert_eq!(Key::es256_pem(pem).unwrap_err(), KeyError::Unreadable);
    /// # Ok::<(), KeyError>(())
    /// ```
    pub fn eddsa_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let signing = pem::read(pem, Half::Private, EncodingKey::from_ed_pem)?;
        let x = (provider()?.key_utils.ed_pub_components_from_private_key)(signing.as_bytes(), &EllipticCurve::Ed25519)
            .map_err(|_| KeyError::Unreadable)?;
        Self::checked(signing, VerificationKey::ed25519(&x)?)
    }

    /// ECDSA with P-256 and SHA-256, from a private key in PKCS#8 PEM (`BEGIN PRIVATE KEY`).
    ///
    /// # Errors
    /// When the PEM holds no such key, or no crypto backend is enabled.
    pub fn es256_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let signing = pem::read(pem, Half::Private, EncodingKey::from_ec_pem)?;
        let parts = (provider()?.key_utils.ec_pub_components_from_private_key)(signing.as_bytes(), Algorithm::ES256);
        let (_, x, y) = parts.map_err(|_| KeyError::Unreadable)?;
        Self::checked(signing, VerificationKey::p256(&x, &y)?)
    }

    /// RSA PKCS#1 v1.5 with SHA-256, from a private key in PEM (`BEGIN PRIVATE KEY` or `BEGIN RSA PRIVATE KEY`) of 2,048
    /// to 4,096 bits. A signature takes milliseconds and 256 bytes or more; Ed25519 is faster and shorter. With
    /// `rust_crypto` alone, the time of a signature depends on the key (RUSTSEC-2023-0071).
    ///
    /// # Errors
    /// When the PEM holds no such key, its length is not supported, or no crypto backend is enabled.
    pub fn rs256_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let signing = pem::read(pem, Half::Private, EncodingKey::from_rsa_pem)?;
        pem::check_modulus(signing.as_bytes(), Half::Private)?;
        let parts = (provider()?.key_utils.rsa_pub_components_from_private_key)(signing.as_bytes());
        let (n, e) = parts.map_err(|_| KeyError::Unreadable)?;
        Self::checked(signing, VerificationKey::rsa(&n, &e)?)
    }

    /// Sets the `kid` by which tokens name this key.
    pub fn with_id(self, id: impl Into<String>) -> Self {
        Self { verifying: self.verifying.with_id(id), ..self }
    }

    /// The `kid`. The default is the key's thumbprint (RFC 7638), or a short digest for HMAC.
    pub fn id(&self) -> &str {
        self.verifying.id()
    }

    /// The key that validates, for servers that must not sign. HMAC has no such key: one that validates can sign, too.
    pub fn verification_key(&self) -> VerificationKey {
        self.verifying.clone()
    }

    fn checked(signing: EncodingKey, verifying: VerificationKey) -> Result<Self, KeyError> {
        let key = Self { signing: Arc::new(signing), verifying };
        provider()?;
        let signature = key.sign(b"probe").ok_or(KeyError::Unreadable)?;
        if key.verifying.verify(b"probe", &signature) { Ok(key) } else { Err(KeyError::Unreadable) }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        // One for each token: threads cannot share jsonwebtoken's boxed signers, and a login costs far more.
        let signer = (provider().ok()?.signer_factory)(&self.verifying.algorithm(), &self.signing).ok()?;
        signature::Signer::try_sign(&*signer, message).ok()
    }
}

debug_only!(Key { verifying });

impl From<Key> for VerificationKey {
    fn from(key: Key) -> Self {
        key.verifying
    }
}

impl From<&Key> for VerificationKey {
    fn from(key: &Key) -> Self {
        key.verification_key()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &[u8] = b"-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
";

    #[cfg(not(any(feature = "aws_lc_rs", feature = "rust_crypto")))]
    #[test]
    fn without_a_backend_every_constructor_says_so() {
        let no_backend = Some(KeyError::NoBackend);
        assert_eq!(Key::hs256([7; 32]).err(), no_backend);
        for key in [Key::eddsa_pem, Key::es256_pem, Key::rs256_pem] {
            assert_eq!(key(ED25519).err(), no_backend);
        }
        for key in [VerificationKey::eddsa_pem, VerificationKey::es256_pem, VerificationKey::rs256_pem] {
            assert_eq!(key(ED25519).err(), no_backend);
        }
        assert_eq!(VerificationKey::from_jwk(&serde_json::json!({})).err(), no_backend);
    }

    #[cfg(any(feature = "aws_lc_rs", feature = "rust_crypto"))]
    #[test]
    fn with_a_backend_or_both_keys_work() {
        for key in [Key::hs256([7; 32]).unwrap(), Key::eddsa_pem(ED25519).unwrap()] {
            let mut signature = key.sign(b"message").unwrap();
            assert!(key.verification_key().verify(b"message", &signature));
            assert!(!key.verification_key().verify(b"messagf", &signature));
            signature[0] ^= 1;
            assert!(!key.verification_key().verify(b"message", &signature));
            for wrong in [vec![], vec![0; 64], vec![0; 1_000]] {
                assert!(!key.verification_key().verify(b"message", &wrong));
            }
        }
    }

    #[cfg(any(feature = "aws_lc_rs", feature = "rust_crypto"))]
    #[test]
    fn a_secret_of_less_than_32_bytes_is_refused() {
        for bytes in [0, 1, 31] {
            assert_eq!(Key::hs256(vec![7; bytes]).err(), Some(KeyError::TooShort { bytes }));
        }
        assert!(Key::hs256([7; 32]).is_ok());
    }

    #[cfg(any(feature = "aws_lc_rs", feature = "rust_crypto"))]
    #[test]
    fn debug_output_holds_no_key() {
        let key = Key::hs256("a secret that nobody may ever see").unwrap();
        for shown in [format!("{key:?}"), format!("{:?}", key.verification_key())] {
            assert!(!shown.contains("secret") && !shown.contains("97, 32, 115"), "{shown}");
            assert!(shown.contains(key.id()) && shown.contains("HS256"), "{shown}");
        }
    }

    #[cfg(any(feature = "aws_lc_rs", feature = "rust_crypto"))]
    #[test]
    fn the_default_id_is_a_digest_of_the_key() {
        let key = Key::hs256([7; 32]).unwrap();
        assert_eq!((key.id().len(), key.id()), (11, Key::hs256([7; 32]).unwrap().id()));
        assert_ne!(key.id(), Key::hs256([8; 32]).unwrap().id());
        assert_eq!(key.with_id("2026").id(), "2026");
    }
}
