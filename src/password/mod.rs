//! Passwords: users, Argon2id, and the threads that hash.

mod argon;
mod backend;
mod oneshot;
mod pool;
#[cfg(all(test, shuttle))]
mod shuttle_tests;
mod users;
mod verifier;

pub use self::{
    argon::Argon2Params,
    pool::{HashingPool, PoolStats},
    users::{MemoryUsers, User, Users, UsersError},
    verifier::PasswordVerifier,
};
