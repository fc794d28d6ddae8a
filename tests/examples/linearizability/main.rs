//! Two example servers on one Redis, or on one Postgres, clients that use the same tokens at once, and faults. What happens to
//! refresh tokens must be possible for a single, sequential server. A revoked access token must be refused in time, and for
//! good. `LINEARIZABILITY_SECONDS` makes the run longer.

mod access;
mod checker;
mod checker_tests;
mod dice;
mod faults;
mod recorder;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use access::Event;
use checker::{Answer, Asked, LATEST_EFFECT, explain};
use faults::World;
use recorder::NO_ANSWER;

const CLIENTS: usize = 12;
/// In seconds, enough for each fault once.
const SHORT: u64 = 10;
/// The end of a run has no faults: used tokens must still be used, and ended families and access tokens ended.
const CALM: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_on_redis_with_faults_can_be_explained() {
    can_be_explained(World::on_redis().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_on_postgres_with_faults_can_be_explained() {
    can_be_explained(World::on_postgres().await).await;
}

async fn can_be_explained(mut world: World) {
    let seconds = std::env::var("LINEARIZABILITY_SECONDS").map_or(SHORT, |text| text.parse().unwrap());
    let recorder = Arc::new(world.recorder());
    let end_of_faults = Instant::now() + Duration::from_secs(seconds);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let recorder = Arc::clone(&recorder);
            tokio::spawn(async move { recorder.work().await })
        })
        .collect();
    let faults = world.suffer(&recorder, end_of_faults).await;
    let calm_from = recorder.start.elapsed().as_micros() as u64;
    recorder.end.set(Instant::now() + CALM).unwrap();
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
    let times = |event| recorded.access.iter().flatten().filter(|moment| moment.event == event).count();
    let [accepted, revoked, rejected] = [Event::Accepted, Event::Revoked, Event::Refused].map(times);
    for history in &recorded.access {
        access::check(history, calm_from).unwrap_or_else(|reason| panic!("{reason}: {history:#?}"));
    }
    println!("access tokens: {accepted} accepted, {rejected} refused, {revoked} revoked");
    assert!(accepted > 50 && revoked > 10 && rejected > 20, "{accepted}, {revoked}, {rejected}: the run shows little");
    println!("faults: {faults:?}; at most {most_states} states for a family; all can be explained");
    assert!(faults::ALL.iter().all(|fault| faults.contains_key(fault)), "not every fault happened: {faults:?}");
    assert!(done > 200 && refused > 50 && unknown > 20, "{done}, {refused}, {unknown}: the run shows little");
}

/// Random runs show this too rarely: an abandoned revocation reaches Redis long after its deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_abandoned_call_has_no_late_effect() {
    let world = World::on_redis().await;
    let recorder = world.recorder();
    let ask = async |server, asked, token: &str| recorder.operate(server, asked, token, NO_ANSWER).await;
    let (_, token) = recorder.first_tokens(1, true).await.unwrap();
    let (first, successor) = ask(1, Asked::Refresh(0), &token).await;
    let (_, token) = successor.unwrap();

    // Delays the second call of the revocation: the first one only looks up the family.
    world.slow.hold_one(1, Duration::from_micros(LATEST_EFFECT) + Duration::from_millis(1_500));
    let (revocation, _) = ask(1, Asked::Revoke(1), &token).await;
    assert_eq!(revocation.answer, Answer::Unknown, "what was held was not what ends the family");
    tokio::time::sleep(Duration::from_micros(LATEST_EFFECT)).await;
    let (before, successor) = ask(0, Asked::Refresh(1), &token).await;
    let (_, token) = successor.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (after, _) = ask(0, Asked::Refresh(2), &token).await;
    let history = [first, revocation, before, after];
    assert!(explain(&history).is_ok(), "{history:#?}");
}
