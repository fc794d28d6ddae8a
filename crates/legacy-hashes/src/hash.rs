//! The hashes: bcrypt, PBKDF2 and scrypt, with their caps.

use hmac::{Hmac, KeyInit, Mac};
use pbkdf2::pbkdf2_hmac;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;
use tower_oauth2_password::HashCheck;
use zeroize::Zeroizing;

use crate::Bytes;

const MOST_BCRYPT_COST: u32 = 14;
const MOST_ROUNDS: u64 = 2_000_000;
const MOST_SCRYPT_BYTES: u64 = 128 << 20;
const SHORTEST_OUTPUT: usize = 16;
const LONGEST_OUTPUT: usize = 64;

const OVER: &str = "its cost is 0 or over the caps: bcrypt 14, PBKDF2 2000000 rounds, scrypt 128 MiB";
const CUT_OFF: &str = "it is cut off: the salt or the hash is missing or has another length";

/// The hash function in the HMAC of PBKDF2.
///
/// ```
/// use tower_oauth2_password_legacy_hashes::{Cost, Prf};
///
/// assert_eq!(Cost::Pbkdf2(Prf::Sha256, 600_000), Cost::Pbkdf2(Prf::Sha256, 600_000));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prf {
    /// HMAC-SHA-1.
    Sha1,
    /// HMAC-SHA-256.
    Sha256,
    /// HMAC-SHA-512.
    Sha512,
}

impl Prf {
    /// The bytes of one block of output.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// What bcrypt gets of a password.
#[derive(Clone, Copy)]
pub(crate) enum Input {
    Password,
    /// Django's `bcrypt_sha256`: SHA-256 in hexadecimal digits.
    HexSha256,
    /// WordPress: HMAC-SHA-384 in base64, without white space around the password.
    WordPress,
}

impl Input {
    fn of(self, password: &str) -> Bytes {
        Zeroizing::new(match self {
            Self::Password => password.as_bytes().to_vec(),
            Self::HexSha256 => {
                // Not `digest`: a hasher that is moved leaves a copy of what it was given.
                let (mut hasher, mut sum) = (Sha256::new(), Zeroizing::new([0; 32]));
                hasher.update(password);
                hasher.finalize_into_reset((&mut *sum).into());
                let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble };
                // Of the right size from the start: growing would leave a copy behind.
                let mut digits = Vec::with_capacity(2 * sum.len());
                sum.iter().for_each(|byte| digits.extend([digit(byte >> 4), digit(byte & 15)]));
                digits
            }
            Self::WordPress => {
                let trimmed = password.trim_matches([' ', '\n', '\r', '\t', '\x0b']);
                let Ok(mut hmac) = Hmac::<Sha384>::new_from_slice(b"wp-sha384") else { return Bytes::default() };
                hmac.update(trimmed.as_bytes());
                let sum = Zeroizing::new(<[u8; 48]>::from(hmac.finalize().into_bytes()));
                base64::Engine::encode(&base64::engine::general_purpose::STANDARD, sum.as_slice()).into_bytes()
            }
        })
    }
}

enum Function {
    Bcrypt { cost: u32, salt: [u8; 16], input: Input },
    Pbkdf2 { prf: Prf, rounds: u32, salt: Vec<u8> },
    Scrypt { params: scrypt::Params, salt: Vec<u8> },
}

/// A stored hash that can be checked, at a cost within the caps.
pub(crate) struct Hash {
    function: Function,
    expected: Vec<u8>,
}

