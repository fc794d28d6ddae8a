//! The stores in real databases. One program, so that the test that waits for half a minute runs beside the others.
#![cfg(all(feature = "postgres", feature = "sqlite"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

mod contract;
mod killed;
mod model;
mod postgres;
mod sqlite;
mod support;
