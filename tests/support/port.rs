//! Ports for servers that must be told theirs.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    net::TcpListener,
};

/// Below those that the system gives to connections: one of many could take it while the server is away.
pub fn free_port() -> u16 {
    loop {
        let port = 10_000 + (RandomState::new().build_hasher().finish() % 20_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
