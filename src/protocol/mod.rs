//! The rules of OAuth2, as functions of bytes, headers and what the traits answer.

pub(crate) mod bearer;
pub(crate) mod client;
pub(crate) mod client_policy;
pub(crate) mod form;
pub(crate) mod grant;
pub(crate) mod introspection;
pub(crate) mod metadata;
pub(crate) mod refresh_token;
pub(crate) mod response;
pub(crate) mod revocation;
