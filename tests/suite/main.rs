//! The rules, over every stack that the crate serves, through real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

mod axum_routing;
mod cases;
mod flows;
mod grpc;
mod passthrough;
mod setup;
mod slow_stores;
mod stacks;
#[path = "../support/mod.rs"]
mod support;
mod threats;
mod tower_contract;
