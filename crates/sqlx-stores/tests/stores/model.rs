//! Refresh tokens in the databases through the public API, compared with a model step by step.

use std::time::Duration;

use proptest::test_runner::{Config, TestCaseError, TestRunner};
use sqlx::{Executor, Pool};
use test_support::{
    postgres::Postgres,
    refresh_model::{Step, Times},
    refresh_server::{self, step},
};
use tower_oauth2_password::{RefreshTokens, store::RefreshStore};
use tower_oauth2_password_sqlx::{PgStores, SqliteStores};

use crate::support::{File, pool, threads};

/// A millisecond of the model is a second here, so that the time that the steps take changes nothing.
const UNIT: Duration = Duration::from_secs(1);
const TIMES: Times = Times { absolute: 10_000, idle: 3_000, grace: None };

fn tokens(store: impl RefreshStore, times: Times) -> RefreshTokens {
    let units = |millis: u64| UNIT * u32::try_from(millis).unwrap();
    let tokens = RefreshTokens::new(store).with_absolute_ttl(units(times.absolute)).with_idle_ttl(units(times.idle));
    // The end of the grace period belongs to it.
    if let Some(grace) = times.grace { tokens.with_grace(units(grace) + UNIT / 2) } else { tokens }
}

/// Moves all that the tables hold into the past.
async fn advance<DB: sqlx::Database>(pool: &Pool<DB>, millis: u64)
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    let micros = i64::try_from(millis).unwrap() * 1_000_000;
    let mut connection = pool.acquire().await.unwrap();
    for (table, columns) in
        [("families", &["created", "used", "ends", "expires"][..]), ("ended", &["ended", "expires"])]
    {
        let columns: Vec<_> = columns.iter().map(|column| format!("{column} = {column} - {micros}")).collect();
        let shift = format!("UPDATE oauth2_{table} SET {}", columns.join(", "));
        connection.execute(shift.as_str()).await.unwrap();
    }
}

fn matches(check: impl Fn(Times, &[Step]) -> Result<(), TestCaseError>) {
    let config = Config { cases: 16, failure_persistence: None, ..Config::default() };
    for times in [TIMES, Times { grace: Some(500), ..TIMES }, Times { idle: 30_000, grace: Some(3_000), ..TIMES }] {
        let run = TestRunner::new(config.clone())
            .run(&proptest::collection::vec(step(), 1..40), |steps| check(times, &steps));
        run.unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn every_answer_from_postgres_matches_the_model() {
    let (postgres, runtime) = (Postgres::start(), threads());
    let pool = runtime.block_on(pool(&postgres));
    let stores = runtime.block_on(PgStores::open(pool.clone())).unwrap();
    matches(|times, steps| {
        runtime.block_on(async {
            pool.execute("TRUNCATE oauth2_families, oauth2_ended").await.unwrap();
            let advance = async |millis| advance(&pool, millis).await;
            refresh_server::run(times, tokens(stores.refresh_tokens(), times), steps, advance).await
        })
    });
}

#[test]
fn every_answer_from_sqlite_matches_the_model() {
    let (file, runtime) = (File::new(), threads());
    let pool = runtime.block_on(file.wal());
    let stores = runtime.block_on(SqliteStores::open(pool.clone())).unwrap();
    matches(|times, steps| {
        runtime.block_on(async {
            pool.execute("DELETE FROM oauth2_families; DELETE FROM oauth2_ended").await.unwrap();
            let advance = async |millis| advance(&pool, millis).await;
            refresh_server::run(times, tokens(stores.refresh_tokens(), times), steps, advance).await
        })
    });
}
