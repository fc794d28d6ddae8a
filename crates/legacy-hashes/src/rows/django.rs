//! Django: the hasher's name, then what it needs, separated by `$`. A salt is its characters.

use super::{Row, base64, bcrypt, hash, log_n, number, parts, pbkdf2, prf};
use crate::hash::{Hash, Input};

pub(super) fn read(row: &str) -> Option<Result<Row<'_>, &'static str>> {
    let (method, rest) = row.split_once('$')?;
    match method {
        "pbkdf2_sha256" | "pbkdf2_sha1" => Some(hash(read_pbkdf2(method, rest))),
        "scrypt" => Some(hash(scrypt(rest))),
        "bcrypt" => bcrypt::read(rest, Input::Password).map(hash),
        "bcrypt_sha256" => bcrypt::read(rest, Input::HexSha256).map(hash),
        // What follows is a PHC string with its `$`.
        "argon2" => row.strip_prefix(method).map(|phc| Ok(Row::Argon2(phc))),
        _ => None,
    }
}

fn read_pbkdf2(method: &str, rest: &str) -> Result<Hash, &'static str> {
    let [rounds, salt, hash] = parts(rest, '$')?;
    let prf = method.strip_prefix("pbkdf2_").and_then(prf).ok_or("its PRF is unknown")?;
    pbkdf2(prf, rounds, salt.as_bytes(), base64(hash)?)
}

fn scrypt(rest: &str) -> Result<Hash, &'static str> {
    let [n, salt, r, p, hash] = parts(rest, '$')?;
    Hash::scrypt(log_n(n)?, number(r)?, number(p)?, salt.as_bytes(), base64(hash)?)?.of_length(64)
}
