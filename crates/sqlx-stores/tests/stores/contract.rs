//! The stores keep the contracts of their traits.

use sqlx::sqlite::SqlitePoolOptions;
use test_support::postgres::Postgres;
use tower_oauth2_password_sqlx::{PgStores, SqliteStores};
use tower_oauth2_password_testkit::{self as testkit, Job};

use crate::support::{File, pool, threads};

fn spawn(job: Job) {
    tokio::spawn(job);
}

/// All contracts at once: as handles of two processes, each with a pool of its own.
macro_rules! keeps_the_contracts {
    ($one:expr, $other:expr) => {{
        let (one, other) = ($one, $other);
        tokio::join!(
            async {
                testkit::refresh_store(one.refresh_tokens()).await;
                testkit::refresh_store_in_parallel([one.refresh_tokens(), other.refresh_tokens()], spawn).await;
            },
            async {
                testkit::attempt_store(other.attempts()).await;
                testkit::attempt_store_in_parallel([one.attempts(), other.attempts()], spawn).await;
            },
            async {
                testkit::deny_list(one.deny_list()).await;
                testkit::deny_list_shared(one.deny_list(), other.deny_list()).await;
            },
        );
    }};
}

#[test]
fn postgres_keeps_the_contracts() {
    let postgres = Postgres::start();
    threads().block_on(async {
        let open = async || PgStores::open(pool(&postgres).await).await.unwrap();
        keeps_the_contracts!(open().await, open().await);
    });
}

#[test]
fn sqlite_keeps_the_contracts() {
    let (wal, rollback) = (File::new(), File::new());
    threads().block_on(async {
        let memory = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
        let open = async |pool| SqliteStores::open(pool).await.unwrap();
        let in_wal = async { keeps_the_contracts!(open(wal.wal().await).await, open(wal.wal().await).await) };
        let in_file =
            async { keeps_the_contracts!(open(rollback.pool().await).await, open(rollback.pool().await).await) };
        let in_memory = async { keeps_the_contracts!(open(memory.clone()).await, open(memory.clone()).await) };
        tokio::join!(in_wal, in_file, in_memory);
    });
}

#[test]
fn a_slot_that_is_never_settled_is_freed() {
    let (postgres, file) = (Postgres::start(), File::new());
    threads().block_on(async {
        let postgres = PgStores::open(pool(&postgres).await).await.unwrap().attempts();
        let sqlite = SqliteStores::open(file.wal().await).await.unwrap().attempts();
        tokio::join!(testkit::attempt_store_lease(postgres), testkit::attempt_store_lease(sqlite));
    });
}
