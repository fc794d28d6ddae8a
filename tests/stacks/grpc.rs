//! gRPC and `/token` on one port, through tonic's own client.

use tonic::{Code, Request, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    setup::in_memory,
    stacks::{self, Site, Stack},
};

async fn call(site: &Site, authorization: Option<&str>) -> Result<i32, tonic::Status> {
    let channel = Channel::from_shared(format!("http://{}", site.address)).unwrap().connect().await.unwrap();
    let mut request = Request::new(HealthCheckRequest { service: String::new() });
    if let Some(value) = authorization {
        request.metadata_mut().insert("authorization", value.parse().unwrap());
    }
    HealthClient::new(channel).check(request).await.map(|reply| reply.into_inner().status)
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_calls_have_a_grpc_status() {
    let site = stacks::start(Stack::Tonic, &in_memory()).await;
    let token = site.log_in("").await.text("access_token");
    let narrow = site.log_in("&scope=items:read").await.text("access_token");
    assert_eq!(call(&site, Some(&format!("Bearer {token}"))).await.unwrap(), 1);
    for (authorization, code) in [
        (None, Code::Unauthenticated),
        (Some("Basic eDp5".to_owned()), Code::Unauthenticated),
        (Some("Bearer".to_owned()), Code::Unauthenticated),
        (Some(format!("Bearer {token}x")), Code::Unauthenticated),
        (Some(format!("Bearer {narrow}")), Code::PermissionDenied),
    ] {
        let status = call(&site, authorization.as_deref()).await.unwrap_err();
        assert_eq!(status.code(), code, "{authorization:?}: {status:?}");
        assert!(!status.message().is_empty());
    }
}
