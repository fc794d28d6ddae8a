//! All store calls of a request share one time budget.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tower::ServiceExt;
use tower_oauth2_password::store::{
    AttemptOutcome, AttemptStore, MemoryAttemptStore, MemoryDenyList, MemoryRefreshStore, Reservation, Slot,
    StoreFuture,
};

use crate::setup::over;

const CALL: Duration = Duration::from_millis(60);

/// An attempt store that waits this long before each call, whatever the deadline says.
#[derive(Clone)]
struct Slow {
    store: Arc<MemoryAttemptStore>,
    wait: Duration,
    /// How much time each call had until its deadline.
    given: Arc<Mutex<Vec<Duration>>>,
}

impl Slow {
    fn by(wait: Duration) -> Self {
        Self { store: Arc::default(), wait, given: Arc::default() }
    }

    async fn wait(&self, deadline: Instant) -> Instant {
        self.given.lock().unwrap().push(deadline.saturating_duration_since(Instant::now()));
        tokio::time::sleep(self.wait).await;
        Instant::now() + Duration::from_secs(60)
    }
}

impl AttemptStore for Slow {
    fn reserve(&self, slot: Slot, deadline: Instant) -> StoreFuture<'_, Reservation> {
        Box::pin(async move {
            let later = self.wait(deadline).await;
            self.store.reserve(slot, later).await
        })
    }

    fn settle(&self, slot: Slot, outcome: AttemptOutcome, deadline: Instant) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let later = self.wait(deadline).await;
            self.store.settle(slot, outcome, later).await
        })
    }
}

/// A login of a confidential client makes four calls, one after another.
async fn log_in(attempts: Slow, budget: Duration) -> u16 {
    let setup = over(MemoryRefreshStore::new(), attempts, MemoryDenyList::new(), |tokens| tokens);
    let form = "grant_type=password&username=alice&password=wonderland123\
                &client_id=demo-web&client_secret=demo-web-secret";
    let request = Request::post("/token").header("content-type", "application/x-www-form-urlencoded");
    let reply = setup
        .auth
        .with_store_budget(budget)
        .token_endpoint()
        .into_service()
        .oneshot(request.body(Full::<Bytes>::from(form)).unwrap());
    let reply = tokio::time::timeout(Duration::from_secs(20), reply).await.expect("no answer").unwrap();
    if reply.status() == 503 {
        assert!(reply.headers().contains_key("retry-after"));
    }
    reply.status().as_u16()
}

#[tokio::test]
async fn all_calls_of_a_request_share_one_budget() {
    let slow = Slow::by(CALL);
    assert_eq!(log_in(slow.clone(), CALL * 100).await, 200);
    assert_eq!(slow.given.lock().unwrap().len(), 4);

    // Each call alone would be in time.
    let slow = Slow::by(CALL);
    let budget = CALL * 3 / 2;
    assert_eq!(log_in(slow.clone(), budget).await, 503);
    let given = slow.given.lock().unwrap();
    // On a busy machine the first may use up all of it.
    assert!(given.len() <= 2, "the second call used up what the first had left");
    assert!(given.get(1).is_none_or(|left| *left <= budget - CALL), "the second call was given {given:?}");
}

#[tokio::test]
async fn a_store_that_never_answers_costs_the_budget() {
    let begun = Instant::now();
    assert_eq!(log_in(Slow::by(Duration::from_secs(3_600)), CALL).await, 503);
    assert!(begun.elapsed() >= CALL);
}

#[tokio::test]
async fn an_endless_budget_does_not_panic() {
    assert_eq!(log_in(Slow::by(Duration::ZERO), Duration::MAX).await, 200);
}
