//! The stores in a file of SQLite: deadlines, faults, and what else is in the database.

use std::time::Duration;

use sqlx::{Connection, Executor, SqliteConnection, SqlitePool, migrate::Migrator, sqlite::SqlitePoolOptions};
use test_support::client::within;
use tower_oauth2_password::store::{
    AttemptKey, AttemptLimit, AttemptOutcome, AttemptStore, Denial, Denied, DenyList, Family, Previous, RefreshStore,
    Reservation, Rotation, Slot, SubjectRef,
};
use tower_oauth2_password_sqlx::{SqliteDenyList, SqliteStores};

use crate::support::{File, HOUR, SOON, brief, denial, denies, fails, family, hash, id, old, soon, threads};

const LIMIT: AttemptLimit = AttemptLimit { failures: 1, window: HOUR };
const SLOT: Slot = Slot { key: AttemptKey([9; 16]), id: 1, limit: LIMIT };

async fn count(pool: &SqlitePool, sql: &str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

async fn follows(list: &SqliteDenyList) {
    within(SOON, "the copy", async || list.is_in_sync()).await;
}

/// Every call that adds something fails within a second, as `faulty` finds the database. In `sound`, each works once.
async fn nothing_is_accepted_twice(faulty: &SqliteStores, sound: &SqliteStores, repair: impl AsyncFnOnce()) {
    let (families, attempts, list) = (faulty.refresh_tokens(), faulty.attempts(), faulty.deny_list());
    let mut large = family(1);
    large.session.label = Some("x".repeat(100_000));
    fails("insert", families.insert(id(2), large, 9, brief())).await;
    fails("rotate", families.rotate(id(1), Previous::new(hash(1), vec![7; 100_000]), hash(2), brief())).await;
    repair().await;
    let (families, attempts_now, list_now) = (sound.refresh_tokens(), sound.attempts(), sound.deny_list());
    assert!(families.find(id(2), soon()).await.unwrap().is_none());
    assert_eq!(families.rotate(id(1), old(1), hash(2), soon()).await.unwrap(), Rotation::Rotated);
    assert_eq!(families.rotate(id(1), old(1), hash(3), soon()).await.unwrap(), Rotation::Mismatch);
    assert_eq!(attempts_now.reserve(SLOT, soon()).await.unwrap(), Reservation::Reserved);
    assert_eq!(attempts_now.reserve(Slot { id: 2, ..SLOT }, soon()).await.unwrap(), Reservation::Busy);
    assert!(list_now.deny(denial("a"), soon()).await.unwrap() && denies(&list_now, "a"));
    drop((attempts, list));
}

#[tokio::test]
async fn a_locked_file_is_an_error_within_a_second() {
    for wal in [true, false] {
        let file = File::new();
        let pool = if wal { file.wal().await } else { file.pool().await };
        let stores = SqliteStores::open(pool.clone()).await.unwrap();
        let (families, attempts, list) = (stores.refresh_tokens(), stores.attempts(), stores.deny_list());
        assert!(families.insert(id(1), family(1), 9, soon()).await.unwrap());
        follows(&list).await;
        let mut holder = pool.acquire().await.unwrap();
        holder.execute("BEGIN EXCLUSIVE").await.unwrap();
        fails("revoke", families.revoke(id(1), brief())).await;
        fails("revoke_subject", families.revoke_subject(SubjectRef::new("", "alice"), None)).await;
        fails("reserve", attempts.reserve(SLOT, brief())).await;
        fails("settle", attempts.settle(SLOT, AttemptOutcome::Failed, brief())).await;
        fails("deny", list.deny(denial("a"), brief())).await;
        assert!(!denies(&list, "a"));
        if wal {
            assert!(families.find(id(1), soon()).await.unwrap().is_some() && list.is_in_sync(), "readers go on");
        } else {
            fails("find", families.find(id(1), brief())).await;
            assert!(!list.is_in_sync());
        }
        nothing_is_accepted_twice(&stores, &stores, async || {
            holder.execute("ROLLBACK").await.unwrap();
        })
        .await;
        follows(&list).await;
    }
}

#[tokio::test]
async fn a_commit_that_waits_for_a_reader_until_its_deadline_changes_nothing() {
    let file = File::new();
    let pool = file.pool().await;
    let families = SqliteStores::open(pool.clone()).await.unwrap().refresh_tokens();
    assert!(families.insert(id(1), family(1), 9, soon()).await.unwrap());
    let mut reader = pool.acquire().await.unwrap();
    reader.execute("BEGIN").await.unwrap();
    reader.execute("SELECT count(*) FROM oauth2_families").await.unwrap();
    fails("rotate", families.rotate(id(1), old(1), hash(2), brief())).await;
    reader.execute("ROLLBACK").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(families.find(id(1), soon()).await.unwrap().unwrap().current == hash(1));
    // One that is short is waited for.
    reader.execute("BEGIN").await.unwrap();
    reader.execute("SELECT count(*) FROM oauth2_families").await.unwrap();
    let short = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        reader.execute("ROLLBACK").await.unwrap();
    };
    let (rotated, ()) = tokio::join!(families.rotate(id(1), old(1), hash(2), soon()), short);
    assert_eq!(rotated.unwrap(), Rotation::Rotated);
}

