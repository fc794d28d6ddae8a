//! Keys that sign and verify access tokens.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, EncodingKey, crypto::CryptoProvider};
use sha2::Sha256;

use super::{
    VerificationKey,
    pem::{self, Half},
};

#[cfg(feature = "aws_lc_rs")]
static PROVIDER: Option<&CryptoProvider> = Some(&jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER);
#[cfg(all(feature = "rust_crypto", not(feature = "aws_lc_rs")))]
static PROVIDER: Option<&CryptoProvider> = Some(&jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER);
#[cfg(not(any(feature = "rust_crypto", feature = "aws_lc_rs")))]
static PROVIDER: Option<&CryptoProvider> = None;

/// A key that signs access tokens and checks them. It fixes the algorithm: a token's header cannot choose another. Cheap
/// to clone.
///
/// Each constructor ends in a key that has signed and verified, or in an error; nothing is left to fail at the first
/// login. Private keys are made by `openssl genpkey -algorithm ed25519`, or `-algorithm EC -pkeyopt
/// ec_paramgen_curve:P-256`, or `-algorithm RSA -pkeyopt rsa_keygen_bits:2048`.
#[derive(Clone)]
pub struct Key {
    signing: Arc<EncodingKey>,
    verifying: VerificationKey,
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
        let (secret, provider) = (secret.as_ref(), provider()?);
        if secret.len() < 32 {
            return Err(KeyError::TooShort { bytes: secret.len() });
        }
        let mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| KeyError::Unreadable)?;
        let sum = mac.chain_update("kid").finalize().into_bytes();
        let id = sum.first_chunk::<8>().map(|start| URL_SAFE_NO_PAD.encode(start)).unwrap_or_default();
        Self::proven(EncodingKey::from_secret(secret), VerificationKey::hmac(secret, id, provider)?)
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
        let provider = provider()?;
        pem::check(pem, Half::Private)?;
        let signing = EncodingKey::from_ed_pem(pem).map_err(|_| KeyError::Unreadable)?;
        let curve = jsonwebtoken::jwk::EllipticCurve::Ed25519;
        let x = (provider.key_utils.ed_pub_components_from_private_key)(signing.as_bytes(), &curve)
            .map_err(|_| KeyError::Unreadable)?;
        Self::proven(signing, VerificationKey::ed25519(&x, provider)?)
    }

    /// ECDSA with P-256 and SHA-256, from a private key in PKCS#8 PEM (`BEGIN PRIVATE KEY`).
    ///
    /// # Errors
    /// When the PEM holds no such key, or no crypto backend is enabled.
    pub fn es256_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let provider = provider()?;
        pem::check(pem, Half::Private)?;
        let signing = EncodingKey::from_ec_pem(pem).map_err(|_| KeyError::Unreadable)?;
        let (_, x, y) = (provider.key_utils.ec_pub_components_from_private_key)(signing.as_bytes(), Algorithm::ES256)
            .map_err(|_| KeyError::Unreadable)?;
        Self::proven(signing, VerificationKey::p256(&x, &y, provider)?)
    }

    /// RSA PKCS#1 v1.5 with SHA-256, from a private key in PEM (`BEGIN PRIVATE KEY` or `BEGIN RSA PRIVATE KEY`) of 2,048
    /// to 4,096 bits. Its signatures take milliseconds and are long; Ed25519 has neither fault. With `rust_crypto` alone
    /// the time of a signature depends on the key (RUSTSEC-2023-0071).
    ///
    /// # Errors
    /// When the PEM holds no such key, its length is not supported, or no crypto backend is enabled.
    pub fn rs256_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let provider = provider()?;
        pem::check(pem, Half::Private)?;
        let signing = EncodingKey::from_rsa_pem(pem).map_err(|_| KeyError::Unreadable)?;
        pem::check_modulus(signing.as_bytes(), Half::Private)?;
        let (n, e) = (provider.key_utils.rsa_pub_components_from_private_key)(signing.as_bytes())
            .map_err(|_| KeyError::Unreadable)?;
        Self::proven(signing, VerificationKey::rsa(&n, &e, provider)?)
    }

    /// The `kid` by which tokens name this key, instead of one derived from the key.
    #[must_use]
    pub fn with_id(self, id: impl Into<String>) -> Self {
        Self { verifying: self.verifying.with_id(id), ..self }
    }

    /// The `kid`: unless set, the key's thumbprint (RFC 7638), or for HMAC a short digest.
    #[must_use]
    pub fn id(&self) -> &str {
        self.verifying.id()
    }

    /// The key without its power to sign. For HMAC there is no such half: who can check can sign, too.
    #[must_use]
    pub fn verification_key(&self) -> VerificationKey {
        self.verifying.clone()
    }

    pub(super) fn header(&self) -> &str {
        self.verifying.header()
    }

    fn proven(signing: EncodingKey, verifying: VerificationKey) -> Result<Self, KeyError> {
        let key = Self { signing: Arc::new(signing), verifying };
        let signature = key.sign(b"probe").ok_or(KeyError::Unreadable)?;
        if key.verifying.verify(b"probe", &signature) { Ok(key) } else { Err(KeyError::Unreadable) }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        // Made for each token: jsonwebtoken's boxed signers cannot be shared by threads, and a login costs far more.
        let signer = (self.verifying.provider().signer_factory)(&self.verifying.algorithm(), &self.signing).ok()?;
        signature::Signer::try_sign(&*signer, message).ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("algorithm", &self.verifying.algorithm())
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

/// The backend is named directly: jsonwebtoken's process-wide choice panics where none or both of its features are on.
pub(super) fn provider() -> Result<&'static CryptoProvider, KeyError> {
    PROVIDER.ok_or(KeyError::NoBackend)
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
    /// The text holds no key of the kind.
    Unreadable,
    /// The private key is encrypted.
    Encrypted,
    /// A public key, where the private one is needed to sign.
    NotPrivate,
    /// A private key, where the public one is enough: it does not belong on a server that only checks tokens.
    NotPublic,
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
            Self::Unreadable => f.write_str(
                "the text holds no key of this kind in PEM: a private key is converted to PKCS#8 by \
                 openssl pkcs8 -topk8 -nocrypt, a public key is extracted by openssl pkey -pubout",
            ),
            Self::Encrypted => f.write_str("the private key is encrypted: decrypt it by openssl pkey"),
            Self::NotPrivate => f.write_str("this is a public key: the private key is needed to sign"),
            Self::NotPublic => {
                f.write_str("this is a private key: give the public one, extracted by openssl pkey -pubout")
            }
            Self::NoBackend => {
                f.write_str("no crypto backend: enable the feature aws_lc_rs or rust_crypto of tower-oauth2-password")
            }
        }
    }
}

impl std::error::Error for KeyError {}

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
    fn a_key_goes_by_its_digest_unless_named() {
        let key = Key::hs256([7; 32]).unwrap();
        assert_eq!((key.id().len(), key.id()), (11, Key::hs256([7; 32]).unwrap().id()));
        assert_ne!(key.id(), Key::hs256([8; 32]).unwrap().id());
        assert_eq!(key.with_id("2026").id(), "2026");
    }

    #[test]
    fn each_reason_tells_the_mend() {
        for (error, mend) in [
            (KeyError::TooShort { bytes: 9 }, "9 bytes: take a random HMAC secret of 32"),
            (KeyError::Unreadable, "openssl pkcs8 -topk8 -nocrypt"),
            (KeyError::Encrypted, "decrypt it by openssl pkey"),
            (KeyError::NotPrivate, "the private key is needed"),
            (KeyError::NotPublic, "give the public one"),
            (KeyError::NoBackend, "enable the feature aws_lc_rs or rust_crypto"),
        ] {
            assert!(error.to_string().contains(mend), "{error}");
        }
    }
}
