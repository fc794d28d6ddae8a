//! Where state lives: in this process, or in Redis for several.

use tower_oauth2_password::{
    BoxError, Secret,
    store::{AttemptStore, DenyList, MemoryAttemptStore, MemoryDenyList, MemoryRefreshStore, RefreshStore},
};

pub(crate) trait Stores {
    fn refresh_tokens(&self) -> impl RefreshStore;
    fn attempts(&self) -> impl AttemptStore;
    fn deny_list(&self) -> impl DenyList + Clone;
}

struct Memory;

impl Stores for Memory {
    fn refresh_tokens(&self) -> impl RefreshStore {
        MemoryRefreshStore::new()
    }

    fn attempts(&self) -> impl AttemptStore {
        MemoryAttemptStore::new()
    }

    fn deny_list(&self) -> impl DenyList + Clone {
        MemoryDenyList::new()
    }
}

pub(crate) fn memory() -> impl Stores {
    Memory
}

#[cfg(feature = "redis")]
impl Stores for tower_oauth2_password::store::redis::RedisStores {
    fn refresh_tokens(&self) -> impl RefreshStore {
        self.refresh_tokens()
    }

    fn attempts(&self) -> impl AttemptStore {
        self.attempts()
    }

    fn deny_list(&self) -> impl DenyList + Clone {
        self.deny_list()
    }
}

#[cfg(feature = "redis")]
pub(crate) fn redis(url: &Secret) -> Result<impl Stores, BoxError> {
    let stores = tower_oauth2_password::store::redis::RedisStores::open(url.expose());
    // The cause may quote the URL, and with it a password.
    stores.map_err(|_| "REDIS_URL is no URL such as redis://127.0.0.1:6379/0".into())
}

#[cfg(not(feature = "redis"))]
pub(crate) fn redis(_: &Secret) -> Result<impl Stores, BoxError> {
    Err::<Memory, _>("REDIS_URL is set: start with cargo run --example server --features redis".into())
}
