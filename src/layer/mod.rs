//! Everything that implements `Layer` or `Service`. No rule of OAuth is here.
//!
//! 1. [`AuthorizationServer`](crate::AuthorizationServer) holds the configuration and makes the layers.
//! 2. An endpoint's layer reads the request (path, length, media type, body), lets `protocol` decide, and sends the response.
//! 3. The guard's layer asks `protocol` whether to call the inner service.
//! 4. Every other request passes: no allocation, no copy, no change.

pub(crate) mod authorization_server;
#[cfg(feature = "axum")]
pub(crate) mod axum;
pub(crate) mod bearer;
pub(crate) mod body;
pub(crate) mod document;
pub(crate) mod endpoint;
pub(crate) mod extract;
pub(crate) mod future;
pub(crate) mod https;
#[cfg(feature = "utoipa")]
pub(crate) mod openapi;
pub(crate) mod read;
pub(crate) mod served;
pub(crate) mod sessions;
pub(crate) mod token;
