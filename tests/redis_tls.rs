//! TLS to Redis, in a build with two providers of rustls, of which the process has chosen none.
#![cfg(feature = "redis-tls")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::{
    env,
    panic::catch_unwind,
    process::Command,
    time::{Duration, Instant},
};

use test_support::{client::within, redis::Redis};
use tokio_rustls::rustls::{ClientConfig, crypto::CryptoProvider};
use tower_oauth2_password::store::{
    AttemptKey, AttemptLimit, AttemptStore as _, Denial, Denied, DenyList as _, Family, FamilyId, RefreshStore as _,
    Reservation, SecretHash, Slot, TokenRef, redis::RedisStores,
};

const HOUR: Duration = Duration::from_secs(3_600);
const ID: FamilyId = FamilyId([7; 16]);

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(2)
}

/// What a store in this Redis says to a question.
async fn ask(stores: &RedisStores) -> Result<bool, String> {
    stores.refresh_tokens().find(ID, soon()).await.map(|found| found.is_some()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn all_stores_work_with_a_private_ca_a_user_and_a_password() {
    let redis = Redis::start();
    let (port, root) = redis.secure();
    redis.command("ACL SETUSER app on >secret ~* &* +@all");
    redis.command("ACL SETUSER default off");
    let url = format!("rediss://app:secret@localhost:{port}/0");
    let stores = RedisStores::open(&url).unwrap().with_root_certificate(&root).unwrap();

    let family = Family::new(SecretHash([1; 32]), "alice", HOUR, HOUR);
    assert!(stores.refresh_tokens().insert(ID, family, 10, soon()).await.unwrap());
    assert_eq!(ask(&stores).await, Ok(true));
    let slot = Slot { key: AttemptKey([9; 16]), id: 1, limit: AttemptLimit { failures: 1, window: HOUR } };
    assert_eq!(stores.attempts().reserve(slot, soon()).await.unwrap(), Reservation::Reserved);
    let (revoking, guarding) = (stores.deny_list(), stores.deny_list());
    within(Duration::from_secs(5), "the copy", async || guarding.is_in_sync()).await;
    let denial = Denial::new(Denied::Token("token"), None, "alice", HOUR);
    assert!(revoking.deny(denial, soon()).await.unwrap());
    let mut token = TokenRef::new("alice");
    token.id = Some("token");
    within(Duration::from_secs(1), "the message", async || guarding.is_denied(token)).await;

    assert!(CryptoProvider::get_default().is_none(), "the process got a provider");
    assert!(catch_unwind(ClientConfig::builder).is_err(), "the build has one provider only");

    let wrong = RedisStores::open(&url.replace("secret", "wrong")).unwrap().with_root_certificate(&root).unwrap();
    assert!(ask(&wrong).await.unwrap_err().contains("AuthenticationFailed"), "{:?}", ask(&wrong).await);
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_or_of_another_host_is_refused() {
    let redis = Redis::start();
    redis.command("CONFIG SET bind \"127.0.0.1 127.0.0.2\"");
    let (port, root) = redis.secure();
    let url = format!("rediss://127.0.0.1:{port}");
    let error = ask(&RedisStores::open(&url).unwrap()).await.unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");
    // Other clients read this as "do not check".
    let error = ask(&RedisStores::open(&format!("{url}/#insecure")).unwrap()).await.unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");

    let trusting = |url: &str| RedisStores::open(url).unwrap().with_root_certificate(&root).unwrap();
    assert_eq!(ask(&trusting(&url)).await, Ok(false));
    let error = ask(&trusting(&url.replace("127.0.0.1", "127.0.0.2"))).await.unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");
    assert!(ask(&trusting(&format!("rediss://127.0.0.1:{}", redis.port()))).await.is_err(), "without TLS");
}

#[test]
fn a_root_certificate_needs_a_secure_url_and_a_certificate() {
    let root = include_bytes!("support/keys/certificate.pem");
    let secure = |url| RedisStores::open(url).unwrap();
    assert!(secure("valkeys://localhost").with_root_certificate(root).is_ok());
    let error = secure("redis://localhost").with_root_certificate(root).unwrap_err();
    assert!(error.to_string().contains("rediss://"), "{error}");
    for text in [&include_bytes!("support/keys/p256.pem")[..], b"", b"-----BEGIN CERTIFICATE-----\nAAAA"] {
        let error = secure("rediss://localhost").with_root_certificate(text).unwrap_err();
        assert!(error.to_string().contains("BEGIN CERTIFICATE"), "{error}");
    }
}

#[test]
fn without_root_certificates_of_the_system_a_secure_url_is_an_error() {
    const NAME: &str = "without_root_certificates_of_the_system_a_secure_url_is_an_error";
    // The variable is read once for the process, which therefore is another one.
    if env::var("SSL_CERT_FILE").is_ok_and(|file| file == "/dev/null") {
        let error = RedisStores::open("rediss://localhost").unwrap_err();
        assert!(error.to_string().contains("ca-certificates"), "{error}");
        return;
    }
    let mut child = Command::new(env::current_exe().unwrap());
    let child = child.args(["--exact", NAME]).env("SSL_CERT_FILE", "/dev/null").env_remove("SSL_CERT_DIR");
    assert!(child.status().unwrap().success());
}
