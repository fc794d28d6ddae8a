//! Secrets in memory: redacted in `Debug`, overwritten on drop, without `PartialEq`.

use std::fmt;

use hmac::{Hmac, KeyInit};
use sha2::{Digest, Sha256};
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// A password, client secret or token on its way through the program.
///
/// `Debug` prints `[redacted]`, the memory is overwritten on drop, and there is no `PartialEq`: comparing secrets with
/// `==` takes a time that depends on where they differ.
///
/// ```
/// use tower_oauth2_password::Secret;
///
/// let password = Secret::new("wonderland123".to_owned());
/// assert_eq!(format!("{password:?}"), "[redacted]");
/// assert_eq!(password.expose(), "wonderland123");
/// ```
// The JSON parser does not overwrite its own copy of a text that has escapes.
#[derive(Clone, Default, serde::Deserialize)]
#[serde(from = "String")]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of the text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself. Do not log, print or store what this returns.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Implements `Debug` for a type with secrets or closures in it: it prints the named fields, and no others.
macro_rules! debug_only {
    ($type:ident { $($field:ident),* }) => {
        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($type))$(.field(stringify!($field), &self.$field))*.finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use debug_only;

impl ZeroizeOnDrop for Secret {}

impl<T: Into<String>> From<T> for Secret {
    fn from(text: T) -> Self {
        Self::new(text.into())
    }
}

/// The SHA-256 of a random secret, in which form it is stored.
pub(crate) fn sha256(secret: &[u8]) -> [u8; 32] {
    // Not `digest`: a hasher that is moved leaves a copy of what it was given.
    let mut hasher = Sha256::new();
    hasher.update(secret);
    let mut sum = [0; 32];
    hasher.finalize_into_reset((&mut sum).into());
    sum
}

/// Random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// A short digest of texts of any length, which share no bytes with those of another kind. For keys of tables.
pub(crate) fn digest(kind: &str, texts: &[&str]) -> [u8; 16] {
    let mut hasher = Sha256::new();
    for text in [kind].iter().chain(texts) {
        // With its length, so that no two lists of texts are the same bytes.
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text);
    }
    let mut short = [0; 16];
    short.iter_mut().zip(hasher.finalize()).for_each(|(to, from)| *to = from);
    short
}

/// HMAC-SHA-256 under a key of any length.
pub(crate) fn hmac(key: &[u8]) -> Hmac<Sha256> {
    // Filled up to a block by hand, and a longer key hashed first (RFC 2104, section 2): this way nothing can fail, where
    // `new_from_slice` returns an error that never occurs.
    let mut block = Zeroizing::new([0; 64]);
    let hashed = Zeroizing::new(sha256(key));
    let key = if key.len() > block.len() { hashed.as_slice() } else { key };
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    Hmac::new((&*block).into())
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
#[path = "secret_tests.rs"]
mod every_type;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_from_json_and_never_printed() {
        let secret: Secret = serde_json::from_str("\"wonderland123\"").unwrap();
        assert_eq!(secret.expose(), "wonderland123");
        assert_eq!(format!("{secret:?} {:?}", Some(Secret::from("x"))), "[redacted] Some([redacted])");
        assert!(serde_json::from_str::<Secret>("7").is_err());
    }

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        use ::hmac::Mac;
        let sum = |key: &[u8], text: &str| {
            let sum: [u8; 32] = hmac(key).chain_update(text).finalize().into_bytes().into();
            sum.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        // Test cases 2 and 6: a short key, and one of 131 bytes.
        let short = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(sum(b"Jefe", "what do ya want for nothing?"), short);
        let long = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54";
        assert_eq!(sum(&[0xaa; 131], "Test Using Larger Than Block-Size Key - Hash Key First"), long);
        for length in [0, 63, 64, 65] {
            let key = vec![7; length];
            let library = Hmac::<Sha256>::new_from_slice(&key).unwrap().chain_update("x").finalize().into_bytes();
            assert_eq!(hmac(&key).chain_update("x").finalize().into_bytes(), library, "{length}");
        }
    }

    #[test]
    fn a_secret_without_text_is_empty() {
        assert!(Secret::default().is_empty() && Secret::from(String::new()).is_empty());
        assert!(!Secret::from(" ").is_empty());
    }
}
