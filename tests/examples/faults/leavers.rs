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
/// How much a server's share of all logins may shrink. With one hashing thread less, it would shrink by a sixth.
const TOLERANCE: f64 = 0.1;

/// Clients that have left cost nothing: next to another server under the same load, this one still serves the same
/// share of the logins. Returns the shares before and after.
pub async fn come_and_go(server: &Example, other: &Example, count: usize, logins: usize) -> (f64, f64) {
    let files = process::usage(server.pid()).files;
    let mut before = [0.0; 3];
    for sample in &mut before {
        *sample = share(server, other, logins).await;
    }
    before.sort_by(f64::total_cmp);
    let before = before[1];
    // Clients that leave during a hash come last: what they leak could be recovered while later clients wait.
    let all = stream::iter(0..count).for_each_concurrent(100, |number| leave(server, number * STAGES / count, number));
    in_time(Duration::from_secs(60), "clients that leave", all).await;
    // If the slots of clients that left were still reserved, this name and address would be busy for half a minute.
    within(Duration::from_secs(5), "a login where the others left", async || {
        try_post(server.address, neighbour(NETWORK, 0), "/token", ALICE).await.unwrap().status == 200
    })
    .await;
    let mut after = Vec::new();
    // A leak stays, while other load on the machine comes and goes. So a smaller share is measured again.
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
        // Half a body, then an orderly end.
        0 | 1 => {
            stream.write_all(&login.as_bytes()[..login.len() - 10]).await.unwrap();
            sleep(Duration::from_millis(number as u64 % 5)).await;
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
        // While it waits for its slot or its hash, or during the hash.
        _ => {
            stream.write_all(login.as_bytes()).await.unwrap();
            sleep(Duration::from_millis(number as u64 % 20)).await;
            stream.set_zero_linger().unwrap();
        }
    }
}

/// The share of this many logins that `server` serves, when each of the two servers has four clients that ask again and
/// again: other load on the machine slows both down.
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
    // Enough that more clients leave during their hash than there are slots.
    come_and_go(&server, &other, scaled(1_000).max(200), scaled(200).max(50)).await;
    assert_sound(&server);
}
