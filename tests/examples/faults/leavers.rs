//! Clients that leave at every stage of a request.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::{StreamExt, future::join_all, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};

use crate::{assert_sound, neighbour, process, scaled, server};
use test_support::{
    client::{ALICE, in_time, try_post, within},
    example::Example,
    http::connect,
};

const NETWORK: u8 = 2;
const STAGES: usize = 8;
/// How much smaller the share of all logins that a server answers may get, of which a hashing thread less takes a sixth.
const TOLERANCE: f64 = 0.1;

/// They cost nothing once they have gone: beside another server under the same load, this one answers as large a share
/// of the logins as before. How large, before and after.
pub async fn come_and_go(server: &Example, other: &Example, count: usize, logins: usize) -> (f64, f64) {
    let files = process::usage(server.pid()).files;
    let mut before = [0.0; 3];
    for sample in &mut before {
        *sample = share(server, other, logins).await;
    }
    before.sort_by(f64::total_cmp);
    let before = before[1];
    // Those in the midst of a hash are the last: what they leak would come back while others wait.
    let all = stream::iter(0..count).for_each_concurrent(100, |number| leave(server, number * STAGES / count, number));
    in_time(Duration::from_secs(60), "clients that leave", all).await;
    // Names and addresses that hold places for clients who have gone would be busy for half a minute.
    within(Duration::from_secs(5), "a login where the others left", async || {
        try_post(server.address, neighbour(NETWORK, 0), "/token", ALICE).await.unwrap().status == 200
    })
    .await;
    let mut after = Vec::new();
    // What has leaked stays away; what else the machine does comes and goes, so a share that is smaller is taken again.
    while after.last().is_none_or(|after| before - after > TOLERANCE) {
        assert!(after.len() < 5, "{before:.2} of all logins before, {after:.2?} after");
        after.push(share(server, other, logins).await);
    }
    within(Duration::from_secs(15), "the end of their connections", async || {
        process::usage(server.pid()).files <= files + 5
    })
    .await;
    (before, after.pop().unwrap())
}

async fn leave(server: &Example, stage: usize, number: usize) {
    let mut stream = connect(server.address, neighbour(NETWORK, 0)).await.unwrap();
    let head = "host: x\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length";
    let login = format!("POST /token HTTP/1.1\r\n{head}: {}\r\n\r\n{ALICE}", ALICE.len());
    let mut first = [0; 1_000];
    match stage {
        // Half a body, and a polite end.
        0 | 1 => {
            stream.write_all(&login.as_bytes()[..login.len() - 10]).await.unwrap();
            sleep(Duration::from_millis(number as u64 % 5)).await;
            let _ = stream.shutdown().await;
        }
        // Half a body, and a reset.
        2 => {
            stream.write_all(&login.as_bytes()[..login.len() - 10]).await.unwrap();
            stream.set_zero_linger().unwrap();
        }
        // When the first byte of the answer is in.
        3 => {
            stream.write_all(login.as_bytes()).await.unwrap();
            let _ = timeout(Duration::from_secs(10), stream.read_exact(&mut first[..1])).await;
        }
        // In the midst of a large file.
        4 => {
            stream.write_all(b"GET /swagger-ui/swagger-ui-bundle.js HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            timeout(Duration::from_secs(10), stream.read_exact(&mut first)).await.unwrap().unwrap();
            assert!(first.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&first));
        }
        // In the midst of an echo, both ways.
        5 => {
            stream.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n").await.unwrap();
            stream.write_all(&[b'x'; 50_000]).await.unwrap();
            timeout(Duration::from_secs(10), stream.read_exact(&mut first)).await.unwrap().unwrap();
        }
        // While it waits for its place or its hash, or while that is under way.
        _ => {
            stream.write_all(login.as_bytes()).await.unwrap();
            sleep(Duration::from_millis(number as u64 % 20)).await;
            stream.set_zero_linger().unwrap();
        }
    }
}

/// The share that one of two servers has in so many logins, when each has four clients that ask again and again: what
/// else the machine does slows both down.
async fn share(server: &Example, other: &Example, logins: usize) -> f64 {
    let (own, all) = (&AtomicUsize::new(0), &AtomicUsize::new(0));
    let clients = (0..8).map(|number| async move {
        let asked = if number % 2 == 0 { server } else { other };
        while all.load(Ordering::Relaxed) < logins {
            let from = neighbour(NETWORK, number / 2);
            let reply = try_post(asked.address, from, "/token", ALICE).await.unwrap();
            match reply.status {
                200 if number % 2 == 0 => {
                    own.fetch_add(1, Ordering::Relaxed);
                    all.fetch_add(1, Ordering::Relaxed);
                }
                200 => drop(all.fetch_add(1, Ordering::Relaxed)),
                503 => {}
                _ => panic!("{reply:?}"),
            }
        }
    });
    in_time(Duration::from_secs(60), "logins", join_all(clients)).await;
    own.load(Ordering::Relaxed) as f64 / all.load(Ordering::Relaxed) as f64
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_leave_cost_nothing() {
    let (server, other) = (server(&[]), server(&[]));
    // Enough for more to leave during their hash than there are places.
    come_and_go(&server, &other, scaled(1_000).max(200), scaled(200).max(50)).await;
    assert_sound(&server);
}