impl Hash {
    pub(crate) fn bcrypt(cost: u32, salt: [u8; 16], expected: [u8; 23], input: Input) -> Result<Self, &'static str> {
        if !(4..=MOST_BCRYPT_COST).contains(&cost) {
            return Err(OVER);
        }
        Ok(Self { function: Function::Bcrypt { cost, salt, input }, expected: expected.to_vec() })
    }

    pub(crate) fn pbkdf2(prf: Prf, rounds: u32, salt: &[u8], expected: Vec<u8>) -> Result<Self, &'static str> {
        let blocks = expected.len().div_ceil(prf.size()) as u64;
        if !(1..=MOST_ROUNDS).contains(&(u64::from(rounds) * blocks.max(1))) {
            return Err(OVER);
        }
        Self::new(Function::Pbkdf2 { prf, rounds, salt: salt.to_vec() }, salt, expected)
    }

    /// N is 2 to the power of `log_n`.
    pub(crate) fn scrypt(log_n: u8, r: u32, p: u32, salt: &[u8], expected: Vec<u8>) -> Result<Self, &'static str> {
        let bytes = 1_u64.checked_shl(log_n.into()).and_then(|n| n.checked_mul(u64::from(r) * u64::from(p)));
        // Both the memory and the time are below this.
        if !bytes.is_some_and(|bytes| (1..=MOST_SCRYPT_BYTES / 128).contains(&bytes)) || log_n == 0 {
            return Err(OVER);
        }
        let params = scrypt::Params::new(log_n, r, p).map_err(|_| OVER)?;
        Self::new(Function::Scrypt { params, salt: salt.to_vec() }, salt, expected)
    }

    fn new(function: Function, salt: &[u8], expected: Vec<u8>) -> Result<Self, &'static str> {
        if salt.is_empty() || !(SHORTEST_OUTPUT..=LONGEST_OUTPUT).contains(&expected.len()) {
            return Err(CUT_OFF);
        }
        Ok(Self { function, expected })
    }

    /// Refuses one that has not the usual length, since part of a hash is easier to guess.
    pub(crate) fn of_length(self, length: usize) -> Result<Self, &'static str> {
        if self.expected.len() == length { Ok(self) } else { Err(CUT_OFF) }
    }

    pub(crate) fn into_check(self) -> HashCheck {
        HashCheck::new(self.work(), move |password| self.is_of(password))
    }

    /// About how many KiB vectorised Argon2 fills in that time, as measured on a Zen 4.
    fn work(&self) -> u64 {
        match &self.function {
            Function::Bcrypt { cost, .. } => (1 << cost) * 250,
            Function::Pbkdf2 { prf, rounds, .. } => {
                let blocks = self.expected.len().div_ceil(prf.size()) as u64;
                u64::from(*rounds) * blocks * if *prf == Prf::Sha512 { 5 } else { 1 } / 2
            }
            Function::Scrypt { params, .. } => {
                ((u64::from(params.r()) * u64::from(params.p())) << params.log_n()) / 8 * 10
            }
        }
    }

    fn is_of(&self, password: &str) -> bool {
        let mut computed = Zeroizing::new(vec![0; self.expected.len()]);
        let is_read_whole = self.compute(password, &mut computed);
        let is_equal = bool::from(computed.ct_eq(&self.expected));
        is_equal && is_read_whole && !password.contains('\0')
    }

    /// Whether all of the password was read.
    fn compute(&self, password: &str, output: &mut [u8]) -> bool {
        let bytes = password.as_bytes();
        match &self.function {
            Function::Bcrypt { cost, salt, input } => {
                let input = input.of(password);
                let mut key = Zeroizing::new([0; 72]);
                key.iter_mut().zip(&*input).for_each(|(to, from)| *to = *from);
                // With the NUL at the end, if there is room for it.
                let used = key.get(..=input.len()).unwrap_or(&*key);
                let sum = Zeroizing::new(bcrypt::bcrypt(*cost, *salt, used));
                output.iter_mut().zip(&*sum).for_each(|(to, from)| *to = *from);
                input.len() <= key.len()
            }
            Function::Pbkdf2 { prf, rounds, salt } => {
                match prf {
                    Prf::Sha1 => pbkdf2_hmac::<Sha1>(bytes, salt, *rounds, output),
                    Prf::Sha256 => pbkdf2_hmac::<Sha256>(bytes, salt, *rounds, output),
                    Prf::Sha512 => pbkdf2_hmac::<Sha512>(bytes, salt, *rounds, output),
                }
                true
            }
            Function::Scrypt { params, salt } => scrypt::scrypt(bytes, salt, params, output).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bcrypt(password: &[u8]) -> Hash {
        let mut sum = [0; 23];
        sum.iter_mut().zip(bcrypt::bcrypt(4, [7; 16], password)).for_each(|(to, from)| *to = from);
        Hash::bcrypt(4, [7; 16], sum, Input::Password).unwrap()
    }

    #[test]
    fn a_password_with_nul_is_wrong_by_each_function() {
        let password = "wonder\0land";
        assert!(!bcrypt(b"wonder\0land\0").is_of(password));
        let mut sum = vec![0; 32];
        pbkdf2_hmac::<Sha256>(password.as_bytes(), b"salt", 1, &mut sum);
        assert!(!Hash::pbkdf2(Prf::Sha256, 1, b"salt", sum).unwrap().is_of(password));
        assert!(bcrypt(b"wonder\0").is_of("wonder"));
        assert!(!bcrypt(b"wonder\0").is_of(password));
    }

    #[test]
    fn an_empty_password_takes_a_hash_like_any_other() {
        assert!(bcrypt(b"\0").is_of(""));
        assert!(!bcrypt(b"\0").is_of("\0"));
    }

    #[test]
    fn a_hash_that_costs_more_counts_as_more_work() {
        let pbkdf2 = |prf, rounds, length| Hash::pbkdf2(prf, rounds, b"salt", vec![0; length]).unwrap().work();
        let scrypt = |log_n, r, p| Hash::scrypt(log_n, r, p, b"salt", vec![0; 32]).unwrap().work();
        let bcrypt = |cost| Hash::bcrypt(cost, [0; 16], [0; 23], Input::Password).unwrap().work();
        assert_eq!(bcrypt(12), 4 * bcrypt(10));
        assert_eq!(pbkdf2(Prf::Sha1, 100_000, 32), 2 * pbkdf2(Prf::Sha1, 100_000, 20), "two blocks");
        assert_eq!(pbkdf2(Prf::Sha512, 100_000, 64), 5 * pbkdf2(Prf::Sha256, 100_000, 32));
        assert_eq!((scrypt(15, 8, 1), scrypt(15, 16, 1), scrypt(15, 8, 2)), (327_680, 655_360, 655_360));
    }
}
