//! SIGTERM under load.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{assert_sound, neighbour, scaled, server};
use test_support::{
    client::{ALICE, in_time, log_in, try_post},
    example::Example,
    http::connect,
};

const NETWORK: u8 = 3;
const ADDRESSES: usize = 50;

/// Stops the server. Every request in flight gets its response, and stuck connections do not delay the end. Returns how
/// many logins in flight were accepted.
pub async fn under_load(mut server: Example, count: usize) -> usize {
    let mut asked = join_all((0..count).map(|number| accepted(&server, number))).await;
    let stuck = accepted(&server, 0).await;
    // At the signal, half of them wait for a hash. The others send their body after it.
    let late = asked.split_off(count / 2);
    let asked = join_all(asked.into_iter().map(with_body)).await;
    let strangers = join_all((0..count).map(|number| stranger(&server, number)));
    let stop = async {
        // Too short for all hashes: some logins get their response before the signal, most after it.
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.signal("-TERM");
        let begun = Instant::now();
        let late = join_all(late.into_iter().map(with_body)).await;
        let answers = join_all(asked.into_iter().chain(late).map(answer)).await;
        (begun, answers)
    };
    let limit = Duration::from_secs(20);
    let ((begun, answers), _) = in_time(limit, "what was in flight", async { tokio::join!(stop, strangers) }).await;
    let code = server.wait(Duration::from_secs(10).saturating_sub(begun.elapsed()));
    assert_eq!(code, Some(0), "{:?} after SIGTERM: {}", begun.elapsed(), server.log());
    drop(stuck);
    assert!(TcpStream::connect(server.address).await.is_err(), "it still listens");
    assert!(!server.log().contains("panicked"), "{}", server.log());
    answers.into_iter().filter(|status| *status == 200).count()
}

/// A login that the server has begun to read, as its interim response shows.
async fn accepted(server: &Example, number: usize) -> TcpStream {
    let mut stream = connect(server.address, neighbour(NETWORK, number % ADDRESSES)).await.unwrap();
    let head = "host: x\r\ncontent-type: application/x-www-form-urlencoded\r\nexpect: 100-continue";
    let head = format!("POST /token HTTP/1.1\r\n{head}\r\ncontent-length: {}\r\n\r\n", ALICE.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    let read = in_time(Duration::from_secs(15), "100 Continue", stream.read_exact(&mut interim)).await;
    assert!(read.is_ok() && interim.starts_with(b"HTTP/1.1 100"), "{}", String::from_utf8_lossy(&interim));
    stream
}

async fn with_body(mut stream: TcpStream) -> TcpStream {
    stream.write_all(ALICE.as_bytes()).await.unwrap();
    stream
}

async fn answer(mut stream: TcpStream) -> u16 {
    let mut reply = Vec::new();
    let end = in_time(Duration::from_secs(15), "an answer", stream.read_to_end(&mut reply)).await;
    let reply = String::from_utf8_lossy(&reply);
    assert!(end.is_ok(), "{end:?} after {reply:?}");
    let status = reply.get(9..12).and_then(|status| status.parse().ok());
    assert!(matches!(status, Some(200 | 503)) && reply.ends_with('}'), "{reply:?}");
    status.unwrap()
}

/// A client that connects around the signal gets a response or no connection; either is right.
async fn stranger(server: &Example, number: usize) {
    tokio::time::sleep(Duration::from_millis(number as u64 % 100)).await;
    match try_post(server.address, neighbour(NETWORK, number % ADDRESSES), "/token", ALICE).await {
        Ok(reply) => assert!(matches!(reply.status, 200 | 503), "{reply:?}"),
        Err(error) => assert!(!error.contains("within"), "{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_at_sigterm_are_answered() {
    let server = server(&[]);
    log_in(&server).await;
    assert_sound(&server);
    let let_in = under_load(server, scaled(500)).await;
    assert!(let_in > 0);
}
