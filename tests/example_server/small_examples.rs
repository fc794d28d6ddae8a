//! The examples that newcomers copy do what their first lines say.

use tonic::{Code, Request, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    client::{attempt, get, log_in},
    support::example::Example,
};

#[tokio::test]
async fn hyper() {
    let server = Example::start("hyper", &[]);
    let token = log_in(&server).await.text("access_token");
    assert_eq!(get(&server, "/", &token).await.body, "Hello, alice\n");
    assert_eq!(get(&server, "/", "x").await.status, 401);
}

#[tokio::test]
async fn custom_verifier() {
    let server = Example::start("custom_verifier", &[]);
    let token = log_in(&server).await.text("access_token");
    assert_eq!(get(&server, "/users/me", &token).await.body, "alice of rabbit-holes\n");
    let carol = attempt(&server, "carol", "any").await;
    assert_eq!(
        (carol.status, carol.text("error"), carol.text("mfa_token").is_empty()),
        (400, "mfa_required".into(), false)
    );
    assert_eq!(attempt(&server, "alice", "wrong").await.text("error"), "invalid_grant");
}

#[tokio::test]
async fn tonic() {
    let server = Example::start("tonic", &[]);
    let token = log_in(&server).await.text("access_token");
    let channel = Channel::from_shared(server.url()).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    let check = || Request::new(HealthCheckRequest::default());
    assert_eq!(health.check(check()).await.unwrap_err().code(), Code::Unauthenticated);
    let mut request = check();
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    assert_eq!(health.check(request).await.unwrap().into_inner().status, 1);
}
