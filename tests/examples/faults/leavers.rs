//! Clients that leave at every stage of a request.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};

use crate::{assert_sound, neighbour, process, scaled, server};
use test_support::{
    client::{ALICE, in_time, log_in, try_post, within},
    example::{Example, binary},
    http::connect,
};

const NETWORK: u8 = 2;
const STAGES: usize = 8;
const DURING_HASH: usize = 7;

/// Clients leave at every stage. Then the next login is served, and the server has as many open files as before.
pub async fn come_and_go(server: &Example, count: usize) {
    let files = process::usage(server.pid()).files;
    let each = count / STAGES;
    // Clients that leave during a hash come last: the others fill the queue, and later clients could outlast a leak.
    for stages in [0..DURING_HASH, DURING_HASH..STAGES] {
        let turns = stages.flat_map(|stage| (0..each).map(move |turn| (stage, turn)));
        let all = stream::iter(turns).for_each_concurrent(100, |(stage, turn)| leave(server, stage, turn));
        in_time(Duration::from_secs(60), "clients that leave", all).await;
    }
    // If the slots of clients that left were still reserved, this name and address would be busy for half a minute.
    within(Duration::from_secs(5), "a login where the others left", async || {
        try_post(server.address, neighbour(NETWORK, 0), "/token", ALICE).await.unwrap().status == 200
    })
    .await;
    within(Duration::from_secs(15), "the end of their connections", async || {
        process::usage(server.pid()).files <= files + 5
    })
    .await;
}

async fn leave(server: &Example, stage: usize, turn: usize) {
    // Clients with one address wait for each other's slots.
    let from = neighbour(NETWORK, if stage == DURING_HASH { turn } else { 0 });
    let mut stream = connect(server.address, from).await.unwrap();
    let head = "host: x\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length";
    let login = format!("POST /token HTTP/1.1\r\n{head}: {}\r\n\r\n{ALICE}", ALICE.len());
    let mut first = [0; 1_000];
    match stage {
        // Half a body, then an orderly end.
        0 | 1 => {
            stream.write_all(&login.as_bytes()[..login.len() - 10]).await.unwrap();
            sleep(Duration::from_millis(turn as u64 % 5)).await;
            let _ = stream.shutdown().await;
        }
        // Half a body, then a reset.
        2 => {
            stream.write_all(&login.as_bytes()[..login.len() - 10]).await.unwrap();
            stream.set_zero_linger().unwrap();
        }
        // After the first byte of the response.
        3 => {
            stream.write_all(login.as_bytes()).await.unwrap();
            let _ = timeout(Duration::from_secs(10), stream.read_exact(&mut first[..1])).await;
        }
        // In the middle of a large file.
        4 => {
            stream.write_all(b"GET /swagger-ui/swagger-ui-bundle.js HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            timeout(Duration::from_secs(10), stream.read_exact(&mut first)).await.unwrap().unwrap();
            assert!(first.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&first));
        }
        // In the middle of an echo, in both directions.
        5 => {
            stream.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n").await.unwrap();
            stream.write_all(&[b'x'; 50_000]).await.unwrap();
            timeout(Duration::from_secs(10), stream.read_exact(&mut first)).await.unwrap().unwrap();
        }
        // While it waits for its slot.
        6 => {
            stream.write_all(login.as_bytes()).await.unwrap();
            sleep(Duration::from_millis(turn as u64 % 20)).await;
            stream.set_zero_linger().unwrap();
        }
        // During its hash, which takes longer than until the next one leaves, or while it waits for that. The orderly end
        // leaves the request to be read.
        _ => {
            stream.write_all(login.as_bytes()).await.unwrap();
            sleep(Duration::from_millis(5 * turn as u64)).await;
        }
    }
}

/// A server on one core has one hashing thread. If a client that left kept it, nobody could log in.
fn server_on_one_core() -> Example {
    // Building it may use all cores.
    binary("server");
    let all = sched_getaffinity(None).unwrap();
    let mut one = CpuSet::new();
    one.set((0..CpuSet::MAX_CPU).find(|core| all.is_set(*core)).unwrap());
    sched_setaffinity(None, &one).unwrap();
    let server = server(&[]);
    sched_setaffinity(None, &all).unwrap();
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_leave_cost_nothing() {
    let server = server_on_one_core();
    log_in(&server).await;
    // Enough that more clients leave during their hash than there are slots.
    come_and_go(&server, scaled(1_000).max(200)).await;
    assert_sound(&server);
}
