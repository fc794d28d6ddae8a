//! Werkzeug: `pbkdf2:sha256:600000$salt$hash` and `scrypt:32768:8:1$salt$hash`. A salt is its characters.

use super::{hexadecimal, log_n, number, parts, pbkdf2, prf};
use crate::hash::Hash;

pub(super) fn read(row: &str) -> Option<Result<Hash, &'static str>> {
    let (method, rest) = row.split_once('$')?;
    match method.split_once(':')? {
        ("pbkdf2", params) => Some(read_pbkdf2(params, rest)),
        ("scrypt", params) => Some(scrypt(params, rest)),
        _ => None,
    }
}

fn read_pbkdf2(params: &str, rest: &str) -> Result<Hash, &'static str> {
    let ([name, rounds], [salt, hash]) = (parts(params, ':')?, parts(rest, '$')?);
    pbkdf2(prf(name).ok_or("its PRF is unknown")?, rounds, salt.as_bytes(), hexadecimal(hash)?)
}

fn scrypt(params: &str, rest: &str) -> Result<Hash, &'static str> {
    let ([n, r, p], [salt, hash]) = (parts(params, ':')?, parts(rest, '$')?);
    Hash::scrypt(log_n(n)?, number(r)?, number(p)?, salt.as_bytes(), hexadecimal(hash)?)?.of_length(64)
}
