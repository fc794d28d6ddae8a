//! Bodies that are too large or too slow, on servers without their own limits.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    setup::{Setup, in_memory},
    stacks::{self, Stack},
};

const HEAD: &str = "POST /token HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n";
/// The stacks that speak HTTP/1.1.
const OVER_HTTP_1: [Stack; 3] = [Stack::Axum, Stack::HyperHttp1, Stack::Tonic];

/// The server must not reset the connection: on most systems a reset discards the response.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_still_sending_can_read_its_413() {
    const CHUNK: usize = 100_000;
    const CHUNKS: usize = 40;
    for stack in OVER_HTTP_1 {
        let site = stacks::start(stack, &in_memory()).await;
        for (length, before, after, end) in
            [("content-length: 4000000", "", "", ""), ("transfer-encoding: chunked", "186a0\r\n", "\r\n", "0\r\n\r\n")]
        {
            let mut stream = TcpStream::connect(site.address).await.unwrap();
            stream.write_all(format!("{HEAD}{length}\r\n\r\n").as_bytes()).await.unwrap();
            let (mut read, mut write) = stream.split();
            let upload = async {
                let chunk = [before.as_bytes(), &[b'x'; CHUNK], after.as_bytes()].concat();
                for _ in 0..CHUNKS {
                    write.write_all(&chunk).await.unwrap();
                }
                write.write_all(end.as_bytes()).await.unwrap();
            };
            let mut reply = Vec::new();
            let (_, read) = tokio::join!(upload, read.read_to_end(&mut reply));
            let reply = String::from_utf8_lossy(&reply).to_lowercase();
            assert!(read.is_ok() && reply.starts_with("http/1.1 413"), "R6.6, {stack:?}, {length}: {read:?} {reply}");
            assert!(reply.contains("connection: close") && reply.contains("invalid_request"), "{stack:?}: {reply}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_413_does_not_wait_for_the_rest_of_the_body() {
    for stack in OVER_HTTP_1 {
        let site = stacks::start(stack, &in_memory()).await;
        let mut stream = TcpStream::connect(site.address).await.unwrap();
        stream.write_all(format!("{HEAD}content-length: 1000000\r\n\r\n").as_bytes()).await.unwrap();
        let mut reply = [0; 12];
        tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut reply)).await.unwrap().unwrap();
        assert_eq!(&reply, b"HTTP/1.1 413", "R2.11, {stack:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_slow_is_a_408() {
    let Setup { auth, users, pool } = in_memory();
    let setup = Setup { auth: auth.with_body_timeout(Duration::from_millis(100)), users, pool };
    for stack in OVER_HTTP_1 {
        let site = stacks::start(stack, &setup).await;
        let mut stream = TcpStream::connect(site.address).await.unwrap();
        stream.write_all(format!("{HEAD}content-length: 100\r\n\r\ngrant_type=pass").as_bytes()).await.unwrap();
        let mut reply = String::new();
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut reply)).await.unwrap().unwrap();
        let reply = reply.to_lowercase();
        assert!(reply.starts_with("http/1.1 408"), "{stack:?}: {reply}");
        for part in ["connection: close", "cache-control: no-store", "\"error\":\"invalid_request\""] {
            assert!(reply.contains(part), "{stack:?}: {reply}");
        }
    }
}
