//! Rows of other frameworks: who has one logs in, and has an Argon2 hash then.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod programs;
mod strangers;
mod unreadable;
mod vectors;

use tower_oauth2_password::{
    Argon2Params, HashingPool, Identity, Login, MemoryUsers, PasswordVerifier, StoredUser, Users, Verdict, Verifier,
};
use tower_oauth2_password_legacy_hashes::{Cost, OldHashes, Pbkdf2Settings, Prf};

const KEY: [u8; 32] = [7; 32];

fn old_hashes() -> OldHashes {
    OldHashes::new(KEY, [(1, Cost::Bcrypt(4)), (1, Cost::Current)]).unwrap()
}

/// A table with one user, `name`.
struct Table {
    users: MemoryUsers,
    pool: HashingPool,
    verifier: PasswordVerifier<MemoryUsers>,
    name: String,
}

impl Table {
    fn new(name: &str, row: &str) -> Self {
        Self::read_by(old_hashes(), name, row)
    }

    fn read_by(old_hashes: OldHashes, name: &str, row: &str) -> Self {
        let (users, pool) = (MemoryUsers::default(), small_pool());
        users.insert(name, StoredUser::new(Identity::new(name)).with_password_hash(row));
        let verifier = PasswordVerifier::new(users.clone()).with_pool(pool.clone()).with_old_hashes(old_hashes);
        Self { users, pool, verifier, name: name.to_owned() }
    }

    async fn row(&self) -> String {
        self.users.find(&self.name).await.unwrap().unwrap().password_hash().unwrap().to_owned()
    }

    /// Whether a password is right, and how many hashes that took.
    async fn attempt(&self, password: &str) -> (bool, u64) {
        let before = self.pool.stats().hashed;
        let verdict = self.verifier.verify(Login::new(&self.name, password)).await.unwrap();
        (matches!(verdict, Verdict::Granted(_)), self.pool.stats().hashed - before)
    }
}

fn small_pool() -> HashingPool {
    HashingPool::new().with_threads(1).with_params(Argon2Params::new(64, 1, 1).unwrap())
}

/// The password logs in, the row becomes Argon2id, and it logs in again. No other password ever does.
async fn moves_in(old_hashes: OldHashes, case: &str, password: &str, row: &str) {
    let table = Table::read_by(old_hashes, "alice", row);
    let wrong = [format!("{password}x"), format!("x{password}"), password.to_uppercase()];
    for wrong in &wrong {
        assert_eq!(table.attempt(wrong).await, (false, 1), "{case}: {wrong}");
    }
    assert_eq!(table.row().await, row, "{case}: a wrong password changes nothing");
    assert_eq!(table.attempt(password).await, (true, 2), "{case}: {row}");
    let new = table.row().await;
    assert!(new.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{case}: {new}");
    assert_eq!(table.attempt(password).await, (true, 1), "{case}");
    assert_eq!(table.attempt(&wrong[0]).await, (false, 1), "{case}");
    assert_eq!(table.row().await, new, "{case}: it stays");
}
