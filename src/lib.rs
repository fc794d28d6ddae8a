#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod attempts;
mod error;
mod event;
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
mod token;
mod usernames;
mod verifier;

pub use self::{
    attempts::{Attempt, AttemptLimits, ClientAddress, ForwardedHeader},
    error::{BoxError, InvalidConfig, TokenError},
    event::{Event, EventKind},
    layer::{
        authorization_server::AuthorizationServer,
        bearer::{Asks, BearerLayer, BearerService},
        body::ResponseBody,
        document::JsonDocument,
        endpoint::{EndpointLayer, EndpointService, StandaloneService},
        extract::{BearerError, HandlerScope, Scoped},
        future::ResponseFuture,
        https::{OverTls, RequireHttps},
        sessions::ActiveSession,
        token::TokenEndpointLayer,
    },
    password::{
        Argon2Params, HashCheck, HashSchemes, HashingPool, MemoryUsers, PasswordVerifier, PoolStats, StoredUser, Users,
    },
    protocol::{
        client::{Client, Clients, StaticClients},
        extension_grant::{ExtensionGrant, GrantRequest},
        metadata::AuthorizationServerMetadata,
        refresh_token::RefreshTokens,
        response::TokenResponse,
        second_factor::{FactorCode, FactorVerdict, SecondFactor, SecondFactors},
    },
    scope::{InvalidScope, RequiredScope, Scope},
    secret::Secret,
    token::{
        AccessToken, InvalidToken, IssuedToken, Jwt, JwtValidator, Key, KeyError, TokenIssuer, TokenRequest,
        TokenValidator, VerificationKey,
    },
    usernames::Usernames,
    verifier::{Identity, Login, Verdict, Verifier},
};
