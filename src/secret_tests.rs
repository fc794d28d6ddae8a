//! Every type with a secret in it: `Debug` does not print it, `==` does not compare it, and it is wiped.

use std::{fmt::Debug, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, header::AUTHORIZATION, request::Parts};
use zeroize::ZeroizeOnDrop;

use crate::{
    attempts::AttemptLimits,
    error::TokenError,
    layer::{authorization_server::AuthorizationServer, body::ResponseBody},
    password::{HashingPool, MemoryUsers, PasswordVerifier, StoredUser},
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
        StoreBudget,
    },
    token::{IssuedToken, Jwt, JwtValidator, Key, VerificationKey},
    verifier::{Identity, Login, Verdict},
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
    let (scope, subject, claims) = (Scope::empty(), String::new(), Default::default());
    TokenResponse {
        issued: issued(),
        scope,
        subject,
        claims,
        refresh_token: Some((MARKER.into(), Duration::from_secs(60))),
        in_cookie: false,
        others: [("recovery_code", MARKER.into())].into(),
    }
}

fn basic() -> ClientCredentials {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let header = format!("Basic {}", STANDARD.encode(format!("web:{MARKER}%20")));
    let headers = HeaderMap::from_iter([(AUTHORIZATION, header.parse().unwrap())]);
    ClientCredentials::read(&headers, &Form::parse(b"", &[]).unwrap()).unwrap().unwrap()
}

fn user() -> StoredUser {
    StoredUser::new(Identity::new("alice")).with_password_hash(PHC)
}

fn family() -> Family {
    let hour = Duration::from_secs(3_600);
    let mut family = Family::new(SecretHash(BYTES), "alice", hour, hour);
    family.previous = Some(Previous::new(SecretHash(BYTES), BYTES.to_vec()));
    family
}

