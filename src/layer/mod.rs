//! What all endpoints share: taking a request out of the stream, reading its body, and sending a reply.

pub(crate) mod bearer;
pub(crate) mod body;
pub(crate) mod common;
pub(crate) mod document;
pub(crate) mod endpoint;
pub(crate) mod future;
pub(crate) mod https;
pub(crate) mod introspection;
#[cfg(feature = "utoipa")]
mod openapi;
pub(crate) mod options;
mod read;
pub(crate) mod revocation;
pub(crate) mod token;
