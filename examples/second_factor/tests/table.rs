//! The table keeps its contract in both databases, and what is removed is gone.

#[path = "../src/table.rs"]
mod table;

use test_support::postgres::Postgres;
use tower_oauth2_password::BoxError;
use tower_oauth2_password_totp::{FactorTable, RecoveryCodes, TotpSecret, testkit::factor_table};

use self::table::Factors;

#[tokio::test]
async fn sqlite_keeps_the_contract() -> Result<(), BoxError> {
    check(Factors::open("sqlite::memory:", 1).await?).await
}

#[tokio::test]
async fn postgres_keeps_the_contract() -> Result<(), BoxError> {
    let postgres = Postgres::start();
    // One connection for each call of a race.
    check(Factors::open(&postgres.url(), 16).await?).await
}

async fn check(table: Factors) -> Result<(), BoxError> {
    factor_table(&table).await?;
    let codes = RecoveryCodes::generate(2)?.hashes();
    table.enroll("alice", &TotpSecret::generate()?, 1, &codes).await?;
    table.remove("alice").await?;
    assert!(table.secret("alice").await?.is_none());
    for code in &codes {
        assert!(!table.use_recovery_code("alice", code, None).await?, "it was left behind");
    }
    Ok(())
}
