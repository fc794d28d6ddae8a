use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use sha2::{Digest, Sha256};

use super::{
    connection::{Connection, hex, millis},
    scripts::{FIND, FORGET, INDEX, INSERT, MEMBERS, REVOKE, ROTATE},
};
use crate::{
    error::StoreError,
    join::join,
    store::{Family, FamilyId, Previous, RefreshStore, Rotation, STORE_TIME_BUDGET, SecretHash, Successor},
};

/// How many families are ended at once, so that it takes not a round trip for each. They share the time that a script has.
const REVOKED_AT_ONCE: usize = 32;

/// As `find.lua` answers: current, previous, sealed, its age, subject, client, scope, stamp, absolute and idle ttl.
type Row = (Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>, u64, String, Option<String>, String, Option<String>, u64, u64);

/// Refresh token families in Redis: a hash for each family, and for each subject an index of its families.
#[derive(Clone, Debug)]
pub struct RedisRefreshStore {
    connection: Arc<Connection>,
    prefix: Arc<str>,
}

impl RedisRefreshStore {
    pub(super) fn new(connection: Arc<Connection>, prefix: Arc<str>) -> Self {
        Self { connection, prefix }
    }

    /// Whether there was such a family.
    async fn end(&self, id: &str) -> Result<bool, StoreError> {
        Ok(self.connection.run_again_if_cut::<u8>(&REVOKE, &self.family(id), &[], soon()).await? == 1)
    }

    fn family(&self, id: &str) -> String {
        format!("{}:f:{id}", self.prefix)
    }

    fn subject(&self, subject: &str) -> String {
        format!("{}:s:{}", self.prefix, hex(&Sha256::digest(subject)))
    }
}

impl RefreshStore for RedisRefreshStore {
    async fn insert(&self, id: FamilyId, family: Family, deadline: Instant) -> Result<(), StoreError> {
        let id = hex(&id.0);
        let absolute = millis(family.absolute_ttl).to_string();
        let idle = millis(family.idle_ttl).to_string();
        let mut fields: Vec<&[u8]> = vec![
            absolute.as_bytes(),
            idle.as_bytes(),
            b"cur",
            &family.current.0,
            b"sub",
            family.subject.as_bytes(),
            b"scope",
            family.scope.as_str().as_bytes(),
        ];
        if let Some(client_id) = &family.client_id {
            fields.extend([b"cid".as_slice(), client_id.as_bytes()]);
        }
        if let Some(stamp) = &family.security_stamp {
            fields.extend([b"stamp".as_slice(), stamp.as_bytes()]);
        }
        // Both in one round trip. Only where both are done is the family's token handed out: one that `revoke_subject`
        // cannot find is of no use to anybody.
        let (index, key) = (self.subject(&family.subject), self.family(&id));
        let entry: [&[u8]; 2] = [id.as_bytes(), absolute.as_bytes()];
        let indexed = self.connection.run::<u8>(&INDEX, &index, &entry, deadline);
        let (indexed, inserted) = join(indexed, self.connection.run::<u8>(&INSERT, &key, &fields, deadline)).await;
        indexed?;
        inserted.map(drop)
    }

    async fn find(&self, id: FamilyId, deadline: Instant) -> Result<Option<Family>, StoreError> {
        let row: Option<Row> =
            self.connection.run_again_if_cut(&FIND, &self.family(&hex(&id.0)), &[], deadline).await?;
        row.map(read).transpose()
    }

    async fn rotate(
        &self,
        id: FamilyId,
        presented: SecretHash,
        successor: Successor,
        deadline: Instant,
    ) -> Result<Rotation, StoreError> {
        let arguments: [&[u8]; 3] = [&presented.0, &successor.secret.0, &successor.sealed];
        let code: u8 = self.connection.run(&ROTATE, &self.family(&hex(&id.0)), &arguments, deadline).await?;
        Ok(match code {
            2 => Rotation::Rotated,
            1 => Rotation::Mismatch,
            _ => Rotation::Gone,
        })
    }

    async fn revoke(&self, id: FamilyId, deadline: Instant) -> Result<(), StoreError> {
        self.connection.run::<u8>(&REVOKE, &self.family(&hex(&id.0)), &[], deadline).await.map(drop)
    }

    async fn revoke_subject(&self, subject: &str) -> Result<u64, StoreError> {
        let index = self.subject(subject);
        // The newest first: those that lapsed by disuse stand among the older until their absolute end.
        let members: Vec<String> = self.connection.run_again_if_cut(&MEMBERS, &index, &[], soon()).await?;
        let mut count = 0;
        for ids in members.chunks(REVOKED_AT_ONCE) {
            let answers = join_all(ids.iter().map(|id| self.end(id))).await;
            // What is not there may be on its way by a login at this moment: its entry stays.
            let ended = ids.iter().zip(&answers).filter(|(_, answer)| matches!(answer, Ok(true)));
            let ended: Vec<&[u8]> = ended.map(|(id, _)| id.as_bytes()).collect();
            if !ended.is_empty() {
                self.connection.run_again_if_cut::<u64>(&FORGET, &index, &ended, soon()).await?;
            }
            count += ended.len() as u64;
            answers.into_iter().collect::<Result<Vec<_>, _>>()?;
        }
        Ok(count)
    }
}

/// One script of many: how many there are is no fault of Redis.
fn soon() -> Instant {
    Instant::now() + STORE_TIME_BUDGET
}

fn read(row: Row) -> Result<Family, StoreError> {
    let (current, previous, sealed, age, subject, client_id, scope, stamp, absolute, idle) = row;
    let (absolute, idle) = (Duration::from_millis(absolute), Duration::from_millis(idle));
    let mut family = Family::new(secret(current)?, subject, absolute, idle);
    family.client_id = client_id;
    family.scope = scope.parse().map_err(StoreError::new)?;
    family.security_stamp = stamp;
    family.previous = match previous {
        Some(hash) => Some(Previous::new(secret(hash)?, sealed.unwrap_or_default(), Duration::from_millis(age))),
        None => None,
    };
    Ok(family)
}

fn secret(bytes: Vec<u8>) -> Result<SecretHash, StoreError> {
    bytes.try_into().map(SecretHash).map_err(|_| StoreError::new("a secret's hash in Redis has not 32 bytes"))
}
