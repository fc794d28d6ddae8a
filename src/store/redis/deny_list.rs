//! Revoked access tokens in Redis.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, UNIX_EPOCH};

use futures_util::StreamExt as _;
use redis::aio::PubSubStream;
use tokio::time::{sleep, timeout, timeout_at};

use super::connection::{MAX_MS, hex, millis, spawn};
use super::nodes::Nodes;
use super::scripts::{BEAT, DENY, READ_PAGE};
use crate::store::deny_list::Denial;
use crate::store::memory::{Entry, MemoryDenyList};
use crate::store::{DenyList, StoreFuture, TokenRef, in_time};
use crate::sync::{Mutex, OnDrop, lock};
use crate::{error::BoxError, observe, secret::random};

/// The capacity of the list. When it is full, `deny` fails.
const MAX_ENTRIES: u64 = 1_000_000;
/// The shortest and the longest wait before connecting again: not all processes should read the list at the same moment.
const RECONNECT_MS: [u64; 2] = [100, 500];
/// The pause between two proofs that messages arrive.
const QUIET: Duration = Duration::from_millis(250);
/// A message that was published must arrive within this time.
const HEARD: Duration = Duration::from_secs(1);
/// How many entries are read at once: Redis does nothing else meanwhile.
const PAGE: usize = 2_000;
/// Each page is read within this time.
const READ: Duration = Duration::from_secs(5);

/// Revoked access tokens in Redis. Each process has a copy, which the guard reads without waiting.
///
/// 1. The copy follows the list in the background, from the first call inside a tokio runtime on. While Redis is
///    unreachable the copy keeps what it has, which is nothing before the first connection. The log says when that begins
///    and ends. [`is_in_sync`](Self::is_in_sync) says it, too, for readiness probes.
/// 2. The list holds 1,000,000 entries that have not expired. When it is full, `deny` fails.
///
/// [`RedisStores::deny_list`](super::RedisStores::deny_list) returns it.
///
/// ```
/// use tower_oauth2_password::store::{DenyList, TokenRef, redis::RedisStores};
///
/// let list = RedisStores::open("redis://127.0.0.1:6379")?.deny_list();
/// assert!(!list.is_denied(TokenRef::new("alice")) && !list.is_in_sync(), "outside a runtime it cannot connect");
/// # Ok::<(), tower_oauth2_password::InvalidConfig>(())
/// ```
#[derive(Clone, Debug)]
pub struct RedisDenyList(Arc<LocalCopy>);

#[derive(Debug)]
struct LocalCopy {
    connection: Arc<Nodes>,
    key: String,
    entries: MemoryDenyList,
    following: AtomicBool,
    /// `None` before the first connection, or the first failure.
    in_sync: Mutex<Option<bool>>,
}

impl LocalCopy {
    /// Remembers an entry until this time of Redis's clock.
    fn insert(&self, member: &[u8], until: u64, now: u64) {
        if let Some(entry) = read(member, until) {
            let left = Duration::from_millis(until.saturating_sub(now).min(MAX_MS));
            // What Redis holds is held here, too, whatever its subject's share.
            self.entries.insert(entry, left, None);
        }
    }

    /// Takes what is published, for a moment, and proves that it arrives. Subscribes and reads the list first.
    async fn keep_up(&self, subscription: &mut Option<PubSubStream>) -> Result<(), BoxError> {
        let Some(messages) = subscription else {
            // In a cluster, this finds the node that has the list. Each node delivers what any of them publishes.
            self.connection.run::<()>(&BEAT, &self.key, "", Instant::now() + HEARD).await?;
            let node = self.connection.owner(&self.key)?;
            let messages = timeout(HEARD, node.server.subscribe(&self.key)).await??;
            return self.catch_up(subscription.insert(messages)).await;
        };
        self.take(messages, Instant::now() + QUIET, None).await?;
        self.prove(messages).await
    }

    /// Publishes a message as `deny` does, and waits for it. A PING would show only that somebody answers.
    async fn prove(&self, messages: &mut PubSubStream) -> Result<(), BoxError> {
        let (beat, deadline) = (format!("\0{}", hex(random()?)), Instant::now() + HEARD);
        while let Err(error) = self.connection.run::<()>(&BEAT, &self.key, &beat, deadline).await {
            // One slow call of the stores makes all others fail for a moment.
            in_time(deadline - QUIET).map_err(|_| error)?;
            sleep(QUIET).await;
        }
        let heard = self.take(messages, deadline, Some(beat.as_bytes())).await?;
        if heard { Ok(()) } else { Err("what is published through Redis does not arrive".into()) }
    }

