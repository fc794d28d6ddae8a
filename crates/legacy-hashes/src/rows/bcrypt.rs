//! bcrypt: `$2b$12$`, 22 characters of salt and 31 of hash. Its base64 has another alphabet.

use base64::Engine;
use base64::alphabet::BCRYPT;
use base64::engine::general_purpose::NO_PAD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

use super::number;
use crate::hash::{Hash, Input};

/// Some programs left the last bits of a salt as they were.
const CONFIG: GeneralPurposeConfig = NO_PAD.with_decode_allow_trailing_bits(true);

pub(super) fn read(row: &str, input: Input) -> Option<Result<Hash, &'static str>> {
    let versions = ["$2a$", "$2b$", "$2y$"];
    let rest = versions.iter().find_map(|version| row.strip_prefix(version))?;
    Some(parse(rest, input))
}

fn parse(rest: &str, input: Input) -> Result<Hash, &'static str> {
    const CUT_OFF: &str = "it is bcrypt, but cut off or malformed";
    let (cost, text) = rest.split_once('$').ok_or(CUT_OFF)?;
    let (salt, hash) = text.split_at_checked(22).ok_or(CUT_OFF)?;
    let decode = |text| GeneralPurpose::new(&BCRYPT, CONFIG).decode(text).map_err(|_| CUT_OFF);
    let salt = decode(salt)?.try_into().map_err(|_| CUT_OFF)?;
    let hash = decode(hash)?.try_into().map_err(|_| CUT_OFF)?;
    Hash::bcrypt(number(cost)?, salt, hash, input)
}
