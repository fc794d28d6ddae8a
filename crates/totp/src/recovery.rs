//! Codes for the day that the phone is lost.

use std::{fmt, iter};

use sha2::{Digest, Sha256};
use tower_oauth2_password::{BoxError, Secret};
use zeroize::Zeroizing;

/// Base32 (RFC 4648, section 6): without 0, 1, 8 and 9, which look like letters. 5 bits each.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// How many characters a code has: 120 bits. From 112 on a plain hash is enough (SP 800-63B, section on look-up secrets).
const LENGTH: usize = 24;

/// How many characters stand together.
const GROUP: usize = 4;

/// New recovery codes: show them once, and store only their hashes.
///
/// A code has 120 random bits: 24 characters in groups of four. Users may type it without hyphens, and in lower case.
///
/// ```
/// use tower_oauth2_password_totp::RecoveryCodes;
///
/// let codes = RecoveryCodes::generate(10)?;
/// let first = codes.texts().next().unwrap(); // such as `M5DA-PXVC-2KQE-7RHU-LOWI-3TGS`
/// assert_eq!((codes.texts().count(), first.len(), first.split('-').count()), (10, 29, 6));
/// assert_eq!(codes.hashes().len(), 10);
/// assert!(!format!("{codes:?}").contains(first));
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RecoveryCodes(Vec<Secret>);

impl RecoveryCodes {
    /// This many codes.
    ///
    /// # Errors
    /// If the operating system has no random numbers.
    pub fn generate(count: usize) -> Result<Self, BoxError> {
        iter::repeat_with(code).take(count).collect::<Result<_, _>>().map(Self)
    }

    /// What the user gets to see, once.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(Secret::expose)
    }

    /// What the table keeps, in the same order.
    pub fn hashes(&self) -> Vec<RecoveryCodeHash> {
        self.texts().filter_map(RecoveryCodeHash::of).collect()
    }

    /// The one code, if it is one.
    pub(crate) fn into_first(self) -> Option<Secret> {
        self.0.into_iter().next()
    }
}

/// A random code.
fn code() -> Result<Secret, BoxError> {
    let mut bytes = Zeroizing::new([0; LENGTH]);
    getrandom::fill(bytes.as_mut_slice())?;
    // Enough room at once: growing would leave copies behind.
    let mut text = String::with_capacity(LENGTH + LENGTH / GROUP);
    for (n, byte) in bytes.iter().enumerate() {
        if n > 0 && n % GROUP == 0 {
            text.push('-');
        }
        text.extend(ALPHABET.get(usize::from(byte % 32)).copied().map(char::from));
    }
    Ok(text.into())
}

/// The SHA-256 of a recovery code, in the form in which your table keeps it: 32 bytes, `BYTEA` or `BLOB`.
///
/// It has no salt: with 120 random bits nobody finds a code by trying, not even one of all users' at once.
///
/// ```
/// use tower_oauth2_password_totp::{RecoveryCodeHash, RecoveryCodes};
///
/// let hash = RecoveryCodes::generate(1)?.hashes()[0];
/// let stored: Vec<u8> = hash.as_bytes().to_vec();
/// assert_eq!(RecoveryCodeHash::from_bytes(stored.try_into().unwrap()), hash);
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecoveryCodeHash([u8; 32]);

impl RecoveryCodeHash {
    /// What [`as_bytes`](Self::as_bytes) returned.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What your table keeps.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The hash of what a user typed, if it can be a code.
    pub(crate) fn of(typed: &str) -> Option<Self> {
        let mut letters = Zeroizing::new([0; LENGTH]);
        let mut typed = typed.bytes().filter(|byte| *byte != b'-').map(|byte| byte.to_ascii_uppercase());
        for letter in letters.iter_mut() {
            *letter = typed.next().filter(|byte| ALPHABET.contains(byte))?;
        }
        // Not `digest`: a hasher that is moved leaves a copy of what it was given.
        let (mut hasher, mut hash) = (Sha256::new(), [0; 32]);
        hasher.update(letters.as_slice());
        hasher.finalize_into_reset((&mut hash).into());
        typed.next().is_none().then_some(Self(hash))
    }
}

impl fmt::Debug for RecoveryCodeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_may_be_typed_in_many_ways_and_is_one_code() {
        let hash = RecoveryCodeHash::of("M5DA-PXVC-2KQE-7RHU-LOWI-3TGS").unwrap();
        // Of the letters alone, by sha256sum.
        let sum: String = hash.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(sum, "fb149e1e7e25e2b36228e4b449ec6b61a61342d1b03eff1cbf9059f160385a41");
        for typed in ["M5DAPXVC2KQE7RHULOWI3TGS", "m5da-pxvc-2kqe-7rhu-lowi-3tgs", "-m5dapxVC2KQE7RHULOWI3TGS--"] {
            assert_eq!(RecoveryCodeHash::of(typed), Some(hash), "{typed}");
        }
    }

    #[test]
    fn what_cannot_be_a_code_has_no_hash() {
        let code = "M5DAPXVC2KQE7RHULOWI3TGS";
        for typed in
            ["", "-", "123456", &code[1..], &format!("{code}A"), &code.replace('M', "1"), &code.replace('M', "é")]
        {
            assert_eq!(RecoveryCodeHash::of(typed), None, "{typed}");
        }
        assert_eq!(RecoveryCodeHash::of(&code.replace('M', " ")), None);
    }

    #[test]
    fn codes_differ_and_use_the_whole_alphabet() {
        let codes = RecoveryCodes::generate(200).unwrap();
        let mut hashes = codes.hashes();
        assert_eq!(hashes.len(), 200, "each is one that a user can type");
        hashes.sort_unstable_by_key(|hash| hash.0);
        hashes.dedup();
        assert_eq!(hashes.len(), 200);
        // Each of the 24 places misses one of 32 characters in 200 codes with a chance of 5 %, all of them never.
        let seen: std::collections::HashSet<_> = codes.texts().flat_map(str::chars).collect();
        assert_eq!(seen.len(), 33);
    }
}
