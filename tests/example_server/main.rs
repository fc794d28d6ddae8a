//! The example server as a process: what `example-server.md` promises, seen from outside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

mod fastapi;
mod logs;
mod oauth2_crate;
mod promises;
mod registry_clients;
mod slow_clients;
mod small_examples;
#[path = "../support/mod.rs"]
mod support;
mod swagger_ui;
#[cfg(feature = "redis")]
mod two_processes;

use support::client;
