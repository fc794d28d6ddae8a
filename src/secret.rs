//! Types for what must not be seen: redacted in `Debug`, zeroized, and without `PartialEq`.

use std::fmt;

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
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of a secret text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself. Do not log, print or store what this returns.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl ZeroizeOnDrop for Secret {}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text.to_owned())
    }
}

/// The SHA-256 of a random secret, as it is kept.
pub(crate) fn sha256(secret: &[u8]) -> [u8; 32] {
    // Where it lies: a hasher that is moved, as by `digest`, leaves a copy of what it was given.
    let mut hasher = Sha256::new();
    hasher.update(secret);
    let mut sum = [0; 32];
    hasher.finalize_into_reset((&mut sum).into());
    sum
}

/// Of a text in JSON that has escapes, the reader keeps a copy that is not overwritten.
impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
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
    fn a_secret_is_read_from_json_and_printed_nowhere() {
        let secret: Secret = serde_json::from_str("\"wonderland123\"").unwrap();
        assert_eq!(secret.expose(), "wonderland123");
        assert_eq!(format!("{secret:?} {:?}", Some(Secret::from("x"))), "[redacted] Some([redacted])");
        assert!(serde_json::from_str::<Secret>("7").is_err());
    }

    #[test]
    fn empty_is_what_has_no_text() {
        assert!(Secret::default().is_empty() && Secret::from(String::new()).is_empty());
        assert!(!Secret::from(" ").is_empty());
    }
}
