//! Stores in the memory of one process.
//!
//! 1. Each store is one table behind one lock. A call holds it for about a microsecond, which is nothing beside the password
//!    hash or the signature of the same request; shards would only make the bounds coarser.
//! 2. Each table is bounded. Insertions remove expired entries, so no store needs a thread.

#![expect(missing_debug_implementations, reason = "`MemoryStore` prints no contents")]

mod attempts;
mod deny_list;
mod refresh;
#[cfg(all(test, shuttle))]
mod shuttle_tests;
mod store;
mod table;

#[cfg(feature = "redis")]
pub(super) use self::deny_list::Entry;
pub use self::store::MemoryStore;
use self::{attempts::FailedAttempts, deny_list::DeniedTokens, refresh::Families};

/// Refresh token families in the memory of this process. They end with it.
///
/// When a login needs room in a full store, the family that would expire first is revoked, and its user has to log in
/// again. The default capacity is 100,000 families, at about half a kilobyte each.
///
/// ```
/// use std::time::{Duration, Instant};
/// use tower_oauth2_password::store::{Family, FamilyId, MemoryRefreshStore, Previous, RefreshStore, Rotation, SecretHash};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let store = MemoryRefreshStore::new();
/// let (id, first, second) = (FamilyId([7; 16]), SecretHash([1; 32]), SecretHash([2; 32]));
/// let hour = Duration::from_secs(3_600);
/// let deadline = Instant::now() + hour;
/// store.insert(id, Family::new(first, "alice", 24 * hour, hour), 100, deadline).await?;
/// assert_eq!(store.rotate(id, Previous::new(first, Vec::new()), second, deadline).await?, Rotation::Rotated);
/// assert_eq!(store.rotate(id, Previous::new(first, Vec::new()), second, deadline).await?, Rotation::Mismatch);
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
pub type MemoryRefreshStore = MemoryStore<Families>;

/// Failed attempts in the memory of this process.
///
/// When a new key needs room in a full store, keys whose failures no longer count are removed first, then those with the
/// fewest failures. A key at its limit is never removed: if there is no other, attempts under new keys get a 503. The default
/// capacity is 200,000 keys, which take less than 100 MiB with limits of up to 16 failures, whatever strangers send.
///
/// ```
/// use std::time::{Duration, Instant};
/// use tower_oauth2_password::store::{
///     AttemptKey, AttemptLimit, AttemptOutcome, AttemptStore, MemoryAttemptStore, Reservation, Slot,
/// };
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let store = MemoryAttemptStore::new();
/// let limit = AttemptLimit { failures: 1, window: Duration::from_secs(60) };
/// let (slot, deadline) = (Slot { key: AttemptKey([7; 16]), id: 1, limit }, Instant::now() + limit.window);
/// assert_eq!(store.reserve(slot, deadline).await?, Reservation::Reserved);
/// assert_eq!(store.reserve(Slot { id: 2, ..slot }, deadline).await?, Reservation::Busy);
/// store.settle(slot, AttemptOutcome::Failed, deadline).await?;
/// assert!(matches!(store.reserve(Slot { id: 3, ..slot }, deadline).await?, Reservation::Blocked { .. }));
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
pub type MemoryAttemptStore = MemoryStore<FailedAttempts>;

/// Revoked access tokens in the memory of this process. They are forgotten when it ends.
///
/// A revocation that finds the store full gets a 503. The default capacity is 200,000 entries, at about 200 bytes each, and
/// each subject has a hundred of them at most.
///
/// ```
/// use std::time::{Duration, Instant};
/// use tower_oauth2_password::store::{Denial, Denied, DenyList, MemoryDenyList, TokenRef};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let list = MemoryDenyList::new();
/// let denial = Denial::new(Denied::Session("s-1"), None, "alice", Duration::from_secs(900));
/// assert!(list.deny(denial, Instant::now() + Duration::from_secs(1)).await?);
/// let mut token = TokenRef::new("alice");
/// assert!(!list.is_denied(token));
/// token.session_id = Some("s-1");
/// assert!(list.is_denied(token));
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
pub type MemoryDenyList = MemoryStore<DeniedTokens>;
