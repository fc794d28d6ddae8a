//! The rules of OAuth2, as functions of bytes, headers and what the traits answer.

mod error;
mod scope;

pub use self::{
    error::TokenError,
    scope::{InvalidScope, Scope},
};