#[tokio::test]
async fn a_full_file_is_an_error_within_a_second() {
    let file = File::new();
    let sound = SqliteStores::open(file.wal().await).await.unwrap();
    assert!(sound.refresh_tokens().insert(id(1), family(1), 9, soon()).await.unwrap());
    // SQLite keeps the limit at the size that there is.
    let full = SqlitePoolOptions::new().connect_with(file.options().pragma("max_page_count", "1")).await.unwrap();
    let full = SqliteStores::open(full).await.unwrap();
    nothing_is_accepted_twice(&full, &sound, async || ()).await;
    let error = fails("open", SqliteStores::open_with_prefix(file_full(&file).await, "new_")).await;
    assert!(error.contains("full"), "{error}");
}

async fn file_full(file: &File) -> SqlitePool {
    SqlitePoolOptions::new().connect_with(file.options().pragma("max_page_count", "1")).await.unwrap()
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_an_error_within_a_second() {
    let file = File::new();
    let sound = SqliteStores::open(file.wal().await).await.unwrap();
    assert!(sound.refresh_tokens().insert(id(1), family(1), 9, soon()).await.unwrap());
    let read_only = SqlitePoolOptions::new().connect_with(file.options().read_only(true)).await.unwrap();
    let error = fails("open", SqliteStores::open_with_prefix(read_only.clone(), "new_")).await;
    assert!(error.contains("readonly"), "{error}");
    let read_only = SqliteStores::open(read_only).await.unwrap();
    assert!(read_only.refresh_tokens().find(id(1), soon()).await.unwrap().is_some());
    fails("reserve", read_only.attempts().reserve(SLOT, brief())).await;
    fails("deny", read_only.deny_list().deny(denial("a"), brief())).await;
    nothing_is_accepted_twice(&read_only, &sound, async || ()).await;
}

#[tokio::test]
async fn what_cannot_work_is_an_error_at_start() {
    let file = File::new();
    std::fs::write(file.path(), [b'x'; 8_192]).unwrap();
    let options = file.options();
    let pool = SqlitePoolOptions::new().connect_lazy_with(options);
    assert!(fails("open", SqliteStores::open(pool)).await.contains("not a database"));

    let file = File::new();
    let pool = file.pool().await;
    assert!(SqliteStores::open_with_prefix(pool.clone(), "").await.is_err());
    drop(SqliteStores::open(pool.clone()).await.unwrap());
    pool.execute("UPDATE oauth2_schema SET version = 2").await.unwrap();
    let error = fails("open", SqliteStores::open(pool)).await;
    assert!(error.contains("`oauth2_*` have version 2, and this package uses version 1"), "{error}");
}

#[tokio::test]
async fn an_app_with_migrations_of_its_own_shares_the_file() {
    let file = File::new();
    let migrator =
        Migrator::new(test_support::root().join("crates/sqlx-stores/tests/stores/migrations")).await.unwrap();
    let pool = file.pool().await;
    let shop = SqliteStores::open_with_prefix(pool.clone(), "shop_").await.unwrap();
    migrator.run(&pool).await.unwrap();
    let stores = SqliteStores::open(pool.clone()).await.unwrap();
    migrator.run(&pool).await.unwrap();
    assert_eq!(count(&pool, "SELECT count(*) FROM _sqlx_migrations").await, 2);
    assert_eq!(count(&pool, "SELECT count(*) FROM notes WHERE pinned = 1").await, 0);
    assert!(stores.refresh_tokens().insert(id(1), family(1), 9, soon()).await.unwrap());
    assert!(shop.refresh_tokens().find(id(1), soon()).await.unwrap().is_none(), "prefixes share rows");
}

#[tokio::test]
async fn sessions_outlive_the_process_and_a_copy_finds_what_was_denied_before() {
    let file = File::new();
    let begun = SqliteStores::open(file.wal().await).await.unwrap();
    assert!(begun.refresh_tokens().insert(id(1), family(1), 9, soon()).await.unwrap());
    assert!(begun.deny_list().deny(denial("a"), soon()).await.unwrap());
    let later = SqliteStores::open(file.wal().await).await.unwrap();
    assert_eq!(later.refresh_tokens().rotate(id(1), old(1), hash(2), soon()).await.unwrap(), Rotation::Rotated);
    let list = later.deny_list();
    follows(&list).await;
    assert!(denies(&list, "a"));
    assert!(begun.deny_list().deny(denial("b"), soon()).await.unwrap());
    within(Duration::from_secs(1), "the token", async || denies(&list, "b")).await;
}

#[tokio::test]
async fn a_row_that_is_swept_gives_its_number_to_no_other() {
    let file = File::new();
    let stores = SqliteStores::open(file.wal().await).await.unwrap();
    let (one, other) = (stores.deny_list(), stores.deny_list());
    assert!(one.deny(denial("swept"), soon()).await.unwrap());
    within(SOON, "the token", async || denies(&other, "swept")).await;
    let mut connection = SqliteConnection::connect_with(&file.options()).await.unwrap();
    connection.execute("DELETE FROM oauth2_denied").await.unwrap();
    assert!(one.deny(denial("next"), soon()).await.unwrap());
    within(Duration::from_secs(1), "the token", async || denies(&other, "next")).await;
}

#[tokio::test]
async fn a_long_list_is_read_in_pages() {
    let file = File::new();
    let pool = file.wal().await;
    let stores = SqliteStores::open(pool.clone()).await.unwrap();
    let many = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 12000)
        INSERT INTO oauth2_denied (key, subject, expires)
        SELECT unhex(printf('%032x', n)), x'', 1000000 * (unixepoch() + 3600) FROM n";
    pool.execute(many).await.unwrap();
    let list = stores.deny_list();
    follows(&list).await;
    assert_eq!(format!("{list:?}").matches("len: 12000").count(), 1, "{list:?}");
}

