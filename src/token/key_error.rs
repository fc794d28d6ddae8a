//! Why a key is refused.

/// A key that cannot be used. The message says how to fix it.
///
/// ```
/// use tower_oauth2_password::{Key, KeyError};
///
/// let error = Key::hs256("too short").unwrap_err();
/// assert_eq!(error, KeyError::TooShort { bytes: 9 });
/// assert!(error.to_string().contains("use a random HMAC secret of 32 bytes or more"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// An HMAC secret of less than 32 bytes (RFC 7518, section 3.2), or an RSA modulus of less than 256 (section 3.3).
    #[error(
        "the key has {bytes} bytes: use a random HMAC secret of 32 bytes or more, or an RSA modulus of 256 bytes or more"
    )]
    TooShort {
        /// The length found.
        bytes: usize,
    },
    /// The text holds no key of the expected kind.
    #[error(
        "the text holds no key of this kind in PEM: convert a private key to PKCS#8 with \
         `openssl pkcs8 -topk8 -nocrypt`, extract a public key with `openssl pkey -pubout`"
    )]
    Unreadable,
    /// The private key is encrypted.
    #[error("the private key is encrypted: decrypt it with `openssl pkey`")]
    Encrypted,
    /// A public key, where signing needs the private one.
    #[error("this is a public key: signing needs the private key")]
    NotPrivate,
    /// A private key, where the public one is enough. It does not belong on a server that only validates tokens.
    #[error("this is a private key: pass the public one, extracted with `openssl pkey -pubout`")]
    NotPublic,
    /// A JWK that [`VerificationKey::from_jwk`](crate::VerificationKey::from_jwk) does not take.
    #[error("the JWK is no public key for signatures by EdDSA, ES256 or RS256: see `VerificationKey::from_jwk`")]
    UnusableJwk,
    /// Not a JWK Set (RFC 7517, section 5), or one that is too large.
    #[error("this is no JWK Set: expected a JSON object with an array `keys`, of at most 64 KiB and 100 keys")]
    UnreadableJwkSet,
    /// A JWK Set without a usable key.
    #[error("the JWK Set has no usable key: it needs one of Ed25519, P-256 or RSA with a `kid` that no other key has")]
    NoUsableKey,
    /// Neither the feature `aws_lc_rs` nor `rust_crypto` is enabled.
    #[error("no crypto backend: enable the feature `aws_lc_rs` or `rust_crypto` of tower-oauth2-password")]
    NoBackend,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_says_how_to_fix_it() {
        for (error, fix) in [
            (KeyError::TooShort { bytes: 9 }, "9 bytes: use a random HMAC secret of 32"),
            (KeyError::Unreadable, "openssl pkcs8 -topk8 -nocrypt"),
            (KeyError::Encrypted, "decrypt it with `openssl pkey`"),
            (KeyError::NotPrivate, "needs the private key"),
            (KeyError::NotPublic, "pass the public one"),
            (KeyError::UnusableJwk, "see `VerificationKey::from_jwk`"),
            (KeyError::UnreadableJwkSet, "expected a JSON object"),
            (KeyError::NoUsableKey, "needs one of Ed25519, P-256 or RSA"),
            (KeyError::NoBackend, "enable the feature `aws_lc_rs` or `rust_crypto`"),
        ] {
            assert!(error.to_string().contains(fix), "{error}");
        }
    }
}
