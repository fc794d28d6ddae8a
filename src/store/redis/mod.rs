//! The stores in Redis (6.2 or later) or Valkey, for services of more than one process.
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
//!   primary: a replica refuses scripts that write.
//! - Sentinel: [`open_sentinel`](RedisStores::open_sentinel). After a failover the stores find the new primary by themselves.
//!   Set `min-replicas-to-write` to 1, so that a primary that is cut off from its replicas takes nothing that will be lost.
//! - Cluster: [`open_cluster`](RedisStores::open_cluster), or the URL of any node. Each call follows its key,
//!   even while the key is being moved, so a resharding loses nothing. While a failed primary has no successor, calls for its
//!   keys fail; what it had confirmed and not yet replicated is lost. The first call for a slot may take a round trip more. A certificate must be
//!   for the host names or addresses that the nodes announce. Each process publishes four times a second, and each message goes
//!   to all nodes.
//! - The clock: expiry follows the server's clock. Use a daemon that slews it and does not step it.
//! - ACL, for the prefix `oauth2`: `~oauth2:* &oauth2:deny +evalsha +script|load +time +subscribe +publish +del
//!   +hset +hmget +pexpire +zadd +zrem +zcard +zrange +zrevrange +zrevrangebyscore +zremrangebyscore +zscore`, `+select` if the URL
//!   names a database other than 0, `+asking` in a cluster, and for
//!   Sentinels `+sentinel|get-master-addr-by-name`.
//! - TLS: the feature `redis-tls` and a URL that begins with `rediss://`. rustls with aws-lc-rs encrypts, whatever provider
//!   the process has or lacks. The certificate must be for the host in the URL, by a root that the system trusts, or by
//!   [one that you name](RedisStores::with_root_certificate). Clients have no certificate: `tls-auth-clients` is `no` or
//!   `optional`, and the URL has a user and a password.

mod attempts;
mod connection;
mod deny_list;
mod nodes;
mod refresh;
mod scripts;
mod server;
#[cfg_attr(not(feature = "redis-tls"), path = "no_tls.rs")]
mod tls;

use std::sync::Arc;

use self::{nodes::Nodes, server::Server};
use crate::{error::InvalidConfig, secret::debug_only};

pub use self::{attempts::RedisAttemptStore, deny_list::RedisDenyList, refresh::RedisRefreshStore};

const ONE_DATABASE: &str = "a Redis Cluster, and what Sentinels watch, has one database: leave it out of the URLs";

/// The three stores in one Redis. They share one connection, or one to each node of a cluster.
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
    connection: Arc<Nodes>,
}

impl RedisStores {
    /// Parses the URL, `redis[s]://[user:password@]host[:port][/db]`. The first use connects, so Redis may be down.
    ///
    /// # Errors
    /// When the URL is malformed. The message does not quote it, as it may hold a password. For `rediss://`, also without the
    /// feature `redis-tls`, and where the system has no root certificates.
    pub fn open(url: &str) -> Result<Self, InvalidConfig> {
        Self::open_cluster([url])
    }

    /// Opens a Redis Cluster, of which these are some nodes. They name the others, which have the same user, password and TLS.
    ///
    /// ```
    /// use tower_oauth2_password::store::redis::RedisStores;
    ///
    /// let nodes = ["redis://app:secret@10.0.0.1:6379", "redis://app:secret@10.0.0.2:6379"];
    /// assert!(RedisStores::open_cluster(nodes).is_ok());
    /// assert!(RedisStores::open_cluster(["redis://10.0.0.1/1", "redis://10.0.0.2/1"]).is_err());
    /// assert!(RedisStores::open_cluster([""; 0]).is_err());
    /// # Ok::<(), tower_oauth2_password::InvalidConfig>(())
    /// ```
    ///
    /// # Errors
    /// As for [`open`](Self::open), without a URL, and where one of several names a database.
    pub fn open_cluster(urls: impl IntoIterator<Item: AsRef<str>>) -> Result<Self, InvalidConfig> {
        let servers = urls.into_iter().map(|url| Server::parse(url.as_ref())).collect::<Result<Vec<_>, _>>()?;
        InvalidConfig::unless(!servers.is_empty(), "a Redis Cluster needs the URL of one node or more")?;
        let have_databases = servers.len() > 1 && servers.iter().any(Server::has_database);
        InvalidConfig::unless(!have_databases, ONE_DATABASE)?;
        Ok(Self { prefix: "oauth2".into(), connection: Arc::new(Nodes::new(servers)) })
    }

    /// Asks the Sentinels at these URLs for the primary of this name each time it connects. They have the same user, password
    /// and TLS as the servers.
    ///
    /// ```
    /// use tower_oauth2_password::store::redis::RedisStores;
    ///
    /// let sentinels = ["redis://app:secret@10.0.0.1:26379", "redis://app:secret@10.0.0.2:26379"];
    /// assert!(RedisStores::open_sentinel("mymaster", sentinels).is_ok());
    /// assert!(RedisStores::open_sentinel("mymaster", ["redis://10.0.0.1:26379/1"]).is_err());
    /// # Ok::<(), tower_oauth2_password::InvalidConfig>(())
    /// ```
    ///
    /// # Errors
    /// As for [`open_cluster`](Self::open_cluster), and where a URL names a database.
    pub fn open_sentinel(primary: &str, urls: impl IntoIterator<Item: AsRef<str>>) -> Result<Self, InvalidConfig> {
        let stores = Self::open_cluster(urls)?;
        InvalidConfig::unless(!stores.connection.seeds.iter().any(|seed| seed.server.has_database()), ONE_DATABASE)?;
        let sentinels = stores.connection.seeds.iter().map(|seed| seed.server.clone());
        let connection = Nodes::new(sentinels.map(|server| Server { primary: Some(primary.into()), ..server }));
        Ok(Self { connection: Arc::new(connection), ..stores })
    }

    /// Trusts the root certificates in this PEM text, for instance of a private CA, and no others. Call this before anything
    /// else.
    ///
    /// ```
    /// use tower_oauth2_password::store::redis::RedisStores;
    ///
    /// let stores = RedisStores::open("rediss://app:secret@redis.internal:6380")?;
    /// assert!(stores.with_root_certificate(b"no certificate").is_err());
    /// # Ok::<(), tower_oauth2_password::InvalidConfig>(())
    /// ```
    ///
    /// # Errors
    /// When there is no certificate in the text, and when the URL is not `rediss://`.
    #[cfg(feature = "redis-tls")]
    pub fn with_root_certificate(self, pem: &[u8]) -> Result<Self, InvalidConfig> {
        let (tls, seeds) = (Some(tls::of_pem(pem)?), self.connection.seeds.iter().map(|seed| &seed.server));
        let are_secure = seeds.clone().all(|server| server.tls.is_some());
        InvalidConfig::unless(are_secure, "a root certificate needs URLs that begin with rediss://")?;
        let servers = seeds.map(|server| Server { tls: tls.clone(), ..server.clone() });
        Ok(Self { connection: Arc::new(Nodes::new(servers)), ..self })
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

#[cfg(all(test, not(feature = "redis-tls")))]
mod tests {
    use super::*;

    #[test]
    fn a_secure_url_names_the_feature_that_it_needs() {
        let error = RedisStores::open("rediss://localhost").unwrap_err();
        assert!(error.to_string().contains("`redis-tls`"), "{error}");
    }
}
