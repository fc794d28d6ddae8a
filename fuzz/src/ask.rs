//! One request, as text: a request line, headers, an empty line, a body.

use std::{collections::VecDeque, pin::Pin, task};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request, Version,
    header::{AUTHORIZATION, CONTENT_TYPE, TRANSFER_ENCODING},
    request::Parts,
};
use http_body::{Body, Frame, SizeHint};
use tower_oauth2_password::BoxError;

pub const FORM: &str = "application/x-www-form-urlencoded";

#[derive(Clone, Debug)]
pub struct Ask {
    pub parts: Parts,
    pub body: Vec<u8>,
    /// The body ends in an error.
    pub cut: bool,
}

impl Ask {
    /// `None` if an HTTP server would not pass it on. The header `x-pad: N` pads the body to a length, and `x-cut`
    /// makes it break off.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Self> {
        let (head, body) = split(text, b"\n\n").unwrap_or((text, b""));
        let mut lines = head.split(|byte| *byte == b'\n');
        let mut first = std::str::from_utf8(lines.next()?).ok()?.split(' ');
        let mut request = Request::builder().method(first.next()?).uri(first.next()?);
        if first.next() == Some("HTTP/2.0") {
            request = request.version(Version::HTTP_2);
        }
        let mut ask = Self { parts: request.body(()).ok()?.into_parts().0, body: body.to_vec(), cut: false };
        for line in lines {
            let (name, value) = split(line, b":")?;
            let name = HeaderName::from_bytes(name).ok()?;
            let value = HeaderValue::from_bytes(value.trim_ascii()).ok()?;
            match name.as_str() {
                "x-pad" => {
                    let length: u16 = value.to_str().ok()?.parse().ok()?;
                    ask.body.resize(ask.body.len().max(usize::from(length)), b'x');
                }
                "x-cut" => ask.cut = true,
                _ => {
                    ask.parts.headers.append(name, value);
                }
            }
        }
        Some(ask)
    }

    #[must_use]
    pub fn post(path: &str, body: &[u8]) -> Self {
        let (mut parts, ()) = Request::post(path).body(()).expect("a path of the harness").into_parts();
        parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static(FORM));
        Self { parts, body: body.to_vec(), cut: false }
    }

    #[must_use]
    pub fn authorized(mut self, value: &[u8]) -> Option<Self> {
        self.parts.headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).ok()?);
        Some(self)
    }

    #[must_use]
    pub fn is_chunked(&self) -> bool {
        self.parts.headers.contains_key(TRANSFER_ENCODING)
    }

    #[must_use]
    pub fn request(&self) -> Request<Pieces> {
        let size = if self.is_chunked() { 1_009 } else { self.body.len().max(1) };
        let pieces = self.body.chunks(size).map(Bytes::copy_from_slice).collect();
        Request::from_parts(self.parts.clone(), Pieces { pieces, known: !self.is_chunked(), cut: self.cut })
    }
}

#[must_use]
pub fn split<'a>(text: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let start = text.windows(at.len()).position(|window| window == at)?;
    Some((&text[..start], &text[start + at.len()..]))
}

/// A body in pieces, with a length that is known in advance or not.
#[derive(Debug)]
pub struct Pieces {
    pieces: VecDeque<Bytes>,
    known: bool,
    cut: bool,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
    ) -> task::Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let next = match self.pieces.pop_front() {
            Some(piece) => Some(Ok(Frame::data(piece))),
            None if std::mem::take(&mut self.cut) => Some(Err("cut short".into())),
            None => None,
        };
        task::Poll::Ready(next)
    }

    fn size_hint(&self) -> SizeHint {
        if self.known {
            SizeHint::with_exact(self.pieces.iter().map(|piece| piece.len() as u64).sum())
        } else {
            SizeHint::default()
        }
    }
}
