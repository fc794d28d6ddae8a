//! Refresh token families in Redis.

use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::RedisStores;
use super::connection::{hex, millis};
use super::scripts::{END, FIND, FORGET, INDEX, INSERT, LIST, REVOKE, ROTATE};
use crate::error::BoxError;
use crate::store::refresh::END_KEPT;
use crate::store::{
    Family, FamilyId, Previous, RefreshStore, Rotation, STORE_BUDGET, SecretHash, StoreFuture, SubjectRef,
};

/// How many families are read or revoked at once, so that not each takes a round trip. They share the time of one script.
const AT_ONCE: usize = 32;

/// The answer of `find.lua`: current, previous, sealed, login, absolute and idle ttl, age, time since the last use.
type Row = ([u8; 32], Option<[u8; 32]>, Option<Vec<u8>>, Vec<u8>, u64, u64, u64, u64);

const NO_ARGUMENTS: &[&str; 0] = &[];

/// Refresh token families in Redis: a hash for each family, and an index of families for each subject.
/// [`RedisStores::refresh_tokens`](super::RedisStores::refresh_tokens) returns it.
///
/// ```
/// use tower_oauth2_password::store::{RefreshStore, SubjectRef, redis::RedisStores};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let store = RedisStores::open("redis://127.0.0.1:1")?.refresh_tokens(); // nothing listens there
/// assert!(store.revoke_subject(SubjectRef::new("https://api.example api", "alice"), None).await.is_err());
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RedisRefreshStore(pub(super) RedisStores);

impl RedisRefreshStore {
    /// Revokes a family, and keeps it out if it is yet to be inserted. False if there was none.
    async fn end(&self, id: &str) -> Result<bool, BoxError> {
        self.0.connection.run(&REVOKE, &self.0.key('f', id), millis(END_KEPT), soon()).await
    }

    /// Revokes all of these families but the newest, and forgets those that are over.
    async fn end_oldest(&self, index: &str, ids: &[String], kept: usize) -> Result<(), BoxError> {
        let (mut alive, mut over) = (0, Vec::new());
        for (id, family) in ids.iter().zip(self.rows(ids, None).await?) {
            alive += usize::from(family.is_some());
            if family.is_none() || alive > kept {
                over.push(id.clone());
            }
        }
        self.end_all(index, &over, false).await.map(drop)
    }

    async fn row(&self, id: &str, deadline: Option<Instant>) -> Result<Option<Row>, BoxError> {
        let deadline = deadline.unwrap_or_else(soon);
        self.0.connection.run(&FIND, &self.0.key('f', id), NO_ARGUMENTS, deadline).await
    }

    /// Reads families, a few at once. Without a deadline, each has its own.
    async fn rows(&self, ids: &[String], deadline: Option<Instant>) -> Result<Vec<Option<Row>>, BoxError> {
        let rows: Vec<_> = ids.iter().map(|id| self.row(id, deadline)).collect();
        stream::iter(rows).buffered(AT_ONCE).try_collect().await
    }

    /// Revokes families of a subject, a few at once, takes them out of its index, and returns how many there were.
    async fn end_all(&self, index: &str, ids: &[String], keep_unknown: bool) -> Result<u64, BoxError> {
        let mut count = 0;
        for ids in ids.chunks(AT_ONCE) {
            let answers = join_all(ids.iter().map(|id| self.end(id))).await;
            count += answers.iter().filter(|answer| matches!(answer, Ok(true))).count() as u64;
            let is_over = |answer: &Result<bool, _>| answer.as_ref().is_ok_and(|ended| *ended || !keep_unknown);
            let over = ids.iter().zip(&answers).filter(|(_, answer)| is_over(answer));
            let over: Vec<_> = over.map(|(id, _)| id).collect();
            if !over.is_empty() {
                self.0.connection.run::<()>(&FORGET, index, &over, soon()).await?;
            }
            answers.into_iter().collect::<Result<Vec<_>, _>>()?;
        }
        Ok(count)
    }
}

