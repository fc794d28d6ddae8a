//! The stores in Redis (6.2 or later), for services of more than one process.
//!
//! Each decision is one Lua script on one key by Redis's own clock. A call ends by its deadline, and a script that Redis
//! comes to after that does nothing. A connection that was cut is made anew, and what may be done twice is asked again
//! (finding a family, reserving an attempt, denying a token). Where Redis cannot be reached or does not answer in time,
//! calls fail at once for 250 ms, then one tries anew.
//!
//! A login waits for two round trips, one before the hash and one after it, for two more where its client sends a secret
//! that is counted, and for two more for each further limit on attempts. A refresh waits for two: the family is looked
//! up, then the user is asked, then the token is rotated, so that a request that is refused spends nothing.
//!
//! # What Redis must be set to
//! - `maxmemory-policy noeviction`: any other forgets revocations and counts under pressure. A full Redis then answers
//!   with an error, which is a [`StoreError`], and nothing is forgotten.
//! - Persistence: what Redis forgets, at a crash or by `FLUSHALL`, is forgotten: sessions end, held names are free, and a
//!   revoked access token is good again until it expires in each process that starts later. `appendonly yes` with
//!   `appendfsync everysec` may lose a second of it: a revocation, a rotation (the older token is good again), some
//!   failures.
//! - Replicas: replication is asynchronous, so that a failover may lose the last writes in the same way. The URL must
//!   name the primary; a replica refuses scripts that write. Redis Cluster is not supported.
//! - The clock: expiry follows the server's clock; keep it by a daemon that slews, not steps.
//! - ACL, for the prefix `oauth2`: `~oauth2:* &oauth2:deny +evalsha +script|load +time +ping +subscribe +publish +del
//!   +hset +hmget +pexpire +zadd +zrem +zcard +zrange +zrevrange +zrevrangebyscore +zremrangebyscore`, and `+select` where
//!   the URL names a database other than 0.
//!   TLS is not compiled in; enable a TLS feature of the crate `redis` for `rediss://`.

mod attempts;
mod connection;
mod deny_list;
mod refresh;
mod scripts;

use std::{fmt, sync::Arc};

use self::connection::Connection;
pub use self::{attempts::RedisAttemptStore, deny_list::RedisDenyList, refresh::RedisRefreshStore};
use crate::error::StoreError;

/// Makes the three stores on one Redis; they share one connection.
///
/// ```
/// use tower_oauth2_password::store::redis::RedisStores;
///
/// let stores = RedisStores::open("redis://127.0.0.1:6379/0")?.with_prefix("shop");
/// let refresh_tokens = stores.refresh_tokens();
/// assert!(RedisStores::open("http://127.0.0.1").is_err());
/// # Ok::<(), tower_oauth2_password::StoreError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct RedisStores {
    prefix: Arc<str>,
    connection: Arc<Connection>,
}

impl RedisStores {
    /// Takes the URL (`redis://[user:password@]host[:port][/db]`) and connects to nothing yet: Redis may be down.
    ///
    /// # Errors
    /// The URL cannot be read.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let client = redis::Client::open(url).map_err(StoreError::new)?;
        Ok(Self { prefix: "oauth2".into(), connection: Arc::new(Connection::new(client)) })
    }

    /// What the name of every key begins with (default `oauth2`), before a colon.
    pub fn with_prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Refresh token families.
    #[must_use]
    pub fn refresh_tokens(&self) -> RedisRefreshStore {
        RedisRefreshStore::new(self.connection.clone(), self.prefix.clone())
    }

    /// Failed attempts.
    #[must_use]
    pub fn attempts(&self) -> RedisAttemptStore {
        RedisAttemptStore::new(self.connection.clone(), self.prefix.clone())
    }

    /// Revoked access tokens. Call it inside a tokio runtime: the copy of the list is kept by a task, which otherwise
    /// begins with the first [`deny`](super::DenyList::deny). The task ends with the last clone of the list.
    #[must_use]
    pub fn deny_list(&self) -> RedisDenyList {
        RedisDenyList::new(self.connection.clone(), &self.prefix)
    }
}

impl fmt::Debug for RedisStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client's own Debug may show the password of the URL.
        f.debug_struct("RedisStores").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
