//! The stores in Redis (6.2 or later), for services of more than one process.
//!
//! 1. Each decision is one Lua script on one key, by Redis's own clock.
//! 2. A call ends by its deadline. A script that Redis starts after that does nothing.
//! 3. A closed connection is replaced. What is safe to do twice (finding a family, reserving a slot, denying a token) is then
//!    tried again.
//! 4. When Redis is unreachable or too slow, calls fail at once for 250 ms; then one tries again.
//! 5. A login waits for three round trips: the slot before the hash, its outcome and the new family after it. It waits for two
//!    more if its client sends a secret and attempts are limited, and for two more for each further limit on attempts. A
//!    refresh waits for two: the family, and the rotation once the user was asked, so that a refused request uses up nothing.
//!
//! # Settings that Redis needs
//! - `maxmemory-policy noeviction`: any other policy forgets revocations and failures under pressure. A full Redis then
//!   answers with an error, clients get a 503, and nothing is forgotten.
//! - Persistence: whatever Redis loses in a crash or by `FLUSHALL` is gone. Sessions end, blocked accounts are free, and each
//!   process that starts later accepts a revoked access token until it expires. With `appendonly yes` and
//!   `appendfsync everysec` one second may be lost: a revocation, a rotation (the older token is valid again), some failures.
//! - Replicas: replication is asynchronous, so a failover may lose the last writes in the same way. The URL must name the
//!   primary: a replica refuses scripts that write. Redis Cluster is not supported.
//! - The clock: expiry follows the server's clock. Use a daemon that slews it and does not step it.
//! - ACL, for the prefix `oauth2`: `~oauth2:* &oauth2:deny +evalsha +script|load +time +subscribe +publish +del
//!   +hset +hmget +pexpire +zadd +zrem +zcard +zrange +zrevrange +zrevrangebyscore +zremrangebyscore +zscore`, and `+select` if the URL
//!   names a database other than 0.
//! - TLS is not compiled in. For `rediss://`, enable a TLS feature of the crate `redis`.

mod attempts;
mod connection;
mod deny_list;
mod refresh;
mod scripts;

use std::sync::Arc;

use self::connection::Connection;
use crate::{error::InvalidConfig, secret::debug_only};

pub use self::{attempts::RedisAttemptStore, deny_list::RedisDenyList, refresh::RedisRefreshStore};

/// The three stores in one Redis. They share one connection.
///
/// ```
/// use tower_oauth2_password::store::redis::RedisStores;
///
/// let stores = RedisStores::open("redis://127.0.0.1:6379/0")?.with_prefix("shop");
/// let (refresh_tokens, attempts) = (stores.refresh_tokens(), stores.attempts());
/// assert!(RedisStores::open("http://127.0.0.1").is_err());
/// # Ok::<(), tower_oauth2_password::InvalidConfig>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct RedisStores {
    prefix: Arc<str>,
    connection: Arc<Connection>,
}

impl RedisStores {
    /// Parses the URL, `redis://[user:password@]host[:port][/db]`. The first use connects, so Redis may be down.
    ///
    /// # Errors
    /// When the URL is malformed. The message does not quote it, as it may hold a password.
    pub fn open(url: &str) -> Result<Self, InvalidConfig> {
        let client = redis::Client::open(url).map_err(|_| {
            InvalidConfig::new("the Redis URL is malformed: write redis://[user:password@]host[:port][/db]")
        })?;
        Ok(Self { prefix: "oauth2".into(), connection: Arc::new(Connection::new(client)) })
    }

    /// Sets the prefix of all keys, before a colon. The default is `oauth2`.
    pub fn with_prefix(self, prefix: &str) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// The key of one kind of state.
    fn key(&self, kind: char, id: &str) -> String {
        format!("{}:{kind}:{id}", self.prefix)
    }

    /// Refresh token families.
    pub fn refresh_tokens(&self) -> RedisRefreshStore {
        RedisRefreshStore(self.clone())
    }

    /// Failed attempts.
    pub fn attempts(&self) -> RedisAttemptStore {
        RedisAttemptStore(self.clone())
    }

    /// Revoked access tokens. A task keeps the local copy: it starts here, or outside a runtime with the first call inside one,
    /// and ends with the last clone of the list.
    pub fn deny_list(&self) -> RedisDenyList {
        RedisDenyList::new(self.connection.clone(), &self.prefix)
    }
}

// The client's own `Debug` may show the password in the URL.
debug_only!(RedisStores { prefix });
