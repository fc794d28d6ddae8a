//! Refresh token families in SQLite.

use std::sync::Arc;
use std::time::Instant;

use tower_oauth2_password::BoxError;
use tower_oauth2_password::store::{
    Family, FamilyId, Previous, RefreshStore, Rotation, SecretHash, StoreFuture, SubjectRef,
};

use super::connection::{Connection, now};
use crate::call::{END_KEPT, STORE_BUDGET, before, micros};
use crate::record::{FamilyRow, family, subject_key};

/// Refresh token families in SQLite, a row each.
/// [`SqliteStores::refresh_tokens`](super::SqliteStores::refresh_tokens) returns it.
///
/// `login ->> 'subject'` of the table `oauth2_families` says whose they are.
///
/// ```
/// use std::time::{Duration, Instant};
/// use sqlx::SqlitePool;
/// use tower_oauth2_password::store::{Family, FamilyId, Previous, RefreshStore, Rotation, SecretHash};
/// use tower_oauth2_password_sqlx::SqliteStores;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let store = SqliteStores::open(SqlitePool::connect("sqlite::memory:").await?).await?.refresh_tokens();
/// let (id, first, second) = (FamilyId([7; 16]), SecretHash([1; 32]), SecretHash([2; 32]));
/// let (day, soon) = (Duration::from_secs(86_400), Instant::now() + Duration::from_secs(5));
/// assert!(store.insert(id, Family::new(first, "alice", day, day), 100, soon).await?);
/// assert_eq!(store.rotate(id, Previous::new(first, Vec::new()), second, soon).await?, Rotation::Rotated);
/// assert_eq!(store.rotate(id, Previous::new(first, Vec::new()), second, soon).await?, Rotation::Mismatch, "used before");
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct SqliteRefreshStore(pub(super) Arc<Connection>);

impl SqliteRefreshStore {
    async fn begin(&self, id: FamilyId, family: Family, limit: usize, deadline: Instant) -> Result<bool, BoxError> {
        let (called, p) = (Instant::now(), &self.0.prefix);
        let subject = subject_key(SubjectRef::new(&family.session.server, &family.session.subject)).to_vec();
        let [absolute, idle, age] = [family.absolute_ttl, family.idle_ttl, family.age].map(micros);
        let (id, secret, limit) = (id.0.to_vec(), family.current.0.to_vec(), i64::try_from(limit.max(1))?);
        let login = serde_json::to_vec(&family.session)?;

        let mut transaction = self.0.begin(deadline).await?;
        let now = transaction.now;
        let verified = now - age - micros(called.elapsed());
        let ended = format!("SELECT count(*) FROM {p}ended WHERE subject = $1 AND expires > $2 AND ended >= $3");
        let ended = sqlx::query_scalar::<_, i64>(&ended).bind(&subject).bind(now).bind(verified);
        if ended.fetch_one(transaction.sql()).await? > 0 {
            return transaction.commit().await.map(|()| false);
        }
        let same = format!("DELETE FROM {p}families WHERE id = $1 AND expires <= $2");
        sqlx::query(&same).bind(&id).bind(now).execute(transaction.sql()).await?;
        let oldest = format!(
            "DELETE FROM {p}families WHERE subject = $1 AND (expires <= $2 OR id IN (SELECT id FROM {p}families \
             WHERE subject = $1 AND expires > $2 ORDER BY created DESC, id LIMIT -1 OFFSET $3))"
        );
        sqlx::query(&oldest).bind(&subject).bind(now).bind(limit - 1).execute(transaction.sql()).await?;
        let insert = format!(
            "INSERT INTO {p}families (id, subject, secret, login, created, used, ends, idle, expires) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
        );
        let insert = sqlx::query(&insert).bind(id).bind(subject).bind(secret).bind(login).bind(verified);
        let insert = insert.bind(now).bind(now + absolute).bind(idle).bind(now + absolute.min(idle));
        insert.execute(transaction.sql()).await?;
        transaction.sweep(&format!("{p}families")).await?;
        transaction.sweep(&format!("{p}ended")).await?;
        transaction.commit().await.map(|()| true)
    }

