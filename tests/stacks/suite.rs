//! The rules, over every stack that the crate serves, through real sockets.

mod axum_routing;
mod bodies;
mod cases;
mod flows;
mod grpc;
mod passthrough;
mod setup;
mod slow_stores;
mod stacks;
mod threats;
mod tower_contract;
