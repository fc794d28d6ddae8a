#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod attempts;
mod error;
mod join;
mod layer;
#[cfg(any(doc, doctest))]
pub mod manual;
mod observe;
mod password;
mod protocol;
mod scope;
mod secret;
pub mod store;
mod sync;
mod timer;
mod token;
mod verifier;

pub use self::{
    attempts::{Attempt, AttemptLimits},
    error::{BoxError, InvalidConfig, StoreError, TokenError},
    layer::{
        bearer::{BearerLayer, BearerService},
        body::ResponseBody,
        document::JsonDocument,
        endpoint::{EndpointService, Leaf},
        future::ResponseFuture,
        https::{OverTls, RequireHttps},
        introspection::IntrospectionLayer,
        revocation::RevocationLayer,
        token::TokenEndpointLayer,
    },
    password::{
        argon::Argon2Params,
        pool::{HashingPool, PoolStats},
        users::{MemoryUsers, User, Users, UsersError},
        verifier::PasswordVerifier,
    },
    protocol::{
        bearer::BearerError,
        client::{Client, Clients, StaticClients},
        metadata::AuthorizationServerMetadata,
        refresh_token::RefreshTokens,
        response::TokenResponse,
    },
    scope::{InvalidScope, Scope},
    secret::Secret,
    token::{
        AccessToken, InvalidToken, IssuedToken, Jwt, JwtValidator, Key, KeyError, TokenIssuer, TokenRequest,
        TokenValidator, VerificationKey,
    },
    verifier::{Identity, Login, Verdict, Verifier, VerifyError},
};
