//! ASP.NET Core Identity, version 3: base64 of a 1, the PRF, the rounds and the length of the salt in four bytes each, the salt,
//! and the hash.

use super::base64;
use crate::hash::{Hash, Prf};

pub(super) fn read(row: &str) -> Option<Result<Hash, &'static str>> {
    // The first byte, and the beginning of the PRF.
    row.starts_with("AQAAAA").then(|| base64(row).and_then(|bytes| parse(bytes.get(1..).unwrap_or_default())))
}

fn parse(bytes: &[u8]) -> Result<Hash, &'static str> {
    let (prf, bytes) = word(bytes)?;
    let (rounds, bytes) = word(bytes)?;
    let (length, bytes) = word(bytes)?;
    let prf = match prf {
        0 => Prf::Sha1,
        1 => Prf::Sha256,
        2 => Prf::Sha512,
        _ => return Err("its PRF is unknown"),
    };
    let length = usize::try_from(length).map_err(|_| CUT_OFF)?;
    let (salt, hash) = bytes.split_at_checked(length).ok_or(CUT_OFF)?;
    Hash::pbkdf2(prf, rounds, salt, hash.to_vec())
}

const CUT_OFF: &str = "it is ASP.NET Identity version 3, but cut off";

fn word(bytes: &[u8]) -> Result<(u32, &[u8]), &'static str> {
    let (word, rest) = bytes.split_first_chunk().ok_or(CUT_OFF)?;
    Ok((u32::from_be_bytes(*word), rest))
}