    async fn change(
        &self,
        id: FamilyId,
        old: Previous,
        new: SecretHash,
        deadline: Instant,
    ) -> Result<Rotation, BoxError> {
        let (id, p) = (id.0.to_vec(), &self.0.prefix);
        let mut transaction = self.0.begin(deadline).await?;
        let now = transaction.now;
        let find = format!("SELECT secret FROM {p}families WHERE id = $1 AND expires > $2");
        let find = sqlx::query_scalar::<_, Vec<u8>>(&find).bind(&id).bind(now);
        let rotation = match find.fetch_optional(transaction.sql()).await? {
            None => Rotation::Gone,
            Some(secret) if secret != old.secret.0 => Rotation::Mismatch,
            Some(_) => {
                let rotate = format!(
                    "UPDATE {p}families SET previous = secret, secret = $2, sealed = $3, used = $4, \
                     expires = min(ends, $4 + idle) WHERE id = $1"
                );
                let rotate = sqlx::query(&rotate).bind(id).bind(new.0.to_vec()).bind(old.sealed_successor).bind(now);
                rotate.execute(transaction.sql()).await?;
                Rotation::Rotated
            }
        };
        transaction.commit().await.map(|()| rotation)
    }

    async fn end(&self, id: FamilyId, deadline: Instant) -> Result<(), BoxError> {
        let mut transaction = self.0.begin(deadline).await?;
        let revoke = format!("DELETE FROM {}families WHERE id = $1", self.0.prefix);
        sqlx::query(&revoke).bind(id.0.to_vec()).execute(transaction.sql()).await?;
        transaction.commit().await
    }

    async fn end_subject(
        &self,
        subject: SubjectRef<'_>,
        except: Option<FamilyId>,
        deadline: Instant,
    ) -> Result<u64, BoxError> {
        let (subject, p) = (subject_key(subject).to_vec(), &self.0.prefix);
        let mut transaction = self.0.begin(deadline).await?;
        let now = transaction.now;
        let ended = format!("INSERT OR REPLACE INTO {p}ended (subject, ended, expires) VALUES ($1, $2, $3)");
        let ended = sqlx::query(&ended).bind(&subject).bind(now).bind(now + micros(END_KEPT));
        ended.execute(transaction.sql()).await?;
        let except = except.map(|id| id.0.to_vec());
        let of_subject = format!("FROM {p}families WHERE subject = $1 AND id IS NOT $2");
        let count = format!("SELECT count(*) {of_subject} AND expires > $3");
        let count = sqlx::query_scalar::<_, i64>(&count).bind(&subject).bind(&except).bind(now);
        let count = count.fetch_one(transaction.sql()).await?;
        sqlx::query(&format!("DELETE {of_subject}")).bind(subject).bind(except).execute(transaction.sql()).await?;
        transaction.commit().await?;
        Ok(count.try_into()?)
    }

    /// The families of which this column has this value, the newest first.
    async fn select(&self, column: &str, value: Vec<u8>, deadline: Instant) -> Result<Vec<FamilyRow>, BoxError> {
        let select = format!(
            "SELECT id, secret, previous, sealed, login, ends - $2, idle, $2 - created, $2 - used FROM {}families \
             WHERE {column} = $1 AND expires > $2 ORDER BY created DESC, id",
            self.0.prefix
        );
        self.0.read(deadline, || sqlx::query_as(&select).bind(value.clone()).bind(now())).await
    }
}

impl RefreshStore for SqliteRefreshStore {
    fn insert(&self, id: FamilyId, family: Family, limit: usize, deadline: Instant) -> StoreFuture<'_, bool> {
        Box::pin(before(deadline, self.begin(id, family, limit, deadline)))
    }

    fn find(&self, id: FamilyId, deadline: Instant) -> StoreFuture<'_, Option<Family>> {
        Box::pin(before(deadline, async move {
            let found = self.select("id", id.0.to_vec(), deadline).await?.pop();
            Ok(found.map(family).transpose()?.map(|(_, family)| family))
        }))
    }

    fn rotate(&self, id: FamilyId, old: Previous, new: SecretHash, deadline: Instant) -> StoreFuture<'_, Rotation> {
        Box::pin(before(deadline, self.change(id, old, new, deadline)))
    }

    fn revoke(&self, id: FamilyId, deadline: Instant) -> StoreFuture<'_, ()> {
        Box::pin(before(deadline, self.end(id, deadline)))
    }

    fn revoke_subject<'a>(&'a self, subject: SubjectRef<'a>, except: Option<FamilyId>) -> StoreFuture<'a, u64> {
        Box::pin(async move {
            let deadline = Instant::now() + STORE_BUDGET;
            before(deadline, self.end_subject(subject, except, deadline)).await
        })
    }

    fn list<'a>(&'a self, subject: SubjectRef<'a>, deadline: Instant) -> StoreFuture<'a, Vec<(FamilyId, Family)>> {
        Box::pin(before(deadline, async move {
            let rows = self.select("subject", subject_key(subject).to_vec(), deadline).await?;
            rows.into_iter().map(family).collect()
        }))
    }
}
