//! Passwords: the verifier that the crate ships.
//!
//! 1. [`PasswordVerifier`] looks a user up in your table ([`Users`]) and checks the password against the stored Argon2 hash.
//! 2. Every attempt computes exactly one hash, or two for a password that was not sent in NFC, whether the user exists or not,
//!    so timing reveals nothing.
//! 3. A [`HashingPool`] computes it on its own threads. Requests that would wait too long get a 503.
//! 4. After a correct password, a hash with outdated parameters is replaced.
//! 5. Hashes of other schemes ([`HashSchemes`]) run on the same pool, and become Argon2.

mod backend;
mod hash;
#[cfg(feature = "unicode")]
mod nfc;
mod params;
mod pool;
mod schemes;
#[cfg(all(test, shuttle))]
mod shuttle_tests;
mod users;
mod verifier;

pub use self::params::Argon2Params;
pub use self::pool::{HashingPool, PoolStats};
pub use self::schemes::{HashCheck, HashSchemes};
pub use self::users::{MemoryUsers, StoredUser, Users};
pub use self::verifier::PasswordVerifier;
