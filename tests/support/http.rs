//! One request over a socket of its own.

use std::net::SocketAddr;

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
use tokio::net::TcpStream;

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

pub type TestBody = Either<Full<Bytes>, StreamBody<Chunks>>;
type Chunks = futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, std::convert::Infallible>>>;

/// A body of unknown length, in pieces of 1,000 bytes.
pub fn chunked(body: &[u8]) -> TestBody {
    let frames: Vec<_> = body.chunks(1_000).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    Either::Right(StreamBody::new(futures_util::stream::iter(frames)))
}

pub async fn open(address: SocketAddr, http: Http, request: Request<TestBody>) -> hyper::Result<Response<Incoming>> {
    let stream = TcpStream::connect(address).await.unwrap();
    // Else a small frame waits 40 ms for the acknowledgement of the one before.
    stream.set_nodelay(true).unwrap();
    let (mut parts, body) = request.into_parts();
    match http {
        Http::One => {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            parts.headers.insert(HOST, address.to_string().parse().unwrap());
            sender.send_request(Request::from_parts(parts, body)).await
        }
        Http::Two => {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            parts.uri = format!("http://{address}{}", parts.uri).parse().unwrap();
            sender.send_request(Request::from_parts(parts, body)).await
        }
    }
}

pub async fn send(address: SocketAddr, http: Http, request: Request<TestBody>) -> Reply {
    let (parts, body) = open(address, http, request).await.unwrap().into_parts();
    Reply { status: parts.status.as_u16(), headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
}
