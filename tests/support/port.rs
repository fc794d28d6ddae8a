//! Free ports for servers that need a port in their settings.

use std::{
    collections::HashSet,
    hash::{BuildHasher, Hasher, RandomState},
    net::TcpListener,
    sync::{LazyLock, Mutex},
};

/// Tests that run beside each other get different ports.
static TAKEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A port below the system's ephemeral ports, so that no connection takes it while the server is down. The port 10,000 above
/// it is free, too: nodes of a Redis Cluster talk to each other there.
pub fn free_port() -> u16 {
    loop {
        let port = 10_000 + (RandomState::new().build_hasher().finish() % 10_000) as u16;
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + 10_000) && TAKEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}
