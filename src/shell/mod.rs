//! What all endpoints share: taking a request out of the stream, reading its body, and sending a reply.

mod body;
mod common;
mod future;
mod https;
mod layer;
mod read;
mod service;

pub use self::{
    body::ResponseBody,
    common::InvalidConfig,
    future::ResponseFuture,
    https::{OverTls, RequireHttps},
    service::{EndpointService, Leaf},
};
pub(crate) use self::{
    common::{Common, check_realm},
    layer::endpoint_layer,
    service::Endpoint,
};
