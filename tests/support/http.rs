//! Sends one request over its own socket.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::{
    HeaderMap, Request, Response,
    body::{Frame, Incoming},
    client::conn::{http1, http2},
    header::HOST,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    One,
    Two,
}

pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub fn text(&self, name: &str) -> String {
        self.json()[name].as_str().unwrap_or_else(|| panic!("no {name}: {self:?}")).to_owned()
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, String::from_utf8_lossy(&self.body))
    }
}

pub type Broken = Box<dyn std::error::Error + Send + Sync>;
pub type TestBody = Either<Full<Bytes>, StreamBody<Chunks>>;
type Chunks = futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, std::convert::Infallible>>>;

/// A body of unknown length, in pieces of 1,000 bytes.
pub fn chunked(body: &[u8]) -> TestBody {
    let frames: Vec<_> = body.chunks(1_000).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    Either::Right(StreamBody::new(futures_util::stream::iter(frames)))
}

/// Connects from a given address of this machine.
pub async fn connect(to: SocketAddr, from: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // The usual address is not bound: a bound socket cannot share its port with closed connections. There may be tens
    // of thousands of these, and then the search for a free port takes milliseconds.
    if from != Ipv4Addr::LOCALHOST {
        socket.bind(SocketAddr::from((from, 0)))?;
    }
    socket.connect(to).await
}

pub async fn open(address: SocketAddr, http: Http, request: Request<TestBody>) -> Result<Response<Incoming>, Broken> {
    open_on(TcpStream::connect(address).await?, http, request).await
}

async fn open_on(stream: TcpStream, http: Http, request: Request<TestBody>) -> Result<Response<Incoming>, Broken> {
    let address = stream.peer_addr()?;
    // Otherwise a small frame waits 40 ms for the acknowledgement of the one before.
    stream.set_nodelay(true)?;
    let (mut parts, body) = request.into_parts();
    match http {
        Http::One => {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            parts.headers.insert(HOST, address.to_string().parse().unwrap());
            Ok(sender.send_request(Request::from_parts(parts, body)).await?)
        }
        Http::Two => {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            parts.uri = format!("http://{address}{}", parts.uri).parse().unwrap();
            Ok(sender.send_request(Request::from_parts(parts, body)).await?)
        }
    }
}

pub async fn send(address: SocketAddr, http: Http, request: Request<TestBody>) -> Reply {
    try_send(address, http, request).await.unwrap()
}

/// The whole reply, unless the connection broke first.
pub async fn try_send(address: SocketAddr, http: Http, request: Request<TestBody>) -> Result<Reply, Broken> {
    send_on(TcpStream::connect(address).await?, http, request).await
}

pub async fn send_on(stream: TcpStream, http: Http, request: Request<TestBody>) -> Result<Reply, Broken> {
    let (parts, body) = open_on(stream, http, request).await?.into_parts();
    Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body: body.collect().await?.to_bytes() })
}
