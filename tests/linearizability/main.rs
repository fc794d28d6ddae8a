//! Two example servers on one Redis, clients that use the same refresh tokens at once, and faults: the record of what was
//! answered must be one that a single, sequential server could have given. `LINEARIZABILITY_SECONDS` makes it longer.
#![cfg(feature = "redis")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

mod checker;
mod checker_tests;
mod dice;
mod faults;
#[path = "../support/refresh_model.rs"]
#[allow(dead_code)]
mod model;
mod recorder;
#[path = "../support/mod.rs"]
mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use checker::{Answer, explain};
use faults::World;

const CLIENTS: usize = 8;
/// Each fault once.
const SHORT: u64 = 12;
/// Without faults at the end: what was spent or ended must still be.
const CALM: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_with_faults_can_be_explained() {
    let seconds = std::env::var("LINEARIZABILITY_SECONDS").map_or(SHORT, |text| text.parse().unwrap());
    let mut world = World::start().await;
    let recorder = Arc::new(world.recorder());
    let end_of_faults = Instant::now() + Duration::from_secs(seconds) - CALM;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let recorder = Arc::clone(&recorder);
            tokio::spawn(async move { recorder.work(end_of_faults + CALM).await })
        })
        .collect();
    let faults = world.suffer(&recorder, end_of_faults).await;
    for client in clients {
        client.await.unwrap();
    }
    let recorded = Arc::into_inner(recorder).unwrap().into_recorded();

    let operations = || recorded.histories.iter().flatten();
    let count = |answer| operations().filter(|operation| operation.answer == answer).count();
    let (done, refused, unknown) = (count(Answer::Done), count(Answer::Refused), count(Answer::Unknown));
    let mut most_states = 0;
    for history in &recorded.histories {
        match explain(history) {
            Ok(states) => most_states = most_states.max(states),
            Err(reason) => panic!("{reason}: {history:#?}"),
        }
    }
    println!(
        "{seconds} s: {} operations on {} families: {done} done, {refused} refused, {unknown} unknown; {} logins failed",
        operations().count(),
        recorded.logins,
        recorded.failed_logins,
    );
    println!("faults: {faults:?}; at most {most_states} states for a family; all can be explained");
    assert!(faults::ALL.iter().all(|fault| faults.contains_key(fault)), "not every fault happened: {faults:?}");
    assert!(done > 200 && refused > 50 && unknown > 20, "{done}, {refused}, {unknown}: the run shows little");
}
