//! Shared code for the tests of several packages.

pub mod certificates;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod example;
pub mod http;
pub mod log;
pub mod oneshot;
pub mod port;
pub mod postgres;
pub mod redis;
pub mod refresh_model;
#[cfg(feature = "model")]
pub mod refresh_server;
pub mod secrets;
pub mod sentinel;
pub mod slow;
pub mod tally;

use std::path::Path;

/// The folder of the crate's own package, which is the root of the workspace.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
