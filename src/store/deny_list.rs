//! The store for access tokens that were revoked before they expired.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::StoreFuture;

/// Remembers revoked access tokens by their `jti`, until they would have expired.
///
/// # Contract
/// 1. Once `deny` returned `Ok`, `is_denied` is true: at once in this process, and within a second in every process that
///    shares the store.
/// 2. `is_denied` does not wait. The guard calls it on every request.
/// 3. Memory is bounded. `deny` fails rather than forget a token that is still valid.
/// 4. `deny` has no effect after its `deadline`, and a call that comes later is an error.
///
/// ```
/// use std::{collections::HashSet, sync::RwLock, time::{Duration, Instant}};
/// use tower_oauth2_password::store::{DenyList, StoreFuture};
///
/// /// Never forgets: good for a test, and for nothing else.
/// #[derive(Default)]
/// struct Unbounded(RwLock<HashSet<String>>);
///
/// impl DenyList for Unbounded {
///     fn deny<'a>(&'a self, token_id: &'a str, _ttl: Duration, _deadline: Instant) -> StoreFuture<'a, ()> {
///         Box::pin(async move {
///             self.0.write().map_err(|_| "a thread panicked")?.insert(token_id.to_owned());
///             Ok(())
///         })
///     }
///
///     fn is_denied(&self, token_id: &str) -> bool {
///         self.0.read().is_ok_and(|denied| denied.contains(token_id))
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let list = Unbounded::default();
/// list.deny("jti-1", Duration::from_secs(900), Instant::now()).await?;
/// assert!(list.is_denied("jti-1") && !list.is_denied("jti-2"));
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
pub trait DenyList: Send + Sync + 'static {
    /// Remembers a token for `ttl`.
    fn deny<'a>(&'a self, token_id: &'a str, ttl: Duration, deadline: Instant) -> StoreFuture<'a, ()>;

    /// Whether the token was revoked.
    fn is_denied(&self, token_id: &str) -> bool;
}

impl<D: DenyList + ?Sized> DenyList for Arc<D> {
    fn deny<'a>(&'a self, token_id: &'a str, ttl: Duration, deadline: Instant) -> StoreFuture<'a, ()> {
        D::deny(self, token_id, ttl, deadline)
    }

    fn is_denied(&self, token_id: &str) -> bool {
        D::is_denied(self, token_id)
    }
}
