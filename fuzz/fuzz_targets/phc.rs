//! A PHC string from a foreign table: read or refused, and checked as the argon2 crate checks it.
#![no_main]

use std::sync::LazyLock;

use argon2::{Argon2, PasswordHash, PasswordVerifier as _};
use futures_executor::block_on;
use libfuzzer_sys::fuzz_target;
use tower_oauth2_password::{
    Argon2Params, HashingPool, Login, MemoryUsers, PasswordVerifier, Users, Verdict, Verifier,
};

static POOL: LazyLock<HashingPool> =
    LazyLock::new(|| HashingPool::new().with_params(Argon2Params::new(64, 1, 1).expect("small")));

/// A parameter of a PHC string. If it appears twice, the argon2 crate uses the last one.
fn parameter<'a>(phc: &'a str, name: &str) -> Option<&'a str> {
    phc.split(['$', ',']).filter_map(|part| part.strip_prefix(name)?.strip_prefix('=')).next_back()
}

fn cost(phc: &str, name: &str) -> Option<u32> {
    parameter(phc, name)?.parse().ok()
}

/// True if it is not an Argon2 hash, costs too much, or depends on a key or data that it does not contain.
fn is_refused(phc: &str) -> bool {
    let Ok(hash) = PasswordHash::new(phc) else { return true };
    let is_argon2 = ["argon2i", "argon2d", "argon2id"].contains(&hash.algorithm.as_str());
    let is_whole = hash.salt.is_some_and(|salt| salt.as_ref().len() >= 8) && hash.hash.is_some();
    let has_more = ["keyid", "data"].map(|name| parameter(phc, name).unwrap_or_default()) != ["", ""];
    !is_argon2
        || !hash.version.is_none_or(|version| [16, 19].contains(&version))
        || !is_whole
        || has_more
        || argon2::Params::try_from(&hash).is_err()
        || cost(phc, "m").is_some_and(|m| m > 262_144)
        || cost(phc, "t").is_some_and(|t| t > 10)
        || cost(phc, "p").is_some_and(|p| p > 16)
}

const REASONS: &[&str] = &[
    "it is not a PHC string, or its base64 is padded or cut off",
    "its scheme is not Argon2",
    "its version is unknown",
    "its parameters are not those of Argon2",
    "it is cut off: the salt or the hash is missing",
    "it has a key id or associated data",
    "its cost is over the caps: m=262144, t=10, p=16",
    "its salt is too short",
];

fuzz_target!(|phc: &str| {
    let users = match MemoryUsers::from_phc([("alice", phc, "")]) {
        Ok(users) => users,
        Err(error) => {
            // The error must not reveal the hash: the message is one of these.
            let error = error.to_string();
            let reason = error.strip_prefix("the password hash of \"alice\" cannot be read: ").expect("a reason");
            assert!(REASONS.contains(&reason), "{error}");
            assert!(is_refused(phc), "{phc}");
            return;
        }
    };
    let mut reference = PasswordHash::new(phc).expect("what is read here is a PHC string for others, too");
    // Without a version it has version 1.0, as the reference implementation writes it; the crate assumes the newest.
    reference.version = reference.version.or(Some(16));
    assert!(!is_refused(phc), "{phc}");
    if cost(phc, "m").is_none_or(|m| m > 64) || cost(phc, "t").is_none_or(|t| t > 1) {
        return;
    }
    let verifier = PasswordVerifier::new(users.clone()).with_pool(POOL.clone());
    let log_in = |password: &str| {
        let verdict = block_on(verifier.verify(Login::new("alice", password))).expect("nothing is away");
        matches!(verdict, Verdict::Granted(_))
    };
    assert!(!log_in("wonderland124") && !log_in(""), "{phc}");
    let right = log_in("wonderland123");
    assert_eq!(right, Argon2::default().verify_password(b"wonderland123", &reference).is_ok(), "{phc}");
    let kept = block_on(users.find("alice")).expect("a table").expect("alice");
    let kept = kept.password_hash().expect("a hash");
    if right {
        // Kept, or replaced with today's parameters.
        assert!(kept == phc || kept.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{kept}");
        assert!(log_in("wonderland123") && !log_in("wonderland124"), "{kept}");
    } else {
        assert_eq!(kept, phc);
    }
});
