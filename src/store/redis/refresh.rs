//! Refresh token families in Redis.

use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use serde::{Deserialize, Serialize};

use super::RedisStores;
use super::connection::{hex, millis};
use super::scripts::{END, FIND, FORGET, INDEX, INSERT, LIST, REVOKE, ROTATE};
use crate::error::BoxError;
use crate::store::refresh::END_KEPT;
use crate::store::{
    Family, FamilyId, Previous, RefreshStore, Rotation, STORE_BUDGET, SecretHash, Session, StoreFuture, SubjectRef,
    Successor,
};

/// How many families are read or revoked at once, so that not each takes a round trip. They share the time of one script.
const AT_ONCE: usize = 32;

/// The answer of `find.lua`: current, previous, sealed, login, absolute and idle ttl, age, time since the last use.
type Row = (Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>, Vec<u8>, u64, u64, u64, u64);

/// What never changes of a family, as JSON.
#[derive(Serialize, Deserialize)]
struct LoginRecord {
    server: String,
    subject: String,
    client_id: Option<String>,
    scope: String,
    security_stamp: Option<String>,
    session: Session,
}

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
        let kept = millis(END_KEPT).to_string();
        Ok(self.0.connection.run::<u8>(&REVOKE, &self.family(id), &[kept.as_bytes()], soon()).await? == 1)
    }

    fn family(&self, id: &str) -> String {
        format!("{}:f:{id}", self.0.prefix)
    }

    fn index(&self, subject: SubjectRef<'_>) -> String {
        format!("{}:s:{}", self.0.prefix, hex(&subject.key()))
    }

    /// Revokes all of these families but the newest, and forgets those that are over.
    async fn end_oldest(&self, index: &str, ids: &[String], kept: usize) -> Result<(), BoxError> {
        let (mut alive, mut over) = (0, Vec::new());
        for (id, family) in ids.iter().zip(self.rows(ids, soon).await?) {
            alive += usize::from(family.is_some());
            if family.is_none() || alive > kept {
                over.push(id.clone());
            }
        }
        self.end_all(index, &over, false).await.map(drop)
    }

    async fn row(&self, id: &str, deadline: Instant) -> Result<Option<Row>, BoxError> {
        self.0.connection.run(&FIND, &self.family(id), &[], deadline).await
    }

    /// Reads families, a few at once. Each has a deadline of its own.
    async fn rows(&self, ids: &[String], deadline: impl Fn() -> Instant) -> Result<Vec<Option<Row>>, BoxError> {
        let mut rows = Vec::new();
        for ids in ids.chunks(AT_ONCE) {
            let answers = join_all(ids.iter().map(|id| self.row(id, deadline()))).await;
            rows.extend(answers.into_iter().collect::<Result<Vec<_>, _>>()?);
        }
        Ok(rows)
    }

    /// Revokes families of a subject, a few at once, takes them out of its index, and returns how many there were.
    async fn end_all(&self, index: &str, ids: &[String], keep_unknown: bool) -> Result<u64, BoxError> {
        let mut count = 0;
        for ids in ids.chunks(AT_ONCE) {
            let answers = join_all(ids.iter().map(|id| self.end(id))).await;
            count += answers.iter().filter(|answer| matches!(answer, Ok(true))).count() as u64;
            let is_over = |answer: &Result<bool, _>| answer.as_ref().is_ok_and(|ended| *ended || !keep_unknown);
            let over = ids.iter().zip(&answers).filter(|(_, answer)| is_over(answer));
            let over: Vec<&[u8]> = over.map(|(id, _)| id.as_bytes()).collect();
            if !over.is_empty() {
                self.0.connection.run::<u64>(&FORGET, index, &over, soon()).await?;
            }
            answers.into_iter().collect::<Result<Vec<_>, _>>()?;
        }
        Ok(count)
    }
}

