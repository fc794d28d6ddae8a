//! What the tests of several packages need.

pub mod client;
pub mod example;
pub mod http;
pub mod port;
pub mod postgres;
pub mod redis;
pub mod refresh_model;
pub mod secrets;
pub mod slow;
pub mod tally;

use std::path::Path;

/// The folder of the crate's own package.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
