//! Thousands of logins at once.

use std::time::Duration;

use futures_util::future::join_all;

use crate::{assert_sound, neighbour, scaled, server};
use test_support::{
    client::{ALICE, BOB, eventually, in_time, log_in, request, try_post},
    example::Example,
    http::connect,
};

const NETWORK: u8 = 1;
const ADDRESSES: usize = 100;
const GUESS: &str = "grant_type=password&username=mallory&password=guess";

/// Every login gets a reply: accepted, refused, or a 429 or 503 with the time to retry. Returns how many were accepted.
pub async fn at_once(server: &Example, count: usize) -> usize {
    let logins = join_all((0..count).map(|number| async move {
        let form = [ALICE, BOB, ALICE, GUESS][number % 4];
        let reply = try_post(server.address, neighbour(NETWORK, number / 4 % ADDRESSES), "/token", form).await;
        let reply = reply.unwrap_or_else(|error| panic!("login {number} of {count}: {error}"));
        match reply.status {
            200 => assert_ne!(form, GUESS, "a guess was let in"),
            400 => assert_eq!((form, reply.text("error").as_str()), (GUESS, "invalid_grant")),
            429 | 503 => {
                let wait = reply.header("retry-after").and_then(|value| value.parse::<u64>().ok());
                assert!(wait.is_some_and(|seconds| seconds >= 1), "{reply:?}");
            }
            _ => panic!("{reply:?}"),
        }
        reply.status
    }));
    let others = async {
        for _ in 0..10 {
            assert_eq!(request(server, "GET", "/", &[], "").await.status, 200);
        }
    };
    let (logins, ()) = in_time(Duration::from_secs(30), "logins at once", async { tokio::join!(logins, others) }).await;
    let let_in = logins.iter().filter(|status| **status == 200).count();
    assert!(let_in > 0, "of {count}, none was let in");
    eventually("room for one more login", async || {
        try_post(server.address, neighbour(NETWORK, 0), "/token", ALICE).await.unwrap().status == 200
    })
    .await;
    let_in
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_concurrent_logins_is_answered() {
    let server = server(&[]);
    at_once(&server, scaled(2_000)).await;
    log_in(&server).await;
    assert_sound(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_served_while_the_server_is_busy() {
    let server = server(&[]);
    server.signal("-STOP");
    let burst = join_all((0..1_000).map(async |number| connect(server.address, neighbour(NETWORK, number)).await));
    let burst = in_time(Duration::from_secs(10), "connections", burst).await;
    server.signal("-CONT");
    assert_eq!(burst.iter().filter(|stream| stream.is_ok()).count(), 1_000);
    log_in(&server).await;
    assert_sound(&server);
}
