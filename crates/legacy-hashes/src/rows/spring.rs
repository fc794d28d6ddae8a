//! Spring Security: the encoder's id in braces, then what that encoder writes.

use std::fmt;

use tower_oauth2_password::InvalidConfig;

use super::{Row, bcrypt, hash, hexadecimal};
use crate::Bytes;
use crate::hash::{Hash, Input, Prf};

const LONGEST_SALT: usize = 64;

/// The parameters of Spring's `Pbkdf2PasswordEncoder`, which rows with `{pbkdf2}` do not hold.
///
/// ```
/// use tower_oauth2_password_legacy_hashes::{Cost, OldHashes, Pbkdf2Settings, Prf};
///
/// let of_version_5_5 = Pbkdf2Settings::new(Prf::Sha1, 185_000, 8)?;
/// let old_hashes = OldHashes::new([7; 32], [(1, Cost::Pbkdf2(Prf::Sha1, 2 * 185_000))])?.with_spring_pbkdf2(of_version_5_5);
/// assert!(Pbkdf2Settings::new(Prf::Sha1, 2_000_001, 8).is_err());
/// # Ok::<(), tower_oauth2_password::InvalidConfig>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Pbkdf2Settings {
    prf: Prf,
    rounds: u32,
    salt_length: usize,
    secret: Bytes,
}

impl Pbkdf2Settings {
    /// The PRF, the number of rounds, and the bytes of salt at the beginning of a row.
    ///
    /// # Errors
    /// If the rounds are 0 or over the cap, or the salt has not 1 to 64 bytes.
    pub fn new(prf: Prf, rounds: u32, salt_length: usize) -> Result<Self, InvalidConfig> {
        let settings = Self { prf, rounds, salt_length, secret: Bytes::default() };
        let probe = "00".repeat(salt_length.min(LONGEST_SALT + 1) + 16);
        match settings.read(&probe) {
            Err(reason) => Err(InvalidConfig::new(format!("Spring's PBKDF2 cannot have {settings:?}: {reason}"))),
            Ok(_) => Ok(settings),
        }
    }

    /// Sets the encoder's secret, which is empty by default.
    pub fn with_secret(self, secret: impl AsRef<[u8]>) -> Self {
        Self { secret: Bytes::new(secret.as_ref().to_vec()), ..self }
    }

    fn read(&self, row: &str) -> Result<Hash, &'static str> {
        let bytes = hexadecimal(row)?;
        let (salt, expected) = bytes.split_at_checked(self.salt_length).ok_or("it is cut off")?;
        if !(1..=LONGEST_SALT).contains(&salt.len()) {
            return Err("its salt has not 1 to 64 bytes");
        }
        let salt = Bytes::new([salt, &self.secret].concat());
        Hash::pbkdf2(self.prf, self.rounds, &salt, expected.to_vec())
    }
}

impl fmt::Debug for Pbkdf2Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prf, rounds, salt_length, .. } = self;
        write!(f, "Pbkdf2Settings({prf:?}, {rounds} rounds, {salt_length} bytes of salt)")
    }
}

pub(super) fn read<'a>(
    id: &str,
    rest: &'a str,
    settings: Option<&Pbkdf2Settings>,
) -> Option<Result<Row<'a>, &'static str>> {
    let pbkdf2 = |settings: &Pbkdf2Settings| hash(settings.read(rest));
    match id {
        "bcrypt" => bcrypt::read(rest, Input::Password).map(hash),
        "argon2" | "argon2@SpringSecurity_v5_8" => Some(Ok(Row::Argon2(rest))),
        "pbkdf2@SpringSecurity_v5_8" => Some(pbkdf2(&Pbkdf2Settings {
            prf: Prf::Sha256,
            rounds: 310_000,
            salt_length: 16,
            secret: Bytes::default(),
        })),
        "pbkdf2" => Some(settings.map_or(
            Err("it is Spring's {pbkdf2}, which does not hold its parameters: set OldHashes::with_spring_pbkdf2"),
            pbkdf2,
        )),
        _ => None,
    }
}
