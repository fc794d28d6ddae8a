//! Clients that are slow, stuck, or gone.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::client::log_in;
use test_support::example::Example;

const HEAD: &str = "POST /token HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n";

/// The start of an HTTP/2 connection: the preface, and empty settings.
fn http2() -> Vec<u8> {
    let mut start = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    start.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    start
}

/// `:method: POST` on stream 1, with the end of the head missing.
fn half_a_head_of_http2() -> Vec<u8> {
    [http2(), vec![0, 0, 1, 1, 0, 0, 0, 0, 1, 0x83]].concat()
}

const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

/// A client that sends some bytes, and perhaps more at intervals.
struct SlowClient {
    what: &'static str,
    sent: Vec<u8>,
    more: Option<(Duration, &'static [u8])>,
}

fn slow(what: &'static str, sent: impl Into<Vec<u8>>) -> SlowClient {
    SlowClient { what, sent: sent.into(), more: None }
}

fn dripping(what: &'static str, sent: impl Into<Vec<u8>>, every: Duration, more: &'static [u8]) -> SlowClient {
    SlowClient { what, sent: sent.into(), more: Some((every, more)) }
}

impl SlowClient {
    /// What the server sent until it closed the connection.
    async fn run(self, address: SocketAddr) -> (&'static str, Duration, Vec<u8>) {
        let begun = Instant::now();
        let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
        write.write_all(&self.sent).await.unwrap();
        let drip = tokio::spawn(async move {
            if let Some((every, more)) = self.more {
                loop {
                    tokio::time::sleep(every).await;
                    if write.write_all(more).await.is_err() {
                        break;
                    }
                }
            }
            // Keeps the connection open.
            std::future::pending::<()>().await;
            drop(write);
        });
        let mut reply = Vec::new();
        // An error also ends the connection.
        let ended = timeout(Duration::from_secs(14), read.read_to_end(&mut reply)).await;
        drip.abort();
        assert!(ended.is_ok(), "{}: still open", self.what);
        (self.what, begun.elapsed(), reply)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_or_body_is_closed_after_ten_seconds() {
    let server = Example::start("server", &[]);
    let (second, five_seconds) = (Duration::from_secs(1), Duration::from_secs(5));
    let form = format!("{HEAD}content-length: 100\r\n\r\n");
    let clients = [
        slow("nothing", ""),
        slow("half of HTTP/2's preface", "PRI * HT"),
        slow("HTTP/2 without a request", http2()),
        slow("half a head of HTTP/2", half_a_head_of_http2()),
        slow("half a head", HEAD),
        slow("half a body", format!("{form}grant_type=pass")),
        slow("half a chunk", format!("{HEAD}transfer-encoding: chunked\r\n\r\n20\r\ngrant")),
        slow("half an echo", "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc"),
        dripping("a PING every second", http2(), second, PING),
        dripping("one byte of a head every five seconds", HEAD, five_seconds, b"x"),
        dripping("one byte of a body every five seconds", form, five_seconds, b"x"),
        dripping(
            "one byte of an echo every five seconds",
            "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n",
            five_seconds,
            b"x",
        ),
    ];
    let clients = futures_util::future::join_all(clients.map(|client| client.run(server.address)));
    let others = async {
        // 300 stuck clients do not delay others.
        let mut stuck = Vec::new();
        for _ in 0..300 {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            stream.write_all(format!("{HEAD}content-length: 100\r\n\r\ngrant").as_bytes()).await.unwrap();
            stuck.push(stream);
        }
        for _ in 0..5 {
            log_in(&server).await;
        }
    };
    let (ended, ()) = tokio::join!(clients, others);
    for (what, after, reply) in ended {
        assert!(after > Duration::from_secs(8), "{what}: ended after {after:?}");
        let reply = String::from_utf8_lossy(&reply);
        assert!(!reply.contains(" 500 ") && !reply.contains("access_token"), "{what}: {reply}");
        if what.contains("a body") || what.contains("chunk") {
            assert!(reply.starts_with("HTTP/1.1 408"), "{what}: {reply}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_requests_now_and_then_stays_open() {
    let server = Example::start("server", &[]);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(15) {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut reply = [0; 1_000];
        let length = stream.read(&mut reply).await.unwrap();
        assert!(reply[..length].starts_with(b"HTTP/1.1 200"), "after {:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_a_large_upload_is_not_lost() {
    let server = Example::start("server", &[]);
    for round in 0..20 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = format!("{HEAD}content-length: 1000000\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let upload = async {
            let _ = write.write_all(&vec![b'x'; 1_000_000]).await;
        };
        let mut reply = Vec::new();
        let answer = async {
            let _ = read.read_to_end(&mut reply).await;
        };
        tokio::join!(upload, answer);
        assert!(reply.starts_with(b"HTTP/1.1 413"), "R6.6, round {round}: {}", String::from_utf8_lossy(&reply));
        let reply = String::from_utf8_lossy(&reply).to_lowercase();
        assert!(reply.contains("connection: close"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_leave_cost_nothing() {
    let server = Example::start("server", &[]);
    let form = "grant_type=password&username=alice&password=wonderland123";
    for round in 0..100 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let sent = if round % 2 == 0 { form } else { &form[..20] };
        stream.write_all(format!("{HEAD}content-length: {}\r\n\r\n{sent}", form.len()).as_bytes()).await.unwrap();
    }
    // If a client kept its slot, this account would be busy for half a minute.
    log_in(&server).await;
}
