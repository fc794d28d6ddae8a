//! What the benchmarks share: a closed loop of tasks, form requests, and medians.
#![allow(dead_code)]

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use tokio::task::JoinSet;
use tower::Service;
use tower_oauth2_password::{ResponseBody, StandaloneService};

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// The median of each column over all rounds.
pub fn medians(rounds: &[Vec<f64>]) -> Vec<f64> {
    (0..rounds[0].len()).map(|column| median(&rounds.iter().map(|round| round[column]).collect::<Vec<_>>())).collect()
}

pub fn form(body: String) -> Request<Full<Bytes>> {
    Request::post("/token")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(body)))
        .unwrap()
}

pub async fn send(endpoint: &mut StandaloneService, request: Request<Full<Bytes>>) -> Response<ResponseBody<String>> {
    endpoint.call(request).await.unwrap()
}

pub async fn json(response: Response<ResponseBody<String>>) -> serde_json::Value {
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap()
}

/// How many operations a second `tasks` tasks complete during `length`, each in a loop. An operation that returns false
/// is not counted.
pub async fn rate<S, F, Fut>(tasks: usize, length: Duration, state: impl Fn(usize) -> S, operation: F) -> f64
where
    S: Send + 'static,
    F: Fn(S) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = (S, bool)> + Send,
{
    let operation = Arc::new(operation);
    let mut running = JoinSet::new();
    let started = Instant::now();
    for task in 0..tasks {
        let (operation, mut state) = (Arc::clone(&operation), state(task));
        running.spawn(async move {
            let mut done = 0_u64;
            while started.elapsed() < length {
                let counts;
                (state, counts) = operation(state).await;
                done += u64::from(counts);
            }
            done
        });
    }
    let done: u64 = running.join_all().await.iter().sum();
    // Until the last one was done: operations still under way at the end of `length` were counted, too.
    done as f64 / started.elapsed().as_secs_f64()
}
