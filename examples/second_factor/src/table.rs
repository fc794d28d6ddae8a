//! The second factors in a table. The same statements run on SQLite and Postgres.

use sqlx::{AnyPool, any::AnyPoolOptions};
use tower_oauth2_password::BoxError;
use tower_oauth2_password_totp::{FactorTable, RecoveryCodeHash, TotpSecret};

const SCHEMA: &str = "
CREATE TABLE factors (subject TEXT PRIMARY KEY, secret TEXT NOT NULL, last_step BIGINT NOT NULL);
CREATE TABLE recovery_codes (
    subject TEXT REFERENCES factors ON DELETE CASCADE, hash BYTEA NOT NULL, PRIMARY KEY (subject, hash));";

#[derive(Clone)]
pub(crate) struct Factors(AnyPool);

impl Factors {
    pub(crate) async fn open(url: &str, connections: u32) -> Result<Self, BoxError> {
        sqlx::any::install_default_drivers();
        // SQLite in memory has one connection, and ends with it.
        let pool = AnyPoolOptions::new().max_connections(connections).idle_timeout(None).max_lifetime(None);
        let pool = pool.connect(url).await?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        Ok(Self(pool))
    }

    pub(crate) async fn remove(&self, subject: &str) -> Result<(), BoxError> {
        Ok(sqlx::query("DELETE FROM factors WHERE subject = $1").bind(subject).execute(&self.0).await.map(drop)?)
    }
}

impl FactorTable for Factors {
    async fn secret(&self, subject: &str) -> Result<Option<TotpSecret>, BoxError> {
        let sql = "SELECT secret FROM factors WHERE subject = $1";
        let secret: Option<String> = sqlx::query_scalar(sql).bind(subject).fetch_optional(&self.0).await?;
        Ok(secret.map(|text| TotpSecret::from_base32(&text)).transpose()?)
    }

    async fn enroll(
        &self,
        subject: &str,
        secret: &TotpSecret,
        step: u64,
        codes: &[RecoveryCodeHash],
    ) -> Result<(), BoxError> {
        let (secret, step) = (secret.to_base32(), i64::try_from(step)?);
        let mut transaction = self.0.begin().await?;
        // With it go its recovery codes.
        sqlx::query("DELETE FROM factors WHERE subject = $1").bind(subject).execute(&mut *transaction).await?;
        let row = sqlx::query("INSERT INTO factors VALUES ($1, $2, $3)").bind(subject).bind(secret.expose()).bind(step);
        row.execute(&mut *transaction).await?;
        for code in codes {
            let row = sqlx::query("INSERT INTO recovery_codes VALUES ($1, $2)").bind(subject).bind(code.as_bytes());
            row.execute(&mut *transaction).await?;
        }
        Ok(transaction.commit().await?)
    }

    async fn use_step(&self, subject: &str, step: u64) -> Result<bool, BoxError> {
        let sql = "UPDATE factors SET last_step = $2 WHERE subject = $1 AND last_step < $2";
        let update = sqlx::query(sql).bind(subject).bind(i64::try_from(step)?);
        Ok(update.execute(&self.0).await?.rows_affected() == 1)
    }

    async fn use_recovery_code(
        &self,
        subject: &str,
        used: &RecoveryCodeHash,
        successor: Option<&RecoveryCodeHash>,
    ) -> Result<bool, BoxError> {
        let sql = match successor {
            Some(_) => "UPDATE recovery_codes SET hash = $3 WHERE subject = $1 AND hash = $2",
            None => "DELETE FROM recovery_codes WHERE subject = $1 AND hash = $2",
        };
        let change = sqlx::query(sql).bind(subject).bind(used.as_bytes());
        let change = successor.into_iter().fold(change, |change, new| change.bind(new.as_bytes()));
        Ok(change.execute(&self.0).await?.rows_affected() == 1)
    }
}
