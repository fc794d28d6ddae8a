//! What all endpoints share: taking a request out of the stream, reading its body, and sending a reply.

mod body;
mod future;
mod read;
mod service;

pub(crate) use self::service::Endpoint;
pub use self::{
    body::ResponseBody,
    future::ResponseFuture,
    service::{EndpointService, Leaf},
};
