//! Every type that holds a secret: it prints none, is no use to `==`, and is wiped.

use std::{fmt::Debug, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, header::AUTHORIZATION};
use zeroize::ZeroizeOnDrop;

use crate::{
    attempts::AttemptLimits,
    error::TokenError,
    layer::{body::ResponseBody, token::TokenEndpointLayer},
    password::{
        pool::HashingPool,
        users::{MemoryUsers, User},
        verifier::PasswordVerifier,
    },
    protocol::{
        client::{Client, ClientCredentials, StaticClients},
        form::Form,
        refresh_token::RefreshTokens,
        response::TokenResponse,
    },
    scope::Scope,
    secret::Secret,
    store::{
        AttemptKey, Family, FamilyId, MemoryAttemptStore, MemoryDenyList, MemoryRefreshStore, Previous, SecretHash,
        StoreBudget, Successor,
    },
    token::{IssuedToken, jwt::Jwt, key::Key, validator::JwtValidator, verification_key::VerificationKey},
    verifier::{Identity, Login, VerifyError},
};

const MARKER: &str = "0123456789-a-marker-that-nobody-may-see";
/// SHA-256 of a secret, or a sealed one: bytes that `Debug` would show as numbers.
const BYTES: [u8; 32] = [211; 32];
const BYTES_SHOWN: &str = "211";
const PHC: &str = "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$4XHlkW01o5HKkdwRDbV9q8aKWen4PIr0is91zg2e36k";

fn key() -> Key {
    Key::hs256(MARKER).unwrap()
}

fn form() -> Form {
    let body = format!("password={MARKER}&client_id=web&client_secret={MARKER}");
    Form::parse(body.as_bytes(), &["password", "client_id", "client_secret"]).unwrap()
}

fn issued() -> IssuedToken {
    IssuedToken::new(MARKER, Duration::from_secs(900))
}

fn response() -> TokenResponse {
    TokenResponse { issued: issued(), scope: Scope::empty(), refresh_token: Some(MARKER.into()) }
}

fn basic() -> ClientCredentials {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let header = format!("Basic {}", STANDARD.encode(format!("web:{MARKER}%20")));
    let headers = HeaderMap::from_iter([(AUTHORIZATION, header.parse().unwrap())]);
    ClientCredentials::read(&headers, &Form::parse(b"", &[]).unwrap()).unwrap().unwrap()
}

fn user() -> User {
    User::new(Identity::new("alice")).with_password_hash(PHC)
}

fn family() -> Family {
    let hour = Duration::from_secs(3_600);
    let mut family = Family::new(SecretHash(BYTES), "alice", hour, hour);
    family.previous = Some(Previous::new(SecretHash(BYTES), BYTES.to_vec(), Duration::from_secs(1)));
    family
}

