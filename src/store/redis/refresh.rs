//! Refresh token families in Redis.

use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use sha2::{Digest, Sha256};

use super::{
    RedisStores,
    connection::{hex, millis},
    scripts::{FIND, FORGET, INDEX, INSERT, MEMBERS, REVOKE, ROTATE},
};
use crate::{
    error::BoxError,
    store::{Family, FamilyId, Previous, RefreshStore, Rotation, STORE_BUDGET, SecretHash, StoreFuture, Successor},
};

/// How many families are revoked at once, so that not each takes a round trip. They share the time of one script.
const REVOKED_AT_ONCE: usize = 32;

/// The answer of `find.lua`: current, previous, sealed, its age, subject, client, scope, stamp, absolute and idle ttl.
type Row = (Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>, u64, String, Option<String>, String, Option<String>, u64, u64);

/// Refresh token families in Redis: a hash for each family, and an index of families for each subject.
/// [`RedisStores::refresh_tokens`](super::RedisStores::refresh_tokens) returns it.
///
/// ```
/// use tower_oauth2_password::{RefreshTokens, store::redis::RedisStores};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let stores = RedisStores::open("redis://127.0.0.1:1")?; // nothing listens there
/// let refresh_tokens = RefreshTokens::new(stores.refresh_tokens());
/// assert!(refresh_tokens.revoke_subject("alice").await.is_err());
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RedisRefreshStore(pub(super) RedisStores);

impl RedisRefreshStore {
    /// Revokes a family. False if there was none.
    async fn end(&self, id: &str) -> Result<bool, BoxError> {
        Ok(self.0.connection.run::<u8>(&REVOKE, &self.family(id), &[], soon()).await? == 1)
    }

    fn family(&self, id: &str) -> String {
        format!("{}:f:{id}", self.0.prefix)
    }

    fn subject(&self, subject: &str) -> String {
        format!("{}:s:{}", self.0.prefix, hex(&Sha256::digest(subject)))
    }
}

impl RefreshStore for RedisRefreshStore {
    fn insert(&self, id: FamilyId, family: Family, deadline: Instant) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let id = hex(&id.0);
            let [absolute, idle] = [family.absolute_ttl, family.idle_ttl].map(|ttl| millis(ttl).to_string());
            let (subject, scope) = (family.subject.as_bytes(), family.scope.as_str().as_bytes());
            let mut fields: Vec<&[u8]> = vec![absolute.as_bytes(), idle.as_bytes()];
            fields.extend([b"cur".as_slice(), &family.current.0, b"sub", subject, b"scope", scope]);
            if let Some(client_id) = &family.client_id {
                fields.extend([b"cid".as_slice(), client_id.as_bytes()]);
            }
            if let Some(stamp) = &family.security_stamp {
                fields.extend([b"stamp".as_slice(), stamp.as_bytes()]);
            }
            // Both in one round trip. The token is handed out only if both succeed: `revoke_subject` must find the family.
            let (index, key) = (self.subject(&family.subject), self.family(&id));
            let entry: [&[u8]; 2] = [id.as_bytes(), absolute.as_bytes()];
            let indexed = self.0.connection.run::<u8>(&INDEX, &index, &entry, deadline);
            let (indexed, inserted) =
                join(indexed, self.0.connection.run::<u8>(&INSERT, &key, &fields, deadline)).await;
            indexed?;
            inserted.map(drop)
        })
    }

    fn find(&self, id: FamilyId, deadline: Instant) -> StoreFuture<'_, Option<Family>> {
        Box::pin(async move {
            let key = self.family(&hex(&id.0));
            let row: Option<Row> = self.0.connection.run(&FIND, &key, &[], deadline).await?;
            row.map(read).transpose()
        })
    }

    fn rotate(
        &self,
        id: FamilyId,
        presented: SecretHash,
        successor: Successor,
        deadline: Instant,
    ) -> StoreFuture<'_, Rotation> {
        Box::pin(async move {
            let arguments: [&[u8]; 3] = [&presented.0, &successor.secret.0, &successor.sealed];
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

    fn revoke_subject<'a>(&'a self, subject: &'a str) -> StoreFuture<'a, u64> {
        Box::pin(async move {
            let index = self.subject(subject);
            // The newest first: unused families that expired stand among the older ones until their absolute end.
            let members: Vec<String> = self.0.connection.run(&MEMBERS, &index, &[], soon()).await?;
            let mut count = 0;
            for ids in members.chunks(REVOKED_AT_ONCE) {
                let answers = join_all(ids.iter().map(|id| self.end(id))).await;
                // The entry of a family that does not exist stays: a login in progress may be about to insert it.
                let ended = ids.iter().zip(&answers).filter(|(_, answer)| matches!(answer, Ok(true)));
                let ended: Vec<&[u8]> = ended.map(|(id, _)| id.as_bytes()).collect();
                if !ended.is_empty() {
                    self.0.connection.run::<u64>(&FORGET, &index, &ended, soon()).await?;
                }
                count += ended.len() as u64;
                answers.into_iter().collect::<Result<Vec<_>, _>>()?;
            }
            Ok(count)
        })
    }
}

/// The deadline of one script. All of them together may take longer.
fn soon() -> Instant {
    Instant::now() + STORE_BUDGET
}

fn read(row: Row) -> Result<Family, BoxError> {
    let (current, previous, sealed, age, subject, client_id, scope, stamp, absolute, idle) = row;
    let (absolute, idle) = (Duration::from_millis(absolute), Duration::from_millis(idle));
    let mut family = Family::new(secret(current)?, subject, absolute, idle);
    family.client_id = client_id;
    family.scope = scope.parse()?;
    family.security_stamp = stamp;
    family.previous = match previous {
        Some(hash) => Some(Previous::new(secret(hash)?, sealed.unwrap_or_default(), Duration::from_millis(age))),
        None => None,
    };
    Ok(family)
}

fn secret(bytes: Vec<u8>) -> Result<SecretHash, BoxError> {
    bytes.try_into().map(SecretHash).map_err(|_| "the hash of a secret in Redis must have 32 bytes".into())
}
