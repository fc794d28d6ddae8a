//! Rows that are not read, and why.

use super::base64;

const MD5_CRYPT: &str = "it is MD5-crypt, which is not read: MD5 is too weak. Reset the password";
const PHPASS: &str = "it is MD5 by phpass, which is not read: MD5 is too weak. Reset the password";
const MD5: &str = "it is MD5, which is not read: it is too weak. Reset the password";
const SHA1: &str = "it is SHA-1, which is not read: it is too weak. Reset the password";
const SHA2: &str = "it is SHA-2 without PBKDF2, which is not read: it is too weak. Reset the password";
const ASPNET_2: &str =
    "it is ASP.NET Identity version 2, which is not read: 1,000 rounds are too weak. Reset the password";
const CLEAR: &str = "it is a password in clear text, which is not read. Reset the password";

/// In lower case.
const BEGINNINGS: &[(&str, &str)] = &[
    ("$1$", MD5_CRYPT),
    ("$apr1$", MD5_CRYPT),
    ("$md5", MD5_CRYPT),
    ("{crypt}$1$", MD5_CRYPT),
    ("$p$", PHPASS),
    ("$h$", PHPASS),
    ("{md5}", MD5),
    ("{smd5}", MD5),
    ("md5$", MD5),
    ("unsalted_md5$", MD5),
    ("$sha1$", SHA1),
    ("{sha}", SHA1),
    ("{ssha}", SHA1),
    ("{sha-1}", SHA1),
    ("sha1$", SHA1),
    ("unsalted_sha1$", SHA1),
    ("{ldap}", SHA1),
    ("{sha256}", SHA2),
    ("{sha-256}", SHA2),
    ("sha256$", SHA2),
    ("sha512$", SHA2),
    ("{noop}", CLEAR),
    ("plain$", CLEAR),
    ("$5$", "it is SHA-crypt, which is not read. Reset the password"),
    ("$6$", "it is SHA-crypt, which is not read. Reset the password"),
    ("$2x$", "it is bcrypt with a known error ($2x$), which is not read. Reset the password"),
    ("!", "it begins with !, which marks a user without a password"),
];

pub(super) fn reason(row: &str) -> &'static str {
    let lower = row.to_ascii_lowercase();
    let beginning = BEGINNINGS.iter().find(|(beginning, _)| lower.starts_with(beginning));
    let is_hexadecimal = !row.is_empty() && row.bytes().all(|byte| byte.is_ascii_hexdigit());
    match (beginning, row.len()) {
        (Some((_, reason)), _) => reason,
        (None, 0) => "it is empty",
        (None, 32) if is_hexadecimal => MD5,
        (None, 40) if is_hexadecimal => SHA1,
        (None, 68) if base64(row).is_ok_and(|bytes| bytes.len() == 49 && bytes.first() == Some(&0)) => ASPNET_2,
        _ => "its scheme is unknown",
    }
}
