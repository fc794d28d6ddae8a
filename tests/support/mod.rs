//! What the tests of several files need.
#![allow(dead_code, unreachable_pub)]

pub mod client;
pub mod example;
pub mod http;
pub mod port;
pub mod redis;
pub mod secrets;
pub mod slow;
pub mod tally;
