#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod attempts;
mod bearer;
mod endpoint;
mod introspection;
mod join;
#[cfg(any(doc, doctest))]
pub mod manual;
mod metadata;
mod observe;
mod password;
mod protocol;
mod revocation;
mod secret;
mod shell;
pub mod store;
mod sync;
mod timer;
mod token;
mod verifier;

pub use self::{
    attempts::{Attempt, AttemptLimits},
    bearer::{BearerLayer, BearerService},
    endpoint::TokenEndpointLayer,
    introspection::IntrospectionLayer,
    metadata::{AuthorizationServerMetadata, JsonDocument},
    password::{Argon2Params, HashingPool, MemoryUsers, PasswordVerifier, PoolStats, User, Users, UsersError},
    protocol::{
        BearerError, Client, Clients, InvalidScope, RefreshTokens, Scope, StaticClients, TokenError, TokenResponse,
    },
    revocation::RevocationLayer,
    secret::Secret,
    shell::{EndpointService, InvalidConfig, Leaf, OverTls, RequireHttps, ResponseBody, ResponseFuture},
    store::StoreError,
    token::{
        AccessToken, InvalidToken, IssuedToken, Jwt, JwtValidator, Key, KeyError, TokenIssuer, TokenRequest,
        TokenValidator, VerificationKey,
    },
    verifier::{Identity, Login, Verdict, Verifier, VerifyError},
};

/// Any error, as causes are kept in this crate.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
