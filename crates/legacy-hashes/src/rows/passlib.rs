//! passlib, and PHC strings of PBKDF2 and scrypt.

use super::{base64, number, parts, pbkdf2, prf};
use crate::hash::Hash;

pub(super) fn read(rest: &str) -> Option<Result<Hash, &'static str>> {
    let (method, rest) = rest.split_once('$')?;
    match method {
        "pbkdf2-sha256" | "pbkdf2-sha512" => Some(read_pbkdf2(method, rest)),
        "scrypt" => Some(scrypt(rest)),
        _ => None,
    }
}

/// passlib writes `29000$salt$hash`, a PHC string `i=29000,l=32$salt$hash`.
fn read_pbkdf2(method: &str, rest: &str) -> Result<Hash, &'static str> {
    let [rounds, salt, hash] = parts(rest, '$')?;
    let rounds = match rounds.split_once(',') {
        Some((rounds, length)) if length.starts_with("l=") => rounds,
        Some(_) => return Err("its parameters are unknown"),
        None => rounds,
    };
    let prf = method.strip_prefix("pbkdf2-").and_then(prf).ok_or("its PRF is unknown")?;
    pbkdf2(prf, rounds.strip_prefix("i=").unwrap_or(rounds), &ab64(salt)?, ab64(hash)?)
}

fn scrypt(rest: &str) -> Result<Hash, &'static str> {
    let [params, salt, hash] = parts(rest, '$')?;
    let [ln, r, p] = parts(params, ',')?;
    let value = |param: &str, name| number(param.strip_prefix(name).ok_or("its parameters are unknown")?);
    let log_n = u8::try_from(value(ln, "ln=")?).map_err(|_| "its N is too large")?;
    Hash::scrypt(log_n, value(r, "r=")?, value(p, "p=")?, &ab64(salt)?, ab64(hash)?)?.of_length(32)
}

/// passlib's base64 has a dot for the plus sign.
fn ab64(text: &str) -> Result<Vec<u8>, &'static str> {
    base64(&text.replace('.', "+"))
}
