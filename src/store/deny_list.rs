//! Access tokens that were revoked before their end.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::error::{BoxFuture, StoreError};

/// Remembers revoked access tokens by their `jti`, for as long as they would have been good.
///
/// # Contract
/// - After `deny` was answered `Ok`, `is_denied` says so at once in this process, and within a second in every process
///   that shares the store.
/// - `is_denied` does not wait: the guard asks it on every request.
/// - `deadline` is when the caller gives up: `deny` takes no effect after it, and one that comes late is an `Err`.
/// - Memory is bounded; `deny` fails rather than forgetting a token that is still good.
pub trait DenyList: Send + Sync + 'static {
    /// Remembers a token for `ttl`.
    fn deny(
        &self,
        token_id: &str,
        ttl: Duration,
        deadline: Instant,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Whether the token was revoked.
    fn is_denied(&self, token_id: &str) -> bool;
}

impl<D: DenyList> DenyList for Arc<D> {
    fn deny(
        &self,
        token_id: &str,
        ttl: Duration,
        deadline: Instant,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        D::deny(self, token_id, ttl, deadline)
    }

    fn is_denied(&self, token_id: &str) -> bool {
        D::is_denied(self, token_id)
    }
}

/// `DenyList` with its future boxed, so that the guard can hold any of them.
pub(crate) trait DynDenyList: Send + Sync {
    fn deny<'a>(&'a self, token_id: &'a str, ttl: Duration, deadline: Instant)
    -> BoxFuture<'a, Result<(), StoreError>>;
    fn is_denied(&self, token_id: &str) -> bool;
}

impl<D: DenyList> DynDenyList for D {
    fn deny<'a>(
        &'a self,
        token_id: &'a str,
        ttl: Duration,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(DenyList::deny(self, token_id, ttl, deadline))
    }

    fn is_denied(&self, token_id: &str) -> bool {
        DenyList::is_denied(self, token_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryDenyList;

    #[tokio::test]
    async fn a_shared_list_is_the_list() {
        let list = Arc::new(MemoryDenyList::new());
        let hour = Duration::from_secs(3_600);
        DenyList::deny(&list, "a", hour, Instant::now() + hour).await.unwrap();
        assert!(<Arc<MemoryDenyList> as DenyList>::is_denied(&list, "a"));
        assert!(!<Arc<MemoryDenyList> as DenyList>::is_denied(&list, "b"));
    }
}
