//! What it costs to check a name that nobody has.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tower_oauth2_password::{HashCheck, InvalidConfig};

use crate::hash::{Hash, Input, Prf};

const SHORTEST_KEY: usize = 16;
/// The key has other uses.
const PURPOSE: &[u8] = b"tower-oauth2-password-legacy-hashes: cost of a name\0";

/// What a hash costs, for [`OldHashes::new`](crate::OldHashes::new).
///
/// Count your rows by scheme and cost, and give those numbers as weights. Count again from time to time while users log in and
/// their rows become Argon2. Strangers must only ever move to [`Current`](Self::Current), as users do, so keep the first sum of each
/// scheme, and put what has moved right behind it: 812 rows of bcrypt 12 and 40 of bcrypt 10, of which 112 and 5 have moved, are
/// `[(700, Bcrypt(12)), (112, Current), (35, Bcrypt(10)), (5, Current), (148, Current)]`.
///
/// ```
/// use tower_oauth2_password_legacy_hashes::{Cost, OldHashes};
///
/// assert!(OldHashes::new([7; 32], [(812, Cost::Bcrypt(12)), (40, Cost::Bcrypt(10)), (148, Cost::Current)]).is_ok());
/// assert!(OldHashes::new([7; 32], [(1, Cost::Bcrypt(15))]).unwrap_err().to_string().contains("bcrypt 14"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cost {
    /// That of a new Argon2 hash.
    Current,
    /// bcrypt with this cost, for instance 12.
    Bcrypt(u32),
    /// PBKDF2 with this number of rounds. Where the output is longer than that of the PRF, multiply them by its blocks.
    Pbkdf2(Prf, u32),
    /// scrypt: the logarithm of N, and r and p.
    Scrypt {
        /// N is 2 to this power.
        log_n: u8,
        /// The block size.
        r: u32,
        /// The parallelism.
        p: u32,
    },
    /// Argon2id that does not have the parameters of new hashes.
    Argon2 {
        /// Memory in KiB.
        m: u32,
        /// Passes.
        t: u32,
        /// Lanes.
        p: u32,
    },
}

impl Cost {
    /// A hash with this cost that no password has, or none for the current cost.
    pub(crate) fn check(self) -> Result<Option<HashCheck>, &'static str> {
        let hash = match self {
            Self::Current => return Ok(None),
            Self::Argon2 { m, t, p } => {
                let (salt, hash) = ("A".repeat(22), "A".repeat(43));
                return HashCheck::argon2(&format!("$argon2id$v=19$m={m},t={t},p={p}${salt}${hash}")).map(Some);
            }
            Self::Bcrypt(cost) => Hash::bcrypt(cost, [0; 16], [0; 23], Input::Password),
            Self::Pbkdf2(prf, rounds) => Hash::pbkdf2(prf, rounds, &[0; 16], vec![0; prf.size()]),
            Self::Scrypt { log_n, r, p } => Hash::scrypt(log_n, r, p, &[0; 16], vec![0; 64]),
        };
        hash.map(|hash| Some(hash.into_check()))
    }
}

#[derive(Clone)]
pub(crate) struct Strangers {
    keyed: Hmac<Sha256>,
    costs: Vec<(u32, Cost)>,
}

impl Strangers {
    pub(crate) fn new(key: &[u8], costs: impl IntoIterator<Item = (u32, Cost)>) -> Result<Self, InvalidConfig> {
        let costs: Vec<_> = costs.into_iter().filter(|(weight, _)| *weight > 0).collect();
        if costs.is_empty() {
            return Err(InvalidConfig::new("no cost of a stranger has a weight: count the rows of your table by cost"));
        }
        for (_, cost) in &costs {
            let invalid = |reason| InvalidConfig::new(format!("a stranger cannot cost {cost:?}: {reason}"));
            cost.check().map_err(invalid)?;
        }
        if key.len() < SHORTEST_KEY {
            return Err(InvalidConfig::new(format!("the key of strangers' costs needs {SHORTEST_KEY} random bytes")));
        }
        let keyed = Hmac::new_from_slice(key).map_err(|error| InvalidConfig::new(error.to_string()))?;
        Ok(Self { keyed, costs })
    }

    /// The same each time for a name.
    pub(crate) fn cost_of(&self, name: &str) -> Cost {
        let sum = self.keyed.clone().chain_update(PURPOSE).chain_update(name).finalize().into_bytes();
        let random = sum.iter().take(8).fold(0, |number, byte| number << 8 | u128::from(*byte));
        let total: u128 = self.costs.iter().map(|(weight, _)| u128::from(*weight)).sum();
        // A point on the line of all weights, which stays where it is when they grow or shrink together.
        let mut point = (random * total) >> 64;
        for (weight, cost) in &self.costs {
            match point.checked_sub(u128::from(*weight)) {
                Some(rest) => point = rest,
                None => return *cost,
            }
        }
        Cost::Current
    }
}

impl fmt::Debug for Strangers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.costs.fmt(f)
    }
}