#[test]
fn debug_output_holds_no_secret() {
    let users = MemoryUsers::default();
    users.insert("alice", user());
    let jwt = Jwt::new(key(), "i", "a");
    let refresh_tokens = RefreshTokens::new(MemoryRefreshStore::new());
    let limits = AttemptLimits::new(MemoryAttemptStore::new(), |_: &Parts| None).with_key(MARKER);
    let clients = StaticClients::new([Client::confidential("web", MARKER)]);
    let auth = AuthorizationServer::new(PasswordVerifier::new(users.clone()), jwt.clone())
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
        ("Key", &key()),
        ("VerificationKey", &key().verification_key()),
        ("Jwt", &jwt),
        ("JwtValidator", &JwtValidator::new(key(), "i", "a")),
        ("Client", &Client::confidential("web", MARKER)),
        ("StaticClients", &clients),
        ("StoredUser", &user()),
        ("MemoryUsers", &users),
        ("PasswordVerifier", &PasswordVerifier::new(users.clone())),
        ("HashingPool", &HashingPool::new()),
        ("AttemptLimits", &limits),
        ("AttemptKey", &AttemptKey([211; 16])),
        ("RefreshTokens", &refresh_tokens),
        ("FamilyId", &FamilyId([211; 16])),
        ("Family", &family()),
        ("MemoryDenyList", &MemoryDenyList::new()),
        ("AuthorizationServer", &auth),
        ("EndpointLayer", &auth.endpoints()),
        ("StandaloneService", &auth.endpoints().into_service()),
        ("BearerLayer", &auth.guard()),
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
async fn debug_output_names_the_type() {
    let limits = AttemptLimits::new(MemoryAttemptStore::new(), |_: &Parts| None);
    let auth = AuthorizationServer::new(|_: Login| async { Ok(Verdict::Denied) }, Jwt::new(key(), "i", "a"));
    let values: [(&str, &dyn Debug); 15] = [
        ("AttemptLimits", &limits),
        ("Attempt", &limits.reserve("alice", None).await.unwrap()),
        ("AttemptKey", &AttemptKey([211; 16])),
        ("MemoryStore", &MemoryAttemptStore::new()),
        ("AuthorizationServer", &auth),
        ("/token", &auth.token_endpoint()),
        ("/revoke", &auth.revocation_endpoint().into_service()),
        ("FamilyId", &FamilyId([211; 16])),
        ("SecretHash", &SecretHash(BYTES)),
        ("Previous", &family()),
        ("RefreshTokens", &RefreshTokens::new(MemoryRefreshStore::new())),
        ("TokenError", &TokenError::invalid_client()),
        ("ResponseBody", &ResponseBody::<String>::default()),
        ("StoreBudget", &StoreBudget::new(Duration::ZERO)),
        ("JsonDocument", &crate::layer::document::JsonDocument::new(&serde_json::json!({}))),
    ];
    for (name, value) in values {
        assert!(format!("{value:?}").contains(name), "{name}: {value:?}");
    }
}

#[tokio::test]
async fn debug_output_of_a_store_holds_no_contents() {
    use crate::store::RefreshStore;
    let store = MemoryRefreshStore::new();
    store
        .insert(FamilyId([211; 16]), family(), 100, std::time::Instant::now() + Duration::from_secs(60))
        .await
        .unwrap();
    for shown in [format!("{store:?}"), format!("{store:#?}")] {
        assert!(!shown.contains(BYTES_SHOWN), "{shown}");
    }
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn debug_output_of_redis_stores_holds_no_password() {
    let scheme = if cfg!(feature = "redis-tls") { "rediss" } else { "redis" };
    let stores = crate::store::redis::RedisStores::open(&format!("{scheme}://app:{MARKER}@127.0.0.1:1/0")).unwrap();
    let values: [&dyn Debug; 4] = [&stores, &stores.refresh_tokens(), &stores.attempts(), &stores.deny_list()];
    for value in values {
        for shown in [format!("{value:?}"), format!("{value:#?}")] {
            assert!(!shown.contains(MARKER), "{shown}");
        }
    }
    assert!(format!("{stores:?}").contains("RedisStores"));
    assert!(format!("{:?}", stores.refresh_tokens()).contains("prefix"));
}

#[cfg(feature = "redis")]
#[test]
fn the_error_for_a_malformed_url_does_not_quote_it() {
    for url in [
        format!("http://app:{MARKER}@127.0.0.1/0"),
        format!("redis://app:{MARKER}@127.0.0.1:port/0"),
        format!("redis://app:{MARKER}@127.0.0.1/database"),
        format!("redis://app:{MARKER}@127.0.0.1:6379/0?protocol=4"),
        format!("redis://app:{MARKER}%FF@127.0.0.1"),
        format!("redis://app:{MARKER}@"),
        format!("rediss://app:{MARKER}@127.0.0.1:port"),
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

/// Compiles only for types without `PartialEq`. With it, `Either` would be ambiguous.
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
    Key,
    VerificationKey,
    Jwt,
    JwtValidator,
    Client,
    StaticClients,
    StoredUser,
    MemoryUsers,
    HashingPool,
    AttemptLimits,
    Family,
    Previous,
    ResponseBody<Bytes>,
);

fn is_wiped(_: &impl ZeroizeOnDrop) {}
fn are_wiped<T: ZeroizeOnDrop>() {}

/// Each field is named, so that a field that is added later does not compile here.
#[test]
fn every_secret_is_wiped() {
    is_wiped(&Secret::from(MARKER).0);
    let login = Login::new("alice", MARKER).with_parameter("captcha", MARKER);
    let Login { username: _, password, client_id: _, client_address: _, scope: _, parameters, headers: _ } = login;
    is_wiped(&password);
    is_wiped(&parameters[0].1);
    let IssuedToken { token, expires_in: _ } = issued();
    is_wiped(&token);
    let TokenResponse { issued: _, scope: _, subject: _, claims: _, refresh_token, in_cookie: _, others } = response();
    is_wiped(&others["recovery_code"]);
    is_wiped(&refresh_token.unwrap().0);
    let ClientCredentials(candidates) = basic();
    for (_, secret) in candidates {
        is_wiped(&secret.unwrap());
    }
    is_wiped(form().get("password").unwrap());
    is_wiped(&crate::protocol::form::decode(b"%41").unwrap());
    // The parts of a key. The keyed state of HS256 is two `Sha256`.
    are_wiped::<jsonwebtoken::EncodingKey>();
    are_wiped::<jsonwebtoken::DecodingKey>();
    are_wiped::<sha2::Sha256>();
}