#[tokio::test]
async fn expired_rows_are_removed() {
    let file = File::new();
    let pool = file.wal().await;
    let stores = SqliteStores::open(pool.clone()).await.unwrap();
    let old = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 200)
        INSERT INTO oauth2_ended SELECT unhex(printf('%032x', n)), 1, 1 FROM n";
    pool.execute(old).await.unwrap();
    let (families, attempts, list) = (stores.refresh_tokens(), stores.attempts(), stores.deny_list());
    for number in 0..60_u8 {
        let brief = Duration::from_micros(1);
        let own = Family::new(hash(1), format!("user {number}"), brief, brief);
        families.insert(id(number), own, 9, soon()).await.unwrap();
        let limit = AttemptLimit { failures: 9, window: brief };
        let slot = Slot { key: AttemptKey([number; 16]), id: 1, limit };
        attempts.reserve(slot, soon()).await.unwrap();
        attempts.settle(slot, AttemptOutcome::Failed, soon()).await.unwrap();
        let token = number.to_string();
        list.deny(Denial::new(Denied::Token(&token), None, &token, brief), soon()).await.unwrap();
    }
    for table in ["families", "ended", "attempts", "denied"] {
        let left = count(&pool, &format!("SELECT count(*) FROM oauth2_{table}")).await;
        assert!(left <= 2, "{left} rows of {table}");
    }
}

#[test]
fn a_list_follows_again_in_the_next_runtime() {
    let file = File::new();
    let runtime = threads();
    let (stores, list) = runtime.block_on(async {
        let stores = SqliteStores::open(file.wal().await).await.unwrap();
        let list = stores.deny_list();
        follows(&list).await;
        (stores, list)
    });
    drop(runtime);
    assert!(!list.is_in_sync(), "nothing follows without a runtime");
    threads().block_on(async {
        follows(&list).await;
        assert!(stores.deny_list().deny(denial("a"), soon()).await.unwrap());
        within(Duration::from_secs(1), "the token", async || denies(&list, "a")).await;
    });
}
