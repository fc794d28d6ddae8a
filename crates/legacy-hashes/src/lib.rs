#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod hash;
mod rows;
mod strangers;

use std::fmt;

use tower_oauth2_password::{HashCheck, HashSchemes, InvalidConfig};
use zeroize::Zeroizing;

pub use self::hash::Prf;
pub use self::rows::Pbkdf2Settings;
pub use self::strangers::Cost;
use self::{rows::Row, strangers::Strangers};

/// Reads the rows that other frameworks wrote, for
/// [`PasswordVerifier::with_old_hashes`](tower_oauth2_password::PasswordVerifier::with_old_hashes).
///
/// 1. The caps hold before any work: bcrypt with cost 14, PBKDF2 with 2,000,000 rounds (counted for each block of the output),
///    scrypt with 128 MiB (128 · N · r · p bytes), Argon2 with those of `Argon2Params`.
/// 2. bcrypt reads 72 bytes of a password and ends at NUL. Longer passwords, and any with NUL, are wrong, after the time of a hash.
/// 3. Rows that only MD5 or SHA-1 protects, and those of an unknown form, are wrong passwords; the log says which they are.
///
/// ```
/// use tower_oauth2_password::{BoxError, HashSchemes};
/// use tower_oauth2_password_legacy_hashes::{Cost, OldHashes};
///
/// let old_hashes = OldHashes::new([7; 32], [(9, Cost::Bcrypt(12)), (1, Cost::Current)])?;
/// let read = |row| old_hashes.read("alice", Some(row));
/// assert!(read("$2b$12$KIXQ4lQe0gN1bPzGkCy5o.6jFsgTgvW0cL7kJtqVqQyYt1F1l0p7e").is_some_and(|read| read.is_ok()));
/// assert!(read("$2b$15$KIXQ4lQe0gN1bPzGkCy5o.6jFsgTgvW0cL7kJtqVqQyYt1F1l0p7e").is_some_and(|read| read.is_err()));
/// assert!(read("$argon2id$v=19$m=19456,t=2,p=1$...").is_none(), "PasswordVerifier reads these itself");
/// # Ok::<(), BoxError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct OldHashes {
    strangers: Strangers,
    spring: Option<Pbkdf2Settings>,
}

impl OldHashes {
    /// `strangers` says what it costs to check a name that nobody has, or whose row cannot be read: each cost with its weight,
    /// as they are in your table. [`Cost`] tells how to choose them. The choice is an HMAC-SHA-256 of the name,
    /// so it is the same each time and everywhere if `key` is: use the secret of
    /// [`AttemptLimits::with_key`](tower_oauth2_password::AttemptLimits::with_key). Who knows it can tell strangers from users.
    ///
    /// # Errors
    /// If the key is shorter than 16 bytes, all weights are 0, or a cost is over the caps.
    pub fn new(key: impl AsRef<[u8]>, strangers: impl IntoIterator<Item = (u32, Cost)>) -> Result<Self, InvalidConfig> {
        Ok(Self { strangers: Strangers::new(key.as_ref(), strangers)?, spring: None })
    }

    /// Reads rows with `{pbkdf2}`, which do not hold their parameters. Spring Security 5.5 has
    /// `Pbkdf2Settings::new(Prf::Sha1, 185_000, 8)`.
    pub fn with_spring_pbkdf2(self, settings: Pbkdf2Settings) -> Self {
        Self { spring: Some(settings), ..self }
    }
}

impl HashSchemes for OldHashes {
    fn read(&self, username: &str, stored: Option<&str>) -> Option<Result<HashCheck, &'static str>> {
        let Some(row) = stored else { return self.strangers.cost_of(username).check().ok().flatten().map(Ok) };
        match rows::read(row, self.spring.as_ref()) {
            Ok(Row::Current) => None,
            Ok(Row::Argon2(phc)) => Some(HashCheck::argon2(phc)),
            Ok(Row::Hash(hash)) => Some(Ok(hash.into_check())),
            Err(reason) => Some(Err(reason)),
        }
    }
}

impl fmt::Debug for OldHashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OldHashes").field("strangers", &self.strangers).field("spring", &self.spring).finish()
    }
}

/// A copy of a password, or what was made of one. Overwritten on drop.
type Bytes = Zeroizing<Vec<u8>>;
