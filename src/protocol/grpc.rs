//! Refusals as gRPC and gRPC-Web clients read them: HTTP's status is always 200.
//!
//! 1. A gRPC call is a `POST` with `te: trailers` and the media type. Nothing less is, since a client that reads the status
//!    would take a refusal for a success. It may come over HTTP/1.1 from a layer that translates gRPC-Web.
//! 2. A gRPC-Web call is a `POST` with its media type, over any version. Its trailers are a frame of the body, which is
//!    base64 for `application/grpc-web-text` (PROTOCOL-WEB.md of gRPC).

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::error::TokenError;

const WEB: &[u8] = b"application/grpc-web";
const WEB_TEXT: &[u8] = b"application/grpc-web-text";
/// The bit of a frame's first byte that says that it holds trailers.
const TRAILERS: u8 = 0x80;

/// The media type of the call that a request is, if it is one.
pub(super) fn call<'a>(method: &Method, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
    let media_type = headers.get(CONTENT_TYPE).filter(|_| *method == Method::POST)?;
    let has = |prefix: &[u8]| {
        let rest = media_type.as_bytes().strip_prefix(prefix);
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    };
    let is_native = has(b"application/grpc") && headers.get(TE).is_some_and(|te| te == "trailers");
    (is_native || has(WEB) || has(WEB_TEXT)).then_some(media_type)
}

/// The refusal of a call with this media type.
pub(super) fn refuse(media_type: &HeaderValue, error: &TokenError) -> Response<Bytes> {
    let status = match error.status() {
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED => "16",
        StatusCode::FORBIDDEN => "7",
        StatusCode::TOO_MANY_REQUESTS => "8",
        StatusCode::SERVICE_UNAVAILABLE => "14",
        _ => "13",
    };
    let message = error.description();
    let mut response = Response::new(Bytes::new());
    if media_type.as_bytes().starts_with(WEB) {
        let trailers = format!("grpc-status:{status}\r\ngrpc-message:{message}\r\n");
        let mut frame = vec![TRAILERS];
        frame.extend((trailers.len() as u32).to_be_bytes());
        frame.extend(trailers.bytes());
        let is_text = media_type.as_bytes().starts_with(WEB_TEXT);
        *response.body_mut() = if is_text { STANDARD.encode(frame).into() } else { frame.into() };
        response.headers_mut().insert(CONTENT_TYPE, media_type.clone());
    } else {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response.headers_mut().insert("grpc-status", HeaderValue::from_static(status));
        if let Ok(message) = HeaderValue::from_str(message) {
            response.headers_mut().insert("grpc-message", message);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(content_type: &str, te: &str) -> HeaderMap {
        let values = [(CONTENT_TYPE, content_type), (TE, te)];
        values.map(|(name, value)| (name, HeaderValue::from_str(value).unwrap())).into_iter().collect()
    }

    #[test]
    fn only_a_whole_call_is_one() {
        for (content_type, is_call, is_web) in [
            ("application/grpc", true, false),
            ("application/grpc+proto", true, false),
            ("application/grpc;x=y", true, false),
            ("application/grpcfoo", false, false),
            ("application/grpc-web", true, true),
            ("application/grpc-web+proto", true, true),
            ("application/grpc-web-text+proto", true, true),
            ("application/grpc-webfoo", false, false),
            ("application/json", false, false),
        ] {
            let whole = headers(content_type, "trailers");
            assert_eq!(call(&Method::POST, &whole).is_some(), is_call, "{content_type}");
            let status_in_body =
                |call| refuse(call, &TokenError::invalid_client()).headers().get("grpc-status").is_none();
            assert_eq!(call(&Method::POST, &whole).is_some_and(status_in_body), is_web, "{content_type}");
            assert_eq!(call(&Method::GET, &whole), None, "{content_type}");
            assert_eq!(call(&Method::POST, &headers(content_type, "gzip")).is_some(), is_web, "{content_type}");
        }
    }

    #[test]
    fn the_status_of_a_call_says_what_went_wrong() {
        let seconds = std::time::Duration::from_secs(1);
        for (error, status) in [
            (TokenError::invalid_grant("no"), "16"),
            (TokenError::invalid_client(), "16"),
            (TokenError::invalid_grant("no").with_status(StatusCode::FORBIDDEN), "7"),
            (TokenError::invalid_grant("no").with_status(StatusCode::TOO_MANY_REQUESTS), "8"),
            (TokenError::temporarily_unavailable(seconds), "14"),
            (TokenError::server_error(), "13"),
        ] {
            let refused = refuse(&HeaderValue::from_static("application/grpc"), &error);
            assert_eq!(
                (refused.status().as_u16(), refused.headers()["grpc-status"].as_bytes()),
                (200, status.as_bytes()),
                "{error}"
            );
        }
    }

    #[test]
    fn the_status_of_a_web_call_is_a_frame_of_the_body() {
        let text = "\u{80}\0\0\0\u{35}";
        for (content_type, is_text) in [("application/grpc-web+proto", false), ("application/grpc-web-text", true)] {
            let headers = headers(content_type, "");
            let refused =
                call(&Method::POST, &headers).map(|call| refuse(call, &TokenError::invalid_client())).unwrap();
            assert_eq!(
                (refused.status().as_u16(), &refused.headers()[CONTENT_TYPE]),
                (200, &content_type.parse().unwrap())
            );
            let body = if is_text { STANDARD.decode(refused.body()).unwrap() } else { refused.body().to_vec() };
            let (head, trailers) = body.split_at(5);
            assert_eq!(
                (head[0], u32::from_be_bytes(head[1..].try_into().unwrap()) as usize),
                (0x80, trailers.len()),
                "{text}"
            );
            assert_eq!(trailers, b"grpc-status:16\r\ngrpc-message:Client authentication failed\r\n");
        }
    }
}
