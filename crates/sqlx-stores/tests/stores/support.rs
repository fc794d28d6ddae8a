//! Databases of the tests, and what they ask of the stores.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use sqlx::{
    PgPool, SqlitePool,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};
use test_support::postgres::Postgres;
use tokio::runtime::{Builder, Runtime};
use tower_oauth2_password::store::{Denial, Denied, DenyList, Family, FamilyId, Previous, SecretHash, TokenRef};

pub const HOUR: Duration = Duration::from_secs(3_600);
pub const SOON: Duration = Duration::from_secs(5);

/// The deadline of calls that must succeed, on a busy machine, too.
pub fn soon() -> Instant {
    Instant::now() + SOON
}

/// The deadline of calls that must fail.
pub fn brief() -> Instant {
    Instant::now() + Duration::from_millis(200)
}

pub fn threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap()
}

/// The pool of an app. Each is one more process, as far as the stores can tell.
pub async fn pool(postgres: &Postgres) -> PgPool {
    PgPoolOptions::new().max_connections(10).connect(&postgres.url()).await.unwrap()
}

/// A database of SQLite in a file of its own.
pub struct File(pub PathBuf);

impl File {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("tower-oauth2-sqlx-{}-{number}.db", std::process::id())))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new().filename(&self.0).create_if_missing(true)
    }

    /// In SQLite's own journal mode.
    pub async fn pool(&self) -> SqlitePool {
        SqlitePoolOptions::new().connect_with(self.options()).await.unwrap()
    }

    pub async fn wal(&self) -> SqlitePool {
        SqlitePoolOptions::new().connect_with(self.options().journal_mode(SqliteJournalMode::Wal)).await.unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm", "-journal"] {
            let _ = std::fs::remove_file(format!("{}{end}", self.0.display()));
        }
    }
}

pub fn id(byte: u8) -> FamilyId {
    FamilyId([byte; 16])
}

pub fn hash(byte: u8) -> SecretHash {
    SecretHash([byte; 32])
}

pub fn old(byte: u8) -> Previous {
    Previous::new(hash(byte), Vec::new())
}

pub fn family(byte: u8) -> Family {
    Family::new(hash(byte), "alice", HOUR, HOUR)
}

pub fn denial(id: &str) -> Denial<'_> {
    Denial::new(Denied::Token(id), None, id, HOUR)
}

pub fn denies(list: &impl DenyList, id: &str) -> bool {
    let mut token = TokenRef::new("alice");
    token.id = Some(id);
    list.is_denied(token)
}

/// The call must fail, and within a second.
pub async fn fails<T, E: ToString>(what: &str, call: impl Future<Output = Result<T, E>>) -> String {
    let begun = Instant::now();
    let error = call.await.err().unwrap_or_else(|| panic!("{what}: it was done")).to_string();
    assert!(begun.elapsed() < Duration::from_secs(1), "{what}: {error} after {:?}", begun.elapsed());
    error
}
