//! Faults against the example server as a process, at a tenth of their full size unless `FAULTS_SCALE` says otherwise.
//! `.ci/soak` runs all of them in turn for a given time.
#![cfg(target_os = "linux")]

mod clock;
mod crowd;
mod family;
mod flush;
mod kill;
mod leavers;
mod outage;
mod pages;
mod process;
mod sigterm;
mod soak;
mod stuck;
mod traffic;

use std::net::Ipv4Addr;

use test_support::{client::SECRET, example::Example};

/// The full number multiplied by `FAULTS_SCALE`, at least 1.
fn scaled(full: usize) -> usize {
    let scale = std::env::var("FAULTS_SCALE").unwrap_or_else(|_| "0.1".to_owned());
    let scale: f64 = scale.parse().unwrap_or_else(|_| panic!("FAULTS_SCALE is no number such as 0.1: {scale}"));
    ((full as f64 * scale) as usize).max(1)
}

/// The server under test, with enough open files for thousands of connections in it and in its clients.
fn server(variables: &[(&str, &str)]) -> Example {
    process::allow_files(8_192);
    Example::start("server", &[&[SECRET, ("RUST_LOG", "warn")], variables].concat())
}

/// One of many client addresses. Each fault has its own network.
fn neighbour(network: u8, number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, network, (number / 250) as u8, (number % 250) as u8 + 1)
}

/// The server is running, and none of its threads has panicked.
fn assert_sound(server: &Example) {
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
    process::usage(server.pid());
}
