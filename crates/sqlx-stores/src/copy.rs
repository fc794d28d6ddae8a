//! The copy of the deny list that each process has.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, UNIX_EPOCH};

use tower_oauth2_password::BoxError;
use tower_oauth2_password::store::{Denial, Denied, DenyList as _, MemoryDenyList, TokenRef};

use crate::call::{MOST_DENIED, duration, spawn};
use crate::record::{denied_subject, digest};

/// The shortest and the longest wait before connecting again: not all processes should read the list at the same moment.
const RECONNECT_MS: [u64; 2] = [100, 500];
/// After connecting, the whole list is read, which may take long.
pub(crate) const CATCH_UP: Duration = Duration::from_secs(30);
/// A database that does not answer in this time is not followed any more.
pub(crate) const ANSWER: Duration = Duration::from_millis(400);

#[derive(Debug)]
pub(crate) struct LocalCopy {
    entries: MemoryDenyList,
    following: AtomicBool,
    /// `None` before the first connection, or the first failure.
    in_sync: Mutex<Option<bool>>,
}

/// Where the copy comes from.
pub(crate) trait Source: Send + Sync + 'static {
    /// Reads the whole list, and then what is added to it, until that fails or nobody needs the copy any more.
    fn read_into(&self, copy: &Weak<LocalCopy>) -> impl Future<Output = Result<(), BoxError>> + Send;
}

impl LocalCopy {
    pub(crate) fn new() -> Arc<Self> {
        let entries = MemoryDenyList::new().with_capacity(usize::MAX);
        Arc::new(Self { entries, following: AtomicBool::new(false), in_sync: Mutex::new(None) })
    }

    /// Remembers an entry of the table for so many microseconds.
    pub(crate) async fn insert(&self, key: &[u8], before: Option<i64>, left: i64) -> Result<(), BoxError> {
        let key = hex(key);
        let end = |nanos: i64| UNIX_EPOCH + Duration::from_nanos(nanos.try_into().unwrap_or_default());
        let denied = before.map_or(Denied::Token(&key), |nanos| Denied::SubjectBefore(end(nanos)));
        // Each has a subject of its own: what the table holds is held here, too, whatever the share of its subject.
        let denial = Denial::new(denied, None, &key, duration(left));
        self.entries.deny(denial, Instant::now() + CATCH_UP).await.map(drop)
    }

    pub(crate) fn is_denied(&self, token: TokenRef<'_>) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        let named = |kind, id: Option<&str>| {
            id.is_some_and(|id| {
                let key = hex(&digest(kind, &[id]));
                let mut token = TokenRef::new("");
                token.id = Some(&key);
                self.entries.is_denied(token)
            })
        };
        let subject = hex(&denied_subject(token.issuer, token.subject));
        let mut any = TokenRef::new(&subject);
        (any.issued_at, any.session_began) = (token.issued_at, token.session_began);
        named("token", token.id) || named("session", token.session_id) || self.entries.is_denied(any)
    }

    /// Whether the table may be full, which it then has to find out itself: here, expired entries count for a while.
    pub(crate) fn may_be_full(&self) -> bool {
        i64::try_from(self.entries.len()).is_ok_and(|entries| entries >= MOST_DENIED)
    }

    pub(crate) fn is_in_sync(&self) -> bool {
        *self.in_sync.lock().unwrap_or_else(PoisonError::into_inner) == Some(true)
    }

    pub(crate) fn set_in_sync(&self, result: Result<(), &BoxError>) {
        let before = self.in_sync.lock().unwrap_or_else(PoisonError::into_inner).replace(result.is_ok());
        if before != Some(result.is_ok()) {
            match result {
                Ok(()) => tracing::info!("the deny list is in sync"),
                Err(cause) => tracing::warn!(%cause, "the deny list is not in sync: revoked tokens may pass"),
            }
        }
    }

    /// Starts the task that keeps the copy, unless it runs. A task ends with its runtime, and the next call may come from
    /// another one.
    pub(crate) fn follow<S: Source>(self: &Arc<Self>, source: impl FnOnce() -> S) {
        if !self.following.load(Ordering::Acquire) && !self.following.swap(true, Ordering::AcqRel) {
            let (ended, copy, source) = (Ended(Arc::downgrade(self)), Arc::downgrade(self), source());
            spawn(async move {
                let _ended = ended;
                keep(copy, source).await;
            });
        }
    }
}

struct Ended(Weak<LocalCopy>);

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(copy) = self.0.upgrade() {
            copy.set_in_sync(Err(&"the runtime of its task has ended".into()));
            copy.following.store(false, Ordering::Release);
        }
    }
}

async fn keep(copy: Weak<LocalCopy>, source: impl Source) {
    loop {
        // However it ends, connecting again fixes it, or the log says why not.
        let ended = source.read_into(&copy).await;
        let Some(copy) = copy.upgrade() else { return };
        copy.set_in_sync(ended.as_ref().copied());
        drop(copy);
        let [shortest, longest] = RECONNECT_MS;
        let random = getrandom::u32().unwrap_or_default() % 256;
        tokio::time::sleep(Duration::from_millis(shortest + (longest - shortest) * u64::from(random) / 255)).await;
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
