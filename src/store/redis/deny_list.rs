//! Revoked access tokens in Redis.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use redis::{AsyncConnectionConfig, Client, RedisError};
use tokio::time::{sleep, timeout};

use super::{
    connection::{Connection, MAX_MS, millis, server_ms, spawn},
    scripts::DENY,
};
use crate::store::{
    DenyList, StoreFuture,
    memory::{MemoryDenyList, TokenDigest},
};

/// The capacity of the list. When it is full, `deny` fails.
const MAX_ENTRIES: &[u8] = b"1000000";
const RECONNECT: Duration = Duration::from_millis(250);
/// After so long without a message, the subscription is checked.
const QUIET: Duration = Duration::from_millis(250);
const ANSWER: Duration = Duration::from_millis(400);
/// After connecting, the whole list is read at once, which may take long.
const CATCH_UP: Duration = Duration::from_secs(10);

/// Revoked access tokens in Redis. Each process has a copy, which the guard reads without waiting.
///
/// 1. The copy follows the list in the background. While Redis is unreachable the copy keeps what it has, which is nothing
///    before the first connection.
/// 2. The list holds 1,000,000 tokens that have not expired. When it is full, `deny` fails.
///
/// [`RedisStores::deny_list`](super::RedisStores::deny_list) returns it.
///
/// ```
/// use tower_oauth2_password::store::{DenyList, redis::RedisStores};
///
/// let list = RedisStores::open("redis://127.0.0.1:6379")?.deny_list();
/// assert!(!list.is_denied("jti-1"));
/// # Ok::<(), tower_oauth2_password::InvalidConfig>(())
/// ```
#[derive(Clone, Debug)]
pub struct RedisDenyList {
    local: Arc<LocalCopy>,
}

#[derive(Debug)]
struct LocalCopy {
    connection: Arc<Connection>,
    key: String,
    tokens: MemoryDenyList,
    following: AtomicBool,
}

impl LocalCopy {
    fn insert(&self, token: TokenDigest, ttl_ms: u64) {
        self.tokens.insert(token, Duration::from_millis(ttl_ms.min(MAX_MS)));
    }
}

impl RedisDenyList {
    pub(super) fn new(connection: Arc<Connection>, prefix: &str) -> Self {
        let key = format!("{prefix}:deny");
        let tokens = MemoryDenyList::new().with_capacity(usize::MAX);
        let list = Self { local: Arc::new(LocalCopy { connection, key, tokens, following: AtomicBool::new(false) }) };
        list.follow();
        list
    }

    fn follow(&self) {
        if !self.local.following.swap(true, Ordering::AcqRel) {
            let client = self.local.connection.client.clone();
            let spawned = spawn(follow(client, self.local.key.clone(), Arc::downgrade(&self.local)));
            self.local.following.store(spawned, Ordering::Release);
        }
    }
}

impl DenyList for RedisDenyList {
    fn deny<'a>(&'a self, token_id: &'a str, ttl: Duration, deadline: Instant) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            self.follow();
            let token = TokenDigest::of(token_id);
            let ttl_ms = millis(ttl).to_string();
            let arguments = [token.0.as_slice(), ttl_ms.as_bytes(), MAX_ENTRIES];
            self.local.connection.run::<u8>(&DENY, &self.local.key, &arguments, deadline).await?;
            self.local.insert(token, millis(ttl));
            Ok(())
        })
    }

    fn is_denied(&self, token_id: &str) -> bool {
        self.local.tokens.is_denied(token_id)
    }
}

async fn follow(client: Client, key: String, list: Weak<LocalCopy>) {
    while list.strong_count() > 0 {
        // However the subscription ends, connecting again fixes it.
        drop(subscription(&client, &key, &list).await);
        sleep(RECONNECT).await;
    }
}

async fn subscription(client: &Client, key: &str, list: &Weak<LocalCopy>) -> Result<(), RedisError> {
    let Ok(subscription) = timeout(ANSWER, client.get_async_pubsub()).await else { return Ok(()) };
    let (mut sink, mut messages) = subscription?.split();
    let Ok(subscribed) = timeout(ANSWER, sink.subscribe(key)).await else { return Ok(()) };
    subscribed?;
    // After subscribing, so that no token falls between the list and the messages.
    let Ok(caught_up) = timeout(CATCH_UP, catch_up(client, key, list)).await else { return Ok(()) };
    caught_up?;
    loop {
        match timeout(QUIET, messages.next()).await {
            Ok(Some(message)) => {
                let Some(list) = list.upgrade() else { return Ok(()) };
                if let Some((token, ttl_ms)) = read(message.get_payload_bytes()) {
                    list.insert(token, ttl_ms);
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

async fn catch_up(client: &Client, key: &str, list: &Weak<LocalCopy>) -> Result<(), RedisError> {
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    let mut both = redis::pipe();
    both.cmd("TIME").cmd("ZRANGE").arg(key).arg(0).arg(-1).arg("WITHSCORES");
    let (time, entries): (Time, Vec<(Vec<u8>, f64)>) = both.query_async(&mut connection).await?;
    let Some(list) = list.upgrade() else { return Ok(()) };
    let now = server_ms(time);
    for (member, until) in entries {
        if let Ok(digest) = member.try_into() {
            list.insert(TokenDigest(digest), (until as u64).saturating_sub(now));
        }
    }
    Ok(())
}

/// A message: 16 bytes of digest, then the lifetime in milliseconds as text.
fn read(message: &[u8]) -> Option<(TokenDigest, u64)> {
    let (digest, ttl_ms) = message.split_first_chunk::<16>()?;
    Some((TokenDigest(*digest), std::str::from_utf8(ttl_ms).ok()?.parse().ok()?))
}
