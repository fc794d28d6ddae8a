//! Reads rows, each format in a file of its own.

mod aspnet;
mod bcrypt;
mod django;
mod passlib;
mod refused;
mod spring;
mod werkzeug;

use std::str::FromStr;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

pub use self::spring::Pbkdf2Settings;
use crate::hash::{Hash, Prf};

/// Longer than any row of a framework.
const LONGEST_ROW: usize = 1_024;

/// What a row holds.
pub(crate) enum Row<'a> {
    /// An Argon2 hash as new rows have it.
    Current,
    /// The PHC string of an Argon2 hash, in a row of another form.
    Argon2(&'a str),
    Hash(Hash),
}

/// Or why it cannot be checked.
pub(crate) fn read<'a>(row: &'a str, spring: Option<&Pbkdf2Settings>) -> Result<Row<'a>, &'static str> {
    if row.len() > LONGEST_ROW {
        return Err("it is too long");
    }
    if row.starts_with("$argon2") {
        return Ok(Row::Current);
    }
    let known = if let Some((id, rest)) = row.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        spring::read(id, rest, spring)
    } else if let Some(rest) = row.strip_prefix("$wp") {
        bcrypt::read(rest, crate::hash::Input::WordPress).map(hash)
    } else if row.starts_with("$2") {
        bcrypt::read(row, crate::hash::Input::Password).map(hash)
    } else if let Some(rest) = row.strip_prefix('$') {
        passlib::read(rest).map(hash)
    } else {
        let others = || werkzeug::read(row).or_else(|| aspnet::read(row)).map(hash);
        django::read(row).or_else(others)
    };
    known.unwrap_or_else(|| Err(refused::reason(row)))
}

fn hash(read: Result<Hash, &'static str>) -> Result<Row<'static>, &'static str> {
    read.map(Row::Hash)
}

/// The parts of a text, if there are exactly so many.
fn parts<const N: usize>(text: &str, separator: char) -> Result<[&str; N], &'static str> {
    let parts: Vec<&str> = text.split(separator).collect();
    parts.try_into().map_err(|_| "it is cut off, or has too many parts")
}

fn number<T: FromStr>(text: &str) -> Result<T, &'static str> {
    let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or("a number in it is malformed or too large")
}

/// The logarithm of scrypt's N, which is a power of two.
fn log_n(n: &str) -> Result<u8, &'static str> {
    let n: u32 = number(n)?;
    if n.is_power_of_two() { Ok(n.trailing_zeros() as u8) } else { Err("its N is not a power of two") }
}

/// With or without padding.
fn base64(text: &str) -> Result<Vec<u8>, &'static str> {
    const CONFIG: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&STANDARD, CONFIG).decode(text).map_err(|_| "its base64 is malformed or cut off")
}

fn hexadecimal(text: &str) -> Result<Vec<u8>, &'static str> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
    let digits =
        digits.filter(|digits| digits.len() % 2 == 0).ok_or("its hexadecimal digits are malformed or cut off")?;
    Ok(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

/// The PRF, by the end of its name.
fn prf(name: &str) -> Option<Prf> {
    match name {
        "sha1" => Some(Prf::Sha1),
        "sha256" => Some(Prf::Sha256),
        "sha512" => Some(Prf::Sha512),
        _ => None,
    }
}

/// PBKDF2 with an output as long as that of its PRF.
fn pbkdf2(prf: Prf, rounds: &str, salt: &[u8], expected: Vec<u8>) -> Result<Hash, &'static str> {
    Hash::pbkdf2(prf, number(rounds)?, salt, expected)?.of_length(prf.size())
}
