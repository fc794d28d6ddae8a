#![doc = include_str!("../README.md")]

mod attempts;
mod attempts_race;
mod deny_list;
mod refresh;
mod refresh_race;
mod refresh_second_factor;
mod refresh_time;
mod support;

use std::{slice::from_ref, sync::Arc};

use tower_oauth2_password::store::{AttemptStore, DenyList, RefreshStore};

pub use self::support::Job;
use self::support::Race;

/// Checks a [`RefreshStore`] against its contract. This takes a few seconds. Its races run in one task: they expose a
/// store that reads, awaits, and then writes.
///
/// # Panics
/// When a clause of the contract is broken, or a call fails.
///
/// ```
/// use tower_oauth2_password::store::MemoryRefreshStore;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// tower_oauth2_password_testkit::refresh_store(MemoryRefreshStore::new()).await;
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
pub async fn refresh_store(store: impl RefreshStore) {
    let store = Arc::new(store);
    refresh::check(&*store).await;
    refresh_race::check(from_ref(&store), Race::OneTask).await;
    refresh_race::a_dropped_rotation_is_done_or_not(&*store).await;
    refresh_time::check(&*store).await;
    refresh_second_factor::check(&*store).await;
}

/// Checks that each call of a [`RefreshStore`] is one atomic step, wherever it runs. `stores` are handles of one store,
/// as several processes would have them (clones, or separate connections). `spawn` runs jobs in parallel.
///
/// # Panics
/// When a clause of the contract is broken, or a call fails.
///
/// ```
/// use tower_oauth2_password::store::MemoryRefreshStore;
///
/// # tokio::runtime::Builder::new_multi_thread().enable_time().build()?.block_on(async {
/// let store = MemoryRefreshStore::new();
/// let spawn = |job| drop(tokio::spawn(job));
/// tower_oauth2_password_testkit::refresh_store_in_parallel([store.clone(), store], spawn).await;
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
pub async fn refresh_store_in_parallel<S: RefreshStore>(
    stores: impl IntoIterator<Item = S>,
    spawn: impl Fn(Job) + Send + Sync,
) {
    let stores: Vec<_> = stores.into_iter().map(Arc::new).collect();
    refresh_race::check(&stores, Race::Spawned(&spawn)).await;
}

/// Checks an [`AttemptStore`] against its contract. This takes a few seconds, or half a minute if the store uses the
/// default [`AttemptStore::abandon`].
///
/// # Panics
/// When a clause of the contract is broken, or a call fails.
pub async fn attempt_store(store: impl AttemptStore) {
    let store = Arc::new(store);
    attempts::check(&*store).await;
    attempts_race::check(from_ref(&store), Race::OneTask).await;
}

/// Checks that an [`AttemptStore`] frees an unsettled slot within 30 seconds. It waits that long.
///
/// # Panics
/// When a clause of the contract is broken, or a call fails.
pub async fn attempt_store_lease(store: impl AttemptStore) {
    attempts::check_lease(&store).await;
}

/// Checks that `reserve` is one atomic step, wherever it runs. `stores` are handles of one store, as several processes
/// would have them (clones, or separate connections). `spawn` runs jobs in parallel.
///
/// # Panics
/// When a clause of the contract is broken, or a call fails.
pub async fn attempt_store_in_parallel<S: AttemptStore>(
    stores: impl IntoIterator<Item = S>,
    spawn: impl Fn(Job) + Send + Sync,
) {
    let stores: Vec<_> = stores.into_iter().map(Arc::new).collect();
    attempts_race::check(&stores, Race::Spawned(&spawn)).await;
}

/// Checks a [`DenyList`] against its contract. This takes a few seconds.
///
/// # Panics
/// When a clause of the contract is broken, or a call fails.
pub async fn deny_list(list: impl DenyList) {
    deny_list::check(&Arc::new(list)).await;
}

/// Checks that a token denied through one handle of a list is denied through another within a second. The handles may
/// be two clones, or those of two processes.
///
/// # Panics
/// When a clause of the contract is broken, or a call fails.
pub async fn deny_list_shared(one: impl DenyList, other: impl DenyList) {
    deny_list::check_shared(&one, &other).await;
}
