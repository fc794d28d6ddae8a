//! Clients that are slow, stuck, or gone.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::client::log_in;
use test_support::example::Example;

const HEAD: &str = "POST /token HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_head_or_body_that_does_not_come_is_ended_after_ten_seconds() {
    let server = Example::start("server", &[]);
    let begun = Instant::now();
    let waits = [
        ("nothing", String::new()),
        ("the start of HTTP/2's preface", "PRI * HT".to_owned()),
        ("half a head", HEAD.to_owned()),
        ("half a body", format!("{HEAD}content-length: 100\r\n\r\ngrant_type=pass")),
        ("half a chunk", format!("{HEAD}transfer-encoding: chunked\r\n\r\n20\r\ngrant")),
        ("half an echo", "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc".to_owned()),
    ]
    .map(|(what, sent)| {
        let address = server.address;
        async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(sent.as_bytes()).await.unwrap();
            let mut reply = Vec::new();
            let ended = timeout(Duration::from_secs(14), stream.read_to_end(&mut reply)).await;
            assert!(ended.is_ok(), "{what}: still open");
            assert!(begun.elapsed() > Duration::from_secs(8), "{what}: ended after {:?}", begun.elapsed());
            let reply = String::from_utf8_lossy(&reply).into_owned();
            assert!(!reply.contains(" 500 ") && !reply.contains("access_token"), "{what}: {reply}");
        }
    });
    let others = async {
        // 300 stuck clients hold nobody up.
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
    tokio::join!(futures_util::future::join_all(waits), others);
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
    // Were their places not given back, this name would be busy for half a minute.
    log_in(&server).await;
}
