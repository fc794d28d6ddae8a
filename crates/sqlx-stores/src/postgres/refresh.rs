//! Refresh token families in Postgres.

use std::sync::Arc;
use std::time::Instant;

use tower_oauth2_password::store::{
    Family, FamilyId, Previous, RefreshStore, Rotation, SecretHash, StoreFuture, SubjectRef,
};

use super::connection::{Connection, arguments};
use crate::call::{END_KEPT, STORE_BUDGET, micros};
use crate::record::{FamilyRow, family, subject_key};

/// Refresh token families in Postgres, a row each. [`PgStores::refresh_tokens`](super::PgStores::refresh_tokens) returns it.
///
/// `convert_from(login, 'UTF8')::json ->> 'subject'` of the table `oauth2_families` says whose they are.
///
/// ```
/// use std::time::{Duration, Instant};
/// use sqlx::PgPool;
/// use tower_oauth2_password::{BoxError, store::{RefreshStore, SubjectRef}};
/// use tower_oauth2_password_sqlx::{PgRefreshStore, PgStores};
///
/// async fn sessions_of_alice(pool: PgPool) -> Result<usize, BoxError> {
///     let store: PgRefreshStore = PgStores::open(pool).await?.refresh_tokens();
///     let alice = SubjectRef::new("https://api.example api", "alice");
///     Ok(store.list(alice, Instant::now() + Duration::from_millis(500)).await?.len())
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let pool = PgPool::connect_lazy("postgres://me@127.0.0.1:1/app")?; // nothing listens there
/// assert!(sessions_of_alice(pool).await.is_err());
/// # Ok::<(), BoxError>(())
/// # })?;
/// # Ok::<(), BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct PgRefreshStore(pub(super) Arc<Connection>);

impl RefreshStore for PgRefreshStore {
    fn insert(&self, id: FamilyId, family: Family, limit: usize, deadline: Instant) -> StoreFuture<'_, bool> {
        // Until the deadline, so that it says when the login was verified, however long the call waits.
        let age = family.age + deadline.saturating_duration_since(Instant::now());
        Box::pin(async move {
            let subject = subject_key(SubjectRef::new(&family.session.server, &family.session.subject));
            let [absolute, idle, age] = [family.absolute_ttl, family.idle_ttl, age].map(micros);
            let (secret, limit) = (family.current.0, i64::try_from(limit.max(1))?);
            let login = serde_json::to_vec(&family.session)?;
            let arguments = arguments![id.0, subject, secret, login, absolute, idle, age, limit];
            let (inserted,) = self.0.ask("insert", arguments, deadline).await?;
            Ok(inserted)
        })
    }

    fn find(&self, id: FamilyId, deadline: Instant) -> StoreFuture<'_, Option<Family>> {
        Box::pin(async move {
            let arguments = arguments![id.0, None::<Vec<u8>>];
            let found = self.0.call::<FamilyRow>("find", arguments, deadline).await?.pop();
            Ok(found.map(family).transpose()?.map(|(_, family)| family))
        })
    }

    fn rotate(&self, id: FamilyId, old: Previous, new: SecretHash, deadline: Instant) -> StoreFuture<'_, Rotation> {
        Box::pin(async move {
            let arguments = arguments![id.0, old.secret.0, new.0, old.sealed_successor];
            Ok(match self.0.ask("rotate", arguments, deadline).await? {
                (2,) => Rotation::Rotated,
                (1_i32,) => Rotation::Mismatch,
                _ => Rotation::Gone,
            })
        })
    }

    fn revoke(&self, id: FamilyId, deadline: Instant) -> StoreFuture<'_, ()> {
        Box::pin(async move { self.0.ask::<(bool,)>("revoke", arguments![id.0], deadline).await.map(drop) })
    }

    fn revoke_subject<'a>(&'a self, subject: SubjectRef<'a>, except: Option<FamilyId>) -> StoreFuture<'a, u64> {
        Box::pin(async move {
            let arguments = arguments![subject_key(subject), except.map(|id| id.0), micros(END_KEPT)];
            let (ended,) = self.0.ask::<(i64,)>("end_subject", arguments, Instant::now() + STORE_BUDGET).await?;
            Ok(ended.try_into()?)
        })
    }

    fn list<'a>(&'a self, subject: SubjectRef<'a>, deadline: Instant) -> StoreFuture<'a, Vec<(FamilyId, Family)>> {
        Box::pin(async move {
            let arguments = arguments![None::<Vec<u8>>, subject_key(subject)];
            let rows = self.0.call::<FamilyRow>("find", arguments, deadline).await?;
            rows.into_iter().map(family).collect()
        })
    }
}
