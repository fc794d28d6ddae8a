//! Passwords: users, Argon2id, and the threads that hash.

pub(crate) mod argon;
mod backend;
mod oneshot;
pub(crate) mod pool;
#[cfg(all(test, shuttle))]
mod shuttle_tests;
pub(crate) mod users;
pub(crate) mod verifier;
