//! The stores in a real Postgres: deadlines, faults, and what else is in the database.

use std::time::{Duration, Instant, SystemTime};

use futures_util::future::join_all;
use sqlx::{Executor, PgPool, migrate::Migrator, postgres::PgPoolOptions};
use test_support::{client::within, postgres::Postgres, slow::Slow};
use tokio::runtime::{Builder, Runtime};
use tower_oauth2_password::store::{
    AttemptKey, AttemptLimit, AttemptOutcome, AttemptStore, Denial, Denied, DenyList, Family, RefreshStore,
    Reservation, Rotation, Slot, SubjectRef, TokenRef,
};
use tower_oauth2_password_sqlx::{PgDenyList, PgStores};

use crate::support::{HOUR, SOON, brief, denial, denies, fails, family, hash, id, old, pool, soon, threads};

const LIMIT: AttemptLimit = AttemptLimit { failures: 1, window: HOUR };
const SLOT: Slot = Slot { key: AttemptKey([9; 16]), id: 1, limit: LIMIT };

async fn open(postgres: &Postgres) -> (PgPool, PgStores) {
    let pool = pool(postgres).await;
    (pool.clone(), PgStores::open(pool).await.unwrap())
}

async fn count(pool: &PgPool, sql: &str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

async fn waiting(pool: &PgPool) -> i64 {
    count(pool, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").await
}

async fn follows(list: &PgDenyList) {
    within(SOON, "the copy", async || list.is_in_sync()).await;
}

/// Every call that decides something fails within a second. Then `repair` ends the fault, and each works once.
async fn nothing_is_accepted_twice(stores: &PgStores, repair: impl AsyncFnOnce()) {
    let (families, attempts, list) = (stores.refresh_tokens(), stores.attempts(), stores.deny_list());
    fails("insert", families.insert(id(2), family(1), 9, brief())).await;
    fails("rotate", families.rotate(id(1), old(1), hash(2), brief())).await;
    fails("revoke", families.revoke(id(1), brief())).await;
    fails("revoke_subject", families.revoke_subject(SubjectRef::new("", "alice"), None)).await;
    fails("reserve", attempts.reserve(SLOT, brief())).await;
    fails("settle", attempts.settle(SLOT, AttemptOutcome::Failed, brief())).await;
    fails("deny", list.deny(denial("a"), brief())).await;
    assert!(!denies(&list, "a"));
    repair().await;
    within(SOON, "the end of the fault", async || families.find(id(1), soon()).await.is_ok()).await;
    assert!(families.find(id(2), soon()).await.unwrap().is_none());
    assert_eq!(families.rotate(id(1), old(1), hash(2), soon()).await.unwrap(), Rotation::Rotated);
    assert_eq!(families.rotate(id(1), old(1), hash(3), soon()).await.unwrap(), Rotation::Mismatch);
    assert_eq!(attempts.reserve(SLOT, soon()).await.unwrap(), Reservation::Reserved);
    assert_eq!(attempts.reserve(Slot { id: 2, ..SLOT }, soon()).await.unwrap(), Reservation::Busy);
    attempts.settle(SLOT, AttemptOutcome::Succeeded, soon()).await.unwrap();
    assert!(list.deny(denial("a"), soon()).await.unwrap() && denies(&list, "a"));
    follows(&list).await;
}

#[tokio::test]
async fn faults_of_postgres_are_errors_within_a_second() {
    let mut postgres = Postgres::start();
    let (pool, stores) = open(&postgres).await;
    let families = stores.refresh_tokens();
    let again = async || {
        families.revoke(id(1), soon()).await.unwrap();
        assert!(families.insert(id(1), family(1), 9, soon()).await.unwrap());
        pool.execute("TRUNCATE oauth2_denied").await.unwrap();
    };

    // Locked.
    again().await;
    let mut blocker = pool.begin().await.unwrap();
    blocker.execute("LOCK TABLE oauth2_families, oauth2_ended, oauth2_attempts, oauth2_denied").await.unwrap();
    fails("find", families.find(id(1), brief())).await;
    fails("list", families.list(SubjectRef::new("", "alice"), brief())).await;
    nothing_is_accepted_twice(&stores, async || {
        // No call that was given up waits on.
        within(SOON, "the end of all waiting", async || waiting(&pool).await == 0).await;
        blocker.rollback().await.unwrap();
    })
    .await;

    // Full.
    again().await;
    let raise = "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'No space left on device' USING ERRCODE = 'disk_full'; END $$";
    pool.execute(raise).await.unwrap();
    for table in ["families", "ended", "attempts", "denied"] {
        let trigger = format!(
            "CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE OR DELETE ON oauth2_{table} EXECUTE FUNCTION full_disk()"
        );
        pool.execute(trigger.as_str()).await.unwrap();
    }
    assert!(fails("rotate", families.rotate(id(1), old(1), hash(2), soon())).await.contains("No space left"));
    assert!(families.find(id(1), soon()).await.unwrap().is_some(), "what reads goes on");
    nothing_is_accepted_twice(&stores, async || {
        pool.execute("DROP FUNCTION full_disk CASCADE").await.unwrap();
    })
    .await;

    // Read-only, for the connections that come.
    again().await;
    pool.execute("ALTER DATABASE postgres SET default_transaction_read_only = on").await.unwrap();
    let (other, read_only) = open(&postgres).await;
    assert!(read_only.refresh_tokens().find(id(1), soon()).await.unwrap().is_some());
    let error = fails("open", PgStores::open_with_prefix(other.clone(), "new_")).await;
    assert!(error.contains("read-only"), "{error}");
    nothing_is_accepted_twice(&read_only, async || {
        let repair =
            "SET default_transaction_read_only = off; ALTER DATABASE postgres RESET default_transaction_read_only";
        sqlx::raw_sql(repair).execute(&pool).await.unwrap();
        // The connections of this pool keep the setting.
        count(&pool, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
            .await;
    })
    .await;

    // Stopped.
    within(SOON, "the pool", async || families.find(id(1), soon()).await.is_ok()).await;
    again().await;
    let list = stores.deny_list();
    assert!(list.deny(denial("kept"), soon()).await.unwrap());
    follows(&list).await;
    postgres.stop();
    within(SOON, "the end of the copy", async || !list.is_in_sync()).await;
    assert!(denies(&list, "kept"), "an outage forgets nothing");
    nothing_is_accepted_twice(&stores, async || postgres.restart()).await;
    follows(&list).await;
}

/// A pool of one connection through a proxy, without the ping that would be a request of its own.
async fn proxied(postgres: &Postgres) -> (Slow, PgStores) {
    let slow = Slow::in_front_of(postgres.port()).await;
    let url = format!("postgres://postgres@{}/postgres", slow.address);
    let pool = PgPoolOptions::new().max_connections(1).test_before_acquire(false).connect(&url).await.unwrap();
    (slow, PgStores::open(pool).await.unwrap())
}

#[tokio::test]
async fn a_connection_that_hangs_gives_its_place_to_another() {
    let postgres = Postgres::start();
    let (slow, stores) = proxied(&postgres).await;
    let families = stores.refresh_tokens();
    assert!(families.find(id(1), soon()).await.unwrap().is_none());
    tokio::time::sleep(Duration::from_millis(50)).await;
    slow.hold_one(0, Duration::from_secs(60));
    fails("find", families.find(id(1), brief())).await;
    within(SOON, "another connection", async || families.find(id(1), soon()).await.is_ok()).await;
}

#[tokio::test]
async fn a_call_that_postgres_starts_late_changes_nothing() {
    let postgres = Postgres::start();
    let (slow, stores) = proxied(&postgres).await;
    let families = stores.refresh_tokens();
    let (_, direct) = open(&postgres).await;
    assert!(families.insert(id(1), family(1), 9, soon()).await.unwrap());
    assert_eq!(families.rotate(id(1), old(9), hash(8), soon()).await.unwrap(), Rotation::Mismatch);
    tokio::time::sleep(Duration::from_millis(50)).await;
    slow.hold_one(0, Duration::from_millis(800));
    fails("rotate", families.rotate(id(1), old(1), hash(2), brief())).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let found = direct.refresh_tokens().find(id(1), soon()).await.unwrap().unwrap();
    assert!(found.current == hash(1), "it took effect after its caller had given up");
}

#[tokio::test]
async fn a_call_that_waited_for_a_lock_until_its_deadline_changes_nothing() {
    let postgres = Postgres::start();
    let (pool, stores) = open(&postgres).await;
    let families = stores.refresh_tokens();
    assert!(families.insert(id(1), family(1), 9, soon()).await.unwrap());
    let mut holder = pool.begin().await.unwrap();
    holder.execute("SELECT FROM oauth2_families FOR UPDATE").await.unwrap();
    fails("rotate", families.rotate(id(1), old(1), hash(2), brief())).await;
    fails("revoke", families.revoke(id(1), brief())).await;
    fails("revoke_subject", families.revoke_subject(SubjectRef::new("", "alice"), None)).await;
    holder.rollback().await.unwrap();
    within(SOON, "no call waits", async || waiting(&pool).await == 0).await;
    assert!(families.find(id(1), soon()).await.unwrap().unwrap().current == hash(1));
}

#[tokio::test]
async fn a_call_that_is_not_done_by_its_deadline_changes_nothing() {
    let postgres = Postgres::start();
    let (pool, stores) = open(&postgres).await;
    let (families, attempts, list) = (stores.refresh_tokens(), stores.attempts(), stores.deny_list());
    assert!(families.insert(id(1), family(1), 9, soon()).await.unwrap());
    let (known, other) = (Slot { key: AttemptKey([8; 16]), ..SLOT }, Slot { id: 2, ..SLOT });
    assert_eq!(attempts.reserve(known, soon()).await.unwrap(), Reservation::Reserved);
    let rows = async || -> Vec<String> {
        let all = ["families", "ended", "attempts", "denied"]
            .map(|table| format!("SELECT '{table} ' || to_jsonb(t)::text AS line FROM oauth2_{table} t"));
        sqlx::query_scalar(&format!("{} ORDER BY line", all.join(" UNION ALL "))).fetch_all(&pool).await.unwrap()
    };
    let before = rows().await;
    pool.execute(
        "CREATE FUNCTION slow_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.7); RETURN NULL; END $$",
    )
    .await
    .unwrap();
    for table in ["families", "ended", "attempts", "denied"] {
        let slow = format!(
            "CREATE TRIGGER slow_disk AFTER INSERT OR UPDATE OR DELETE ON oauth2_{table} EXECUTE FUNCTION slow_disk()"
        );
        pool.execute(slow.as_str()).await.unwrap();
    }
    // Of another subject, whose lock is another.
    fails("insert", families.insert(id(2), Family::new(hash(1), "bob", HOUR, HOUR), 9, brief())).await;
    fails("rotate", families.rotate(id(1), old(1), hash(2), brief())).await;
    fails("reserve", attempts.reserve(other, brief())).await;
    fails("settle", attempts.settle(known, AttemptOutcome::Failed, brief())).await;
    fails("settle", attempts.settle(known, AttemptOutcome::Released, brief())).await;
    fails("deny", list.deny(denial("a"), brief())).await;
    fails("revoke", families.revoke(id(1), brief())).await;
    fails("revoke_subject", families.revoke_subject(SubjectRef::new("", "alice"), None)).await;
    let busy =
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT * FROM public.oauth2_%'";
    within(SOON, "the end of the calls", async || count(&pool, busy).await == 0).await;
    assert_eq!(rows().await, before);
}

#[tokio::test]
async fn a_clock_that_was_set_costs_one_call() {
    let postgres = Postgres::start();
    let (pool, stores) = open(&postgres).await;
    let families = stores.refresh_tokens();
    for step in ["+ 3600000000", "- 3600000000"] {
        let set = format!(
            "CREATE OR REPLACE FUNCTION oauth2_clock() RETURNS bigint LANGUAGE sql AS
             $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint {step} $$"
        );
        pool.execute(set.as_str()).await.unwrap();
        assert!(fails("find", families.find(id(1), soon())).await.contains("given up"));
        assert!(families.find(id(1), soon()).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn an_app_with_migrations_of_its_own_shares_the_database() {
    let postgres = Postgres::start();
    let migrator =
        Migrator::new(test_support::root().join("crates/sqlx-stores/tests/stores/migrations")).await.unwrap();
    let pool = pool(&postgres).await;
    // Whichever comes first, and again at each start.
    let shop = PgStores::open_with_prefix(pool.clone(), "shop_").await.unwrap();
    migrator.run(&pool).await.unwrap();
    let opened = join_all((0..4).map(|_| PgStores::open(pool.clone()))).await;
    let stores = opened.into_iter().collect::<Result<Vec<_>, _>>().unwrap().pop().unwrap();
    migrator.run(&pool).await.unwrap();
    assert_eq!(count(&pool, "SELECT count(*) FROM _sqlx_migrations").await, 2);
    assert_eq!(count(&pool, "SELECT count(*) FROM notes WHERE pinned = 1").await, 0);

    assert!(stores.refresh_tokens().insert(id(1), family(1), 9, soon()).await.unwrap());
    assert!(shop.refresh_tokens().find(id(1), soon()).await.unwrap().is_none(), "prefixes share rows");
    // The functions find their tables whatever the search_path is.
    pool.execute("CREATE SCHEMA elsewhere; ALTER DATABASE postgres SET search_path = elsewhere").await.unwrap();
    let (_, elsewhere) = open(&postgres).await;
    assert!(elsewhere.refresh_tokens().find(id(1), soon()).await.unwrap().is_none());
    assert_eq!(count(&pool, "SELECT count(*) FROM pg_tables WHERE tablename = 'oauth2_families'").await, 2);
}

#[tokio::test]
async fn what_cannot_work_is_an_error_at_start() {
    let postgres = Postgres::start();
    let (pool, _) = open(&postgres).await;
    let error = fails("open", PgStores::open_with_prefix(pool.clone(), "Shop-")).await;
    assert!(error.contains("lower-case letters"), "{error}");
    pool.execute("UPDATE oauth2_schema SET version = 2").await.unwrap();
    let error = fails("open", PgStores::open(pool.clone())).await;
    assert!(error.contains("`oauth2_*` have version 2, and this package uses version 1"), "{error}");
    pool.execute("UPDATE oauth2_schema SET version = 1").await.unwrap();
    pool.execute("ALTER DATABASE postgres SET default_transaction_isolation = 'serializable'").await.unwrap();
    let strict = crate::support::pool(&postgres).await;
    let error = fails("open", PgStores::open(strict)).await;
    assert!(error.contains("READ COMMITTED"), "{error}");
}

#[tokio::test]
async fn a_transaction_that_commits_late_is_not_missed() {
    let postgres = Postgres::start();
    let (pool, one) = open(&postgres).await;
    let (_, other) = open(&postgres).await;
    let (one, other) = (one.deny_list(), other.deny_list());
    follows(&other).await;
    // The denial of a subject waits in its commit, with an older transaction than the denials that pass it.
    sqlx::raw_sql(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON oauth2_denied DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW WHEN (NEW.ended_before IS NOT NULL) EXECUTE FUNCTION wait();",
    )
    .execute(&pool)
    .await
    .unwrap();
    let mut holder = pool.begin().await.unwrap();
    holder.execute("SELECT pg_advisory_xact_lock(42)").await.unwrap();
    let whole = Denial::new(Denied::SubjectBefore(SystemTime::now()), None, "alice", HOUR);
    let late = one.deny(whole, Instant::now() + Duration::from_secs(20));
    let meanwhile = async {
        within(SOON, "the commit that waits", async || waiting(&pool).await == 1).await;
        for token in ["a", "b", "c"] {
            assert!(one.deny(denial(token), soon()).await.unwrap());
            within(Duration::from_secs(1), "the token", async || denies(&other, token)).await;
            // Longer than any statement of the stores may take by default.
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
        assert!(!other.is_denied(TokenRef::new("alice")));
        holder.rollback().await.unwrap();
    };
    let (kept, ()) = tokio::join!(late, meanwhile);
    assert!(kept.unwrap() && one.is_denied(TokenRef::new("alice")));
    within(Duration::from_secs(1), "the late one", async || other.is_denied(TokenRef::new("alice"))).await;
}

/// Its subject was ended after the login was verified, and before the pool had a connection for it.
#[tokio::test]
async fn a_login_that_waits_for_the_pool_is_ended_with_its_subject() {
    let postgres = Postgres::start();
    let (_, others) = open(&postgres).await;
    let narrow = PgPoolOptions::new().max_connections(1).connect(&postgres.url()).await.unwrap();
    let families = PgStores::open(narrow.clone()).await.unwrap().refresh_tokens();
    let held = narrow.acquire().await.unwrap();
    let insert = families.insert(id(1), family(1), 9, soon());
    let ended = async {
        others.refresh_tokens().revoke_subject(SubjectRef::new("", "alice"), None).await.unwrap();
        drop(held);
    };
    let (inserted, ()) = tokio::join!(insert, ended);
    assert!(!inserted.unwrap());
    assert!(families.insert(id(2), family(2), 9, soon()).await.unwrap());
}

const LISTENERS: &str = "FROM pg_stat_activity WHERE query LIKE 'SELECT s.oldest%'";

#[tokio::test]
async fn after_a_lost_connection_the_whole_list_is_read() {
    let postgres = Postgres::start();
    let (pool, stores) = open(&postgres).await;
    let (one, other) = (stores.deny_list(), open(&postgres).await.1.deny_list());
    for list in [&one, &other] {
        follows(list).await;
    }
    for round in ["first", "second"] {
        pool.execute(format!("SELECT pg_terminate_backend(pid) {LISTENERS}").as_str()).await.unwrap();
        assert!(one.deny(denial(round), soon()).await.unwrap());
        within(Duration::from_secs(2), "the token", async || denies(&other, round)).await;
        follows(&other).await;
    }
    drop((one, other));
    let ended = format!("SELECT count(*) {LISTENERS}");
    within(SOON, "the end of the connections", async || count(&pool, &ended).await == 0).await;
}

#[tokio::test]
async fn a_long_list_is_read_in_pages() {
    let postgres = Postgres::start();
    let (pool, stores) = open(&postgres).await;
    let many = "INSERT INTO oauth2_denied SELECT decode(lpad(to_hex(n), 32, '0'), 'hex'), '', NULL,
        oauth2_clock() + 3600000000, txid_current() FROM generate_series(1, 12000) n";
    pool.execute(many).await.unwrap();
    let list = stores.deny_list();
    follows(&list).await;
    assert_eq!(format!("{list:?}").matches("len: 12000").count(), 1, "{list:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_at_once_keep_the_share_of_a_subject() {
    let postgres = Postgres::start();
    let (_, stores) = open(&postgres).await;
    let list = stores.deny_list();
    let deadline = Instant::now() + Duration::from_secs(20);
    let calls = (0..130).map(|n| {
        let list = list.clone();
        tokio::spawn(async move {
            let token = format!("token {n}");
            list.deny(Denial::new(Denied::Token(&token), None, "mallory", HOUR), deadline).await.unwrap()
        })
    });
    let kept = join_all(calls).await.into_iter().filter(|kept| *kept.as_ref().unwrap()).count();
    assert_eq!(kept, 100);
}

#[tokio::test]
async fn expired_rows_are_removed() {
    let postgres = Postgres::start();
    let (pool, stores) = open(&postgres).await;
    let old =
        "INSERT INTO oauth2_ended SELECT decode(lpad(to_hex(n), 32, '0'), 'hex'), 1, 1 FROM generate_series(1, 200) n";
    pool.execute(old).await.unwrap();
    let (families, attempts, list) = (stores.refresh_tokens(), stores.attempts(), stores.deny_list());
    for number in 0..60_u8 {
        let brief = Duration::from_micros(1);
        families
            .insert(id(number), Family::new(hash(1), format!("user {number}"), brief, brief), 9, soon())
            .await
            .unwrap();
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
    let postgres = Postgres::start();
    for runtime in [threads, one_thread] {
        let first = runtime();
        let list = first.block_on(async {
            let list = open(&postgres).await.1.deny_list();
            follows(&list).await;
            list
        });
        drop(first);
        assert!(!list.is_in_sync(), "nothing follows without a runtime");
        runtime().block_on(async {
            follows(&list).await;
            let token = format!("{:?}", Instant::now());
            assert!(open(&postgres).await.1.deny_list().deny(denial(&token), soon()).await.unwrap());
            within(Duration::from_secs(1), "the token", async || denies(&list, &token)).await;
        });
    }
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}
