use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use redis::{AsyncConnectionConfig, Client, RedisError};
use sha2::{Digest, Sha256};
use tokio::time::{sleep, timeout};

use super::{
    connection::{Connection, MAX_MS, millis, server_ms, spawn},
    scripts::DENY,
};
use crate::{error::StoreError, store::DenyList};

/// How many tokens the list takes; beyond, `deny` fails.
const MAX_ENTRIES: &[u8] = b"1000000";
const RECONNECT: Duration = Duration::from_millis(250);
/// After so long without a message the subscription is asked whether it still lives.
const QUIET: Duration = Duration::from_millis(250);
const ANSWER: Duration = Duration::from_millis(400);
/// The whole list is read at once on connecting, which may take long.
const CATCH_UP: Duration = Duration::from_secs(10);

type Digest32 = [u8; 32];

/// Revoked access tokens in Redis, each process with a copy that it asks without waiting.
///
/// The copy follows the list in the background; while Redis is away, it knows what it knew, and before it reached
/// Redis for the first time, nothing. It takes 1,000,000 tokens that are not yet over; then `deny` fails.
#[derive(Clone, Debug)]
pub struct RedisDenyList {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    connection: Arc<Connection>,
    key: String,
    denied: RwLock<Denied>,
    following: AtomicBool,
}

#[derive(Debug, Default)]
struct Denied {
    until: HashMap<Digest32, Instant>,
    prune_at: usize,
}

impl RedisDenyList {
    pub(super) fn new(connection: Arc<Connection>, prefix: &str) -> Self {
        let shared = Shared {
            connection,
            key: format!("{prefix}:deny"),
            denied: RwLock::default(),
            following: AtomicBool::new(false),
        };
        let list = Self { shared: Arc::new(shared) };
        list.follow();
        list
    }

    fn follow(&self) {
        if !self.shared.following.swap(true, Ordering::AcqRel) {
            let client = self.shared.connection.client.clone();
            let spawned = spawn(follow(client, self.shared.key.clone(), Arc::downgrade(&self.shared)));
            self.shared.following.store(spawned, Ordering::Release);
        }
    }
}

impl DenyList for RedisDenyList {
    async fn deny(&self, token_id: &str, ttl: Duration, deadline: Instant) -> Result<(), StoreError> {
        self.follow();
        let digest = digest(token_id);
        let ttl_ms = millis(ttl).to_string();
        let arguments = [digest.as_slice(), ttl_ms.as_bytes(), MAX_ENTRIES];
        self.shared.connection.run_again_if_cut::<u8>(&DENY, &self.shared.key, &arguments, deadline).await?;
        self.shared.insert(digest, millis(ttl));
        Ok(())
    }

    fn is_denied(&self, token_id: &str) -> bool {
        let denied = self.shared.denied.read().unwrap_or_else(PoisonError::into_inner);
        denied.until.get(&digest(token_id)).is_some_and(|until| Instant::now() < *until)
    }
}

impl Shared {
    fn insert(&self, digest: Digest32, ttl_ms: u64) {
        self.denied.write().unwrap_or_else(PoisonError::into_inner).insert(digest, ttl_ms, Instant::now());
    }
}

impl Denied {
    fn insert(&mut self, digest: Digest32, ttl_ms: u64, now: Instant) {
        // Whatever a message says: an overflow would end the task that follows the list.
        let until = now + Duration::from_millis(ttl_ms.min(MAX_MS));
        if self.until.len() >= self.prune_at {
            self.until.retain(|_, until| now < *until);
            self.prune_at = (self.until.len() * 2).max(1024);
        }
        let entry = self.until.entry(digest).or_insert(until);
        *entry = until.max(*entry);
    }
}

fn digest(token_id: &str) -> Digest32 {
    Sha256::digest(token_id).into()
}

async fn follow(client: Client, key: String, list: Weak<Shared>) {
    while list.strong_count() > 0 {
        // Every end is one that connecting anew mends.
        drop(subscription(&client, &key, &list).await);
        sleep(RECONNECT).await;
    }
}

async fn subscription(client: &Client, key: &str, list: &Weak<Shared>) -> Result<(), RedisError> {
    let Ok(subscription) = timeout(ANSWER, client.get_async_pubsub()).await else { return Ok(()) };
    let (mut sink, mut messages) = subscription?.split();
    let Ok(subscribed) = timeout(ANSWER, sink.subscribe(key)).await else { return Ok(()) };
    subscribed?;
    // Only now, so that no token falls between the list and the messages.
    let Ok(caught_up) = timeout(CATCH_UP, catch_up(client, key, list)).await else { return Ok(()) };
    caught_up?;
    loop {
        match timeout(QUIET, messages.next()).await {
            Ok(Some(message)) => {
                let Some(list) = list.upgrade() else { return Ok(()) };
                if let Some((digest, ttl_ms)) = read(message.get_payload_bytes()) {
                    list.insert(digest, ttl_ms);
                }
            }
            Ok(None) => return Ok(()),
            Err(_) if list.strong_count() == 0 => return Ok(()),
            Err(_) => {
                let Ok(answer) = timeout(ANSWER, sink.ping::<redis::Value>()).await else { return Ok(()) };
                answer?;
            }
        }
    }
}

/// The answer to `TIME`: seconds and microseconds.
type Time = (u64, u64);

async fn catch_up(client: &Client, key: &str, list: &Weak<Shared>) -> Result<(), RedisError> {
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    let mut both = redis::pipe();
    both.cmd("TIME").cmd("ZRANGE").arg(key).arg(0).arg(-1).arg("WITHSCORES");
    let (time, entries): (Time, Vec<(Vec<u8>, f64)>) = both.query_async(&mut connection).await?;
    let Some(list) = list.upgrade() else { return Ok(()) };
    let now = server_ms(time);
    for (member, until) in entries {
        let left = (until as u64).saturating_sub(now);
        if let Ok(digest) = member.try_into() {
            list.insert(digest, left);
        }
    }
    Ok(())
}

/// A message: 32 bytes of digest, then the lifetime in milliseconds as text.
fn read(message: &[u8]) -> Option<(Digest32, u64)> {
    let (digest, ttl_ms) = message.split_first_chunk::<32>()?;
    Some((*digest, std::str::from_utf8(ttl_ms).ok()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_dropped_each_time_that_the_copy_has_doubled() {
        let (mut denied, start) = (Denied::default(), Instant::now());
        let mut add = |count: u32, ttl_ms, at_ms| {
            for _ in 0..count {
                let name = (denied.until.len() as u64, at_ms);
                denied.insert(digest(&format!("{name:?}")), ttl_ms, start + Duration::from_millis(at_ms));
            }
            (denied.until.len(), denied.prune_at)
        };
        assert_eq!(add(1_023, 5_000, 0), (1_023, 1_024));
        assert_eq!(add(1, 1_000, 1), (1_024, 1_024));
        assert_eq!(add(1, 9_000, 1_001), (1_024, 2_046), "the one that is over");
        assert_eq!(add(1_022, 9_000, 1_002), (2_046, 2_046));
        assert_eq!(add(1, 9_000, 5_000), (1_024, 2_046), "those that end now");
    }
}