impl RefreshStore for RedisRefreshStore {
    fn insert(&self, id: FamilyId, family: Family, limit: usize, deadline: Instant) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            let (id, limit, connection) = (hex(id.0), limit.max(1), &self.0.connection);
            let subject = SubjectRef::new(&family.session.server, &family.session.subject).key();
            let (index, key) = (self.0.key('s', &hex(subject)), self.0.key('f', &id));
            let age = family.age + deadline.saturating_duration_since(Instant::now());
            let [absolute, idle, age, kept] = [family.absolute_ttl, family.idle_ttl, age, END_KEPT].map(millis);
            let login = serde_json::to_vec(&family.session)?;
            // Both in one round trip. The token is handed out only if both succeed: `revoke_subject` must find the family.
            let indexed = connection.run(&INDEX, &index, (&id, absolute, age, kept, limit), deadline);
            let fields = (absolute, idle, age, &family.current.0, login);
            let inserted = connection.run(&INSERT, &key, fields, deadline);
            let (indexed, inserted): (Result<Vec<String>, _>, Result<bool, _>) = join(indexed, inserted).await;
            let (indexed, inserted) = (indexed?, inserted?);
            let Some((_, others)) = indexed.split_first().filter(|_| inserted) else {
                // The subject was ended meanwhile.
                self.end(&id).await?;
                return Ok(false);
            };
            self.end_oldest(&index, others, limit - 1).await?;
            Ok(true)
        })
    }

    fn find(&self, id: FamilyId, deadline: Instant) -> StoreFuture<'_, Option<Family>> {
        Box::pin(async move { self.row(&hex(id.0), Some(deadline)).await?.map(read).transpose() })
    }

    fn rotate(&self, id: FamilyId, old: Previous, new: SecretHash, deadline: Instant) -> StoreFuture<'_, Rotation> {
        Box::pin(async move {
            let (key, arguments) = (self.0.key('f', &hex(id.0)), (&old.secret.0, &new.0, old.sealed_successor));
            let code: u8 = self.0.connection.run(&ROTATE, &key, arguments, deadline).await?;
            Ok(match code {
                2 => Rotation::Rotated,
                1 => Rotation::Mismatch,
                _ => Rotation::Gone,
            })
        })
    }

    fn revoke(&self, id: FamilyId, deadline: Instant) -> StoreFuture<'_, ()> {
        Box::pin(
            async move { self.0.connection.run(&REVOKE, &self.0.key('f', &hex(id.0)), NO_ARGUMENTS, deadline).await },
        )
    }

    fn revoke_subject<'a>(&'a self, subject: SubjectRef<'a>, except: Option<FamilyId>) -> StoreFuture<'a, u64> {
        Box::pin(async move {
            let index = self.0.key('s', &hex(subject.key()));
            // The newest first: unused families that expired stand among the older ones until their absolute end.
            let mut ids: Vec<String> = self.0.connection.run(&END, &index, millis(END_KEPT), soon()).await?;
            let except = except.map(|id| hex(id.0));
            ids.retain(|id| Some(id) != except.as_ref());
            // A login in progress may be about to insert the family of an entry.
            self.end_all(&index, &ids, true).await
        })
    }

    fn list<'a>(&'a self, subject: SubjectRef<'a>, deadline: Instant) -> StoreFuture<'a, Vec<(FamilyId, Family)>> {
        Box::pin(async move {
            let index = self.0.key('s', &hex(subject.key()));
            let ids: Vec<String> = self.0.connection.run(&LIST, &index, NO_ARGUMENTS, deadline).await?;
            let mut families = Vec::new();
            for (id, row) in ids.iter().zip(self.rows(&ids, Some(deadline)).await?) {
                let Some(row) = row else { continue };
                families.push((FamilyId(u128::from_str_radix(id, 16)?.to_be_bytes()), read(row)?));
            }
            // The index is sorted by the end of the families.
            families.sort_by_key(|(_, family)| family.age);
            Ok(families)
        })
    }
}

/// The deadline of one script. All of them together may take longer.
fn soon() -> Instant {
    Instant::now() + STORE_BUDGET
}

fn read(row: Row) -> Result<Family, BoxError> {
    let (current, previous, sealed, login, absolute, idle, age, unused_for) = row;
    let [absolute_ttl, idle_ttl, age, unused_for] = [absolute, idle, age, unused_for].map(Duration::from_millis);
    let (current, session) = (SecretHash(current), serde_json::from_slice(&login)?);
    let previous = previous.map(|hash| Previous::new(SecretHash(hash), sealed.unwrap_or_default()));
    Ok(Family { current, session, age, unused_for, absolute_ttl, idle_ttl, previous })
}