#[test]
fn nothing_that_is_printed_shows_a_secret() {
    let users = MemoryUsers::default();
    users.insert("alice", user());
    let jwt = Jwt::new(key(), "i", "a");
    let refresh_tokens = RefreshTokens::new(MemoryRefreshStore::new());
    let limits = AttemptLimits::new(MemoryAttemptStore::new(), |_| None).with_key(MARKER);
    let clients = StaticClients::new([Client::confidential("web", MARKER)]);
    let layer = TokenEndpointLayer::new(PasswordVerifier::new(users.clone()), jwt.clone())
        .with_clients(clients.clone())
        .with_refresh_tokens(refresh_tokens.clone())
        .with_attempt_limits(limits.clone());
    let error = TokenError::custom("mfa_required", "A second factor").with_field("mfa_token", MARKER);
    let rendered = response().render();
    let reply = rendered.clone().map(ResponseBody::<String>::own);
    assert!(String::from_utf8_lossy(rendered.body()).contains(MARKER), "the table shows nothing");
    let values: [(&str, &dyn Debug); 30] = [
        ("Secret", &Secret::from(MARKER)),
        ("Login", &Login::new("alice", MARKER)),
        ("Form", &form()),
        ("ClientCredentials of the body", &ClientCredentials::read(&HeaderMap::new(), &form()).unwrap()),
        ("ClientCredentials of the header", &basic()),
        ("IssuedToken", &issued()),
        ("TokenResponse", &response()),
        ("the reply", &reply),
        ("TokenError", &error),
        ("TokenError of a grant type", &TokenError::unsupported_grant_type().with_grant_type(MARKER)),
        ("VerifyError", &VerifyError::Refused(error.clone())),
        ("Key", &key()),
        ("VerificationKey", &key().verification_key()),
        ("Jwt", &jwt),
        ("JwtValidator", &JwtValidator::new(key(), "i", "a")),
        ("Client", &Client::confidential("web", MARKER)),
        ("StaticClients", &clients),
        ("User", &user()),
        ("MemoryUsers", &users),
        ("PasswordVerifier", &PasswordVerifier::new(users.clone())),
        ("HashingPool", &HashingPool::new()),
        ("AttemptLimits", &limits),
        ("AttemptKey", &AttemptKey([211; 16])),
        ("RefreshTokens", &refresh_tokens),
        ("FamilyId", &FamilyId([211; 16])),
        ("Family", &family()),
        ("Successor", &Successor::new(SecretHash(BYTES)).with_sealed(BYTES.to_vec())),
        ("MemoryDenyList", &MemoryDenyList::new()),
        ("TokenEndpointLayer", &layer),
        ("Leaf", &layer.clone().into_service()),
    ];
    for (name, value) in values {
        for shown in [format!("{value:?}"), format!("{value:#?}")] {
            for secret in [MARKER, "argon2id$", "4XHlkW01o5HK", BYTES_SHOWN, "[48, 49, 50", "48,\n"] {
                assert!(!shown.contains(secret), "{name}: {shown}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_printed_without_its_secrets_has_its_name() {
    let limits = AttemptLimits::new(MemoryAttemptStore::new(), |_| None);
    let values: [(&str, &dyn Debug); 16] = [
        ("AttemptLimits", &limits),
        ("Attempt", &limits.reserve("alice", None).await.unwrap()),
        ("AttemptKey", &AttemptKey([211; 16])),
        ("AttemptTable", &MemoryAttemptStore::new()),
        ("Clock", &MemoryAttemptStore::new()),
        ("FamilyTable", &MemoryRefreshStore::new()),
        ("FamilyId", &FamilyId([211; 16])),
        ("SecretHash", &SecretHash(BYTES)),
        ("Previous", &family()),
        ("Successor", &Successor::new(SecretHash(BYTES))),
        ("RefreshTokens", &RefreshTokens::new(MemoryRefreshStore::new())),
        ("TokenError", &TokenError::invalid_client()),
        ("ResponseBody", &ResponseBody::<String>::default()),
        ("Timer", &crate::timer::sleep(Duration::ZERO)),
        ("StoreBudget", &StoreBudget::new(Duration::ZERO)),
        ("JsonDocument", &crate::layer::document::JsonDocument::new(&serde_json::json!({}))),
    ];
    for (name, value) in values {
        assert!(format!("{value:?}").contains(name), "{name}: {value:?}");
    }
}

#[tokio::test]
async fn what_a_store_keeps_is_not_printed() {
    use crate::store::RefreshStore;
    let store = MemoryRefreshStore::new();
    store.insert(FamilyId([211; 16]), family(), std::time::Instant::now() + Duration::from_secs(60)).await.unwrap();
    for shown in [format!("{store:?}"), format!("{store:#?}")] {
        assert!(!shown.contains(BYTES_SHOWN), "{shown}");
    }
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn the_password_of_redis_is_not_printed() {
    let stores = crate::store::redis::RedisStores::open(&format!("redis://app:{MARKER}@127.0.0.1:1/0")).unwrap();
    let values: [&dyn Debug; 4] = [&stores, &stores.refresh_tokens(), &stores.attempts(), &stores.deny_list()];
    for value in values {
        for shown in [format!("{value:?}"), format!("{value:#?}")] {
            assert!(!shown.contains(MARKER), "{shown}");
        }
    }
    assert!(format!("{stores:?}").contains("RedisStores"));
    assert!(format!("{:?}", stores.refresh_tokens()).contains("Connection"));
}

#[cfg(feature = "redis")]
#[test]
fn a_url_that_cannot_be_read_is_not_told() {
    for url in [
        format!("http://app:{MARKER}@127.0.0.1/0"),
        format!("redis://app:{MARKER}@127.0.0.1:port/0"),
        format!("redis://app:{MARKER}@127.0.0.1/database"),
        format!("redis://app:{MARKER}@127.0.0.1:6379/0?protocol=4"),
        format!("redis://app:{MARKER}%FF@127.0.0.1"),
        format!("redis://app:{MARKER}@"),
        format!("rediss://app:{MARKER}@127.0.0.1"),
        format!("redis://{MARKER}/:@:"),
        MARKER.to_owned(),
    ] {
        let Err(error) = crate::store::redis::RedisStores::open(&url) else { panic!("{url} was taken") };
        let mut shown = format!("{error:?} {error:#?}");
        let mut next: Option<&dyn std::error::Error> = Some(&error);
        while let Some(cause) = next {
            shown.push_str(&format!(" {cause}"));
            next = cause.source();
        }
        assert!(!shown.contains(MARKER), "{shown}");
    }
}

/// Compiles for types without `PartialEq` only: with it, there are two answers to which `Either` is meant.
macro_rules! not_comparable {
    ($($name:ty),* $(,)?) => {$(
        const _: fn() = || {
            trait Either<Which> {
                fn is() {}
            }
            struct WithPartialEq;
            impl<T: ?Sized> Either<()> for T {}
            impl<T: ?Sized + PartialEq> Either<WithPartialEq> for T {}
            let _ = <$name as Either<_>>::is;
        };
    )*};
}

not_comparable!(
    Secret,
    Login,
    Form,
    ClientCredentials,
    crate::protocol::refresh_token::RefreshToken,
    IssuedToken,
    TokenResponse,
    TokenError,
    VerifyError,
    Key,
    VerificationKey,
    Jwt,
    JwtValidator,
    Client,
    StaticClients,
    User,
    MemoryUsers,
    HashingPool,
    AttemptLimits,
    Family,
    Previous,
    Successor,
    ResponseBody<Bytes>,
);

fn is_wiped(_: &impl ZeroizeOnDrop) {}
fn are_wiped<T: ZeroizeOnDrop>() {}

/// Each field is named: one that is added later has to be thought of here.
#[test]
fn what_holds_a_secret_is_wiped() {
    is_wiped(&Secret::from(MARKER).0);
    let Login { username: _, password, client_id: _, client_address: _, scope: _ } = Login::new("alice", MARKER);
    is_wiped(&password);
    let IssuedToken { token, expires_in: _ } = issued();
    is_wiped(&token);
    let TokenResponse { issued: _, scope: _, refresh_token } = response();
    is_wiped(&refresh_token.unwrap());
    let ClientCredentials { candidates } = basic();
    for (_, secret) in candidates {
        is_wiped(&secret.unwrap());
    }
    is_wiped(form().get("password").unwrap());
    is_wiped(&crate::protocol::form::decode(b"%41").unwrap());
    // What a key is made of; the keyed state that checks HS256 is two of the last.
    are_wiped::<jsonwebtoken::EncodingKey>();
    are_wiped::<jsonwebtoken::DecodingKey>();
    are_wiped::<sha2::Sha256>();
}
