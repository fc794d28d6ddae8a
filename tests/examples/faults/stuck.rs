//! Slow heads and slow bodies.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{assert_sound, scaled, server, traffic};
use test_support::{client::log_in, example::Example};

const HEAD: &str = "POST /token HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n";

/// A name, what is sent at once, and what is sent each second from then on.
const KINDS: [(&str, &str, &str); 7] = [
    ("nothing", "", ""),
    ("half a head", HEAD, ""),
    ("a head in drops", HEAD, "x-drop: 1\r\n"),
    ("half a body", "content-length: 5000\r\n\r\ngrant_type=pass", ""),
    ("a body in drops", "content-length: 5000\r\n\r\ngrant_type=pass", "word"),
    ("chunks in drops", "transfer-encoding: chunked\r\n\r\n5\r\ngrant\r\n", "4\r\nword\r\n"),
    ("an echo in drops", "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\n\r\nabc", "word"),
];

/// Stuck connections are closed after ten seconds. Other clients are served meanwhile. Returns their number of logins.
pub async fn connections(server: &Example, count: usize) -> usize {
    let open = AtomicUsize::new(count);
    let stuck = join_all((0..count).map(async |number| {
        connection(server, KINDS[number % KINDS.len()]).await;
        open.fetch_sub(1, Ordering::Relaxed);
    }));
    let others = async {
        let mut logins = 0;
        while open.load(Ordering::Relaxed) > 0 {
            traffic::one_of_each(server).await;
            logins += 1;
        }
        logins
    };
    let (_, logins) = tokio::join!(stuck, others);
    assert!(logins >= 2, "the others got {logins} logins in ten seconds");
    logins
}

async fn connection(server: &Example, (what, first, drop): (&str, &str, &str)) {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = if first.starts_with("content-") || first.starts_with("transfer-") { HEAD } else { "" };
    stream.write_all(format!("{head}{first}").as_bytes()).await.unwrap();
    let begun = Instant::now();
    let (mut read, mut write) = stream.split();
    let mut reply = Vec::new();
    let drops = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            // Fails after the server has closed the connection, which the other half notices.
            let _ = write.write_all(drop.as_bytes()).await;
        }
    };
    tokio::select! {
        ended = timeout(Duration::from_secs(16), read.read_to_end(&mut reply)) => {
            assert!(ended.is_ok(), "{what}: still open after 16 seconds");
        }
        () = drops => {}
    }
    assert!(begun.elapsed() > Duration::from_secs(8), "{what}: ended after {:?}", begun.elapsed());
    let reply = String::from_utf8_lossy(&reply);
    assert!(!reply.contains(" 500 ") && !reply.contains("access_token"), "{what}: {reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stuck_connections_end_and_delay_no_other() {
    let server = server(&[]);
    log_in(&server).await;
    connections(&server, scaled(1_000)).await;
    assert_sound(&server);
}