impl RefreshStore for RedisRefreshStore {
    fn insert(&self, id: FamilyId, family: Family, limit: usize, deadline: Instant) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            let id = hex(&id.0);
            let (index, key) = (self.index(SubjectRef::new(&family.server, &family.subject)), self.family(&id));
            let age = family.age + deadline.saturating_duration_since(Instant::now());
            let times = [family.absolute_ttl, family.idle_ttl, age, END_KEPT].map(|ttl| millis(ttl).to_string());
            let [absolute, idle, age, kept] = times.each_ref().map(String::as_bytes);
            let (limit, most) = (limit.max(1), limit.max(1).to_string());
            let login = serde_json::to_vec(&LoginRecord {
                server: family.server,
                subject: family.subject,
                client_id: family.client_id,
                scope: family.scope.to_string(),
                security_stamp: family.security_stamp,
                session: family.session,
            })?;
            // Both in one round trip. The token is handed out only if both succeed: `revoke_subject` must find the family.
            let (index_arguments, fields) = (
                [id.as_bytes(), absolute, age, kept, most.as_bytes()],
                [absolute, idle, age, &family.current.0, &login],
            );
            let connection = &self.0.connection;
            let indexed = connection.run::<Vec<String>>(&INDEX, &index, &index_arguments, deadline);
            let (indexed, inserted) = join(indexed, connection.run::<u8>(&INSERT, &key, &fields, deadline)).await;
            let (indexed, inserted) = (indexed?, inserted?);
            let Some((_, others)) = indexed.split_first().filter(|_| inserted == 1) else {
                // The subject was ended meanwhile.
                self.end(&id).await?;
                return Ok(false);
            };
            self.end_oldest(&index, others, limit - 1).await?;
            Ok(true)
        })
    }

    fn find(&self, id: FamilyId, deadline: Instant) -> StoreFuture<'_, Option<Family>> {
        Box::pin(async move { self.row(&hex(&id.0), deadline).await?.map(read).transpose() })
    }

    fn rotate(&self, id: FamilyId, old: SecretHash, new: Successor, deadline: Instant) -> StoreFuture<'_, Rotation> {
        Box::pin(async move {
            let arguments: [&[u8]; 3] = [&old.0, &new.secret.0, &new.sealed];
            let code: u8 = self.0.connection.run(&ROTATE, &self.family(&hex(&id.0)), &arguments, deadline).await?;
            Ok(match code {
                2 => Rotation::Rotated,
                1 => Rotation::Mismatch,
                _ => Rotation::Gone,
            })
        })
    }

    fn revoke(&self, id: FamilyId, deadline: Instant) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.0.connection.run::<u8>(&REVOKE, &self.family(&hex(&id.0)), &[], deadline).await.map(drop)
        })
    }

    fn revoke_subject<'a>(&'a self, subject: SubjectRef<'a>, except: Option<FamilyId>) -> StoreFuture<'a, u64> {
        Box::pin(async move {
            let (index, kept) = (self.index(subject), millis(END_KEPT).to_string());
            // The newest first: unused families that expired stand among the older ones until their absolute end.
            let mut ids: Vec<String> = self.0.connection.run(&END, &index, &[kept.as_bytes()], soon()).await?;
            let except = except.map(|id| hex(&id.0));
            ids.retain(|id| Some(id) != except.as_ref());
            // A login in progress may be about to insert the family of an entry.
            self.end_all(&index, &ids, true).await
        })
    }

    fn list<'a>(&'a self, subject: SubjectRef<'a>, deadline: Instant) -> StoreFuture<'a, Vec<(FamilyId, Family)>> {
        Box::pin(async move {
            let index = self.index(subject);
            let ids: Vec<String> = self.0.connection.run(&LIST, &index, &[], deadline).await?;
            let mut families = Vec::new();
            for (id, row) in ids.iter().zip(self.rows(&ids, || deadline).await?) {
                if let Some(row) = row {
                    families.push((family_id(id)?, read(row)?));
                }
            }
            // The index is sorted by the end of the families.
            families.sort_by_key(|(_, family)| family.age);
            Ok(families)
        })
    }
}

fn family_id(hex: &str) -> Result<FamilyId, BoxError> {
    Ok(FamilyId(u128::from_str_radix(hex, 16)?.to_be_bytes()))
}

/// The deadline of one script. All of them together may take longer.
fn soon() -> Instant {
    Instant::now() + STORE_BUDGET
}

fn read(row: Row) -> Result<Family, BoxError> {
    let (current, previous, sealed, login, absolute, idle, age, unused_for) = row;
    let [absolute, idle, age, unused_for] = [absolute, idle, age, unused_for].map(Duration::from_millis);
    let login: LoginRecord = serde_json::from_slice(&login)?;
    let mut family = Family::new(secret(current)?, login.subject, absolute, idle);
    (family.server, family.client_id, family.scope) = (login.server, login.client_id, login.scope.parse()?);
    (family.security_stamp, family.session) = (login.security_stamp, login.session);
    (family.age, family.unused_for) = (age, unused_for);
    let previous = previous.map(secret).transpose()?;
    family.previous = previous.map(|hash| Previous::new(hash, sealed.unwrap_or_default()));
    Ok(family)
}

fn secret(bytes: Vec<u8>) -> Result<SecretHash, BoxError> {
    bytes.try_into().map(SecretHash).map_err(|_| "the hash of a secret in Redis must have 32 bytes".into())
}