    /// Takes messages until then, or until this one arrives.
    async fn take(&self, from: &mut PubSubStream, until: Instant, last: Option<&[u8]>) -> Result<bool, BoxError> {
        while let Ok(message) = timeout_at(until.into(), from.next()).await {
            let message = message.ok_or("Redis closed the subscription")?;
            let message = message.get_payload_bytes();
            if let Some((member, until, now)) = parse(message) {
                self.insert(member, until, now);
            } else if last == Some(message) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads the list in pages, the entry that expires last first: meanwhile, entries leave only at the other end. It is read
    /// even if messages do not arrive. They come first: no entry falls between the list and the messages.
    async fn catch_up(&self, messages: &mut PubSubStream) -> Result<(), BoxError> {
        let mut heard = self.prove(messages).await;
        for first in (0..).step_by(PAGE) {
            let (page, deadline) = ((first, first + PAGE - 1), Instant::now() + READ);
            let page = self.connection.run(&READ_PAGE, &self.key, page, deadline).await?;
            let (now, entries): (u64, Vec<(Vec<u8>, f64)>) = page;
            entries.iter().for_each(|(member, until)| self.insert(member, *until as u64, now));
            if heard.is_ok() {
                heard = self.prove(messages).await;
            }
            if entries.len() < PAGE {
                break;
            }
        }
        heard
    }

    fn set_in_sync(&self, result: Result<(), &BoxError>) {
        let before = lock(&self.in_sync).replace(result.is_ok());
        if before != Some(result.is_ok()) {
            observe::deny_list_in_sync(result.map_err(|cause| &**cause as _));
        }
    }
}

impl RedisDenyList {
    pub(super) fn new(connection: Arc<Nodes>, prefix: &str) -> Self {
        let (key, entries) = (format!("{prefix}:deny"), MemoryDenyList::new().with_capacity(usize::MAX));
        let (following, in_sync) = (AtomicBool::new(false), Mutex::new(None));
        let list = Self(Arc::new(LocalCopy { connection, key, entries, following, in_sync }));
        list.follow();
        list
    }

    /// Whether the copy holds all that Redis holds, but for the last second: every 250 ms the task publishes a message, which
    /// must arrive within a second. Otherwise this is false, and the copy reads the whole list again every two seconds until
    /// messages arrive.
    pub fn is_in_sync(&self) -> bool {
        self.follow();
        *lock(&self.0.in_sync) == Some(true)
    }

    /// Starts the task that keeps the copy, unless it runs.
    fn follow(&self) {
        if !self.0.following.load(Ordering::Acquire) && !self.0.following.swap(true, Ordering::AcqRel) {
            let list = Arc::downgrade(&self.0);
            // A task ends with its runtime. The next call may come from another one.
            let followed = list.clone();
            let ended = OnDrop(move || {
                if let Some(list) = followed.upgrade() {
                    list.set_in_sync(Err(&"the runtime of its task has ended".into()));
                    list.following.store(false, Ordering::Release);
                }
            });
            spawn(async move {
                let _ended = ended;
                follow(list).await;
            });
        }
    }
}

impl DenyList for RedisDenyList {
    fn deny<'a>(&'a self, denial: Denial<'a>, deadline: Instant) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            self.follow();
            let entry = Entry::of(&denial);
            // By the copy: a script on one key cannot count what a subject has.
            if self.0.entries.is_full_for(entry) {
                return Ok(false);
            }
            let ttl = millis(denial.ttl);
            let (member, until, kind) = match entry.before {
                None => ([entry.subject, entry.key].concat(), ttl, "in"),
                Some(end) => {
                    // Few different times, as each makes another member of the set.
                    let ttl = ttl.next_power_of_two();
                    let end = end.duration_since(UNIX_EPOCH).unwrap_or_default();
                    ([entry.subject.as_slice(), &ttl.to_be_bytes()].concat(), millis(end) + ttl, "at")
                }
            };
            let (local, arguments) = (&self.0, (&member, until, MAX_ENTRIES, kind));
            let (until, now) = local.connection.run(&DENY, &local.key, arguments, deadline).await?;
            self.0.insert(&member, until, now);
            Ok(true)
        })
    }

    fn is_denied(&self, token: TokenRef<'_>) -> bool {
        self.follow();
        self.0.entries.is_denied(token)
    }
}

/// A member of the sorted set: the digests of a subject and of a token or session, or that of a subject and the time for
/// which its end is remembered.
fn read(member: &[u8], until: u64) -> Option<Entry> {
    let (subject, rest) = member.split_first_chunk::<16>()?;
    let (key, before) = match <[u8; 8]>::try_from(rest) {
        Ok(ttl) => (*subject, Some(Duration::from_millis(until.checked_sub(u64::from_be_bytes(ttl))?))),
        Err(_) => (rest.try_into().ok()?, None),
    };
    Some(Entry { key, subject: *subject, before: before.map(|end| UNIX_EPOCH + end) })
}

async fn follow(list: Weak<LocalCopy>) {
    let mut subscription = None;
    while let Some(list) = list.upgrade() {
        let result = list.keep_up(&mut subscription).await;
        list.set_in_sync(result.as_ref().copied());
        drop(list);
        if result.is_err() {
            // However the subscription ended, connecting again fixes it, or the log says why not.
            subscription = None;
            let [random] = random().unwrap_or_default();
            let [shortest, longest] = RECONNECT_MS;
            sleep(Duration::from_millis(shortest + (longest - shortest) * u64::from(random) / 255)).await;
        }
    }
}

/// A message: the length of the member, the member, and two times as text. `None` for what `prove` publishes.
fn parse(message: &[u8]) -> Option<(&[u8], u64, u64)> {
    let (length, rest) = message.split_first()?;
    let (member, times) = rest.split_at_checked(usize::from(*length))?;
    let (until, now) = std::str::from_utf8(times).ok()?.split_once(' ')?;
    Some((member, until.parse().ok()?, now.parse().ok()?))
}
