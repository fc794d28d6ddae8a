//! The rules of OAuth2, as functions of bytes, headers and what the traits answer.

pub(crate) mod bearer;
pub(crate) mod client;
pub(crate) mod client_policy;
pub(crate) mod error;
pub(crate) mod exchange;
pub(crate) mod form;
pub(crate) mod introspect;
pub(crate) mod refresh;
pub(crate) mod response;
pub(crate) mod revoke;
mod scope;

pub use self::{
    bearer::BearerError,
    client::{Client, Clients, StaticClients},
    error::TokenError,
    refresh::RefreshTokens,
    response::TokenResponse,
    scope::{InvalidScope, Scope},
};
