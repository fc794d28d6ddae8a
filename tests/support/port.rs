//! Free ports for servers that need a port in their settings.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    net::TcpListener,
};

/// A port below the system's ephemeral ports, so that no connection takes it while the server is down.
pub fn free_port() -> u16 {
    loop {
        let port = 10_000 + (RandomState::new().build_hasher().finish() % 20_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
