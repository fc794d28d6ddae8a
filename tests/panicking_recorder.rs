//! A metrics recorder that panics ends neither requests nor hashing threads. It is the recorder of its whole process.
#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tower_oauth2_password::{Argon2Params, HashingPool};

struct Panics;

impl Recorder for Panics {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        panic!("no counter")
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        panic!("no gauge")
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        panic!("no histogram")
    }
}

#[tokio::test]
async fn a_recorder_that_panics_ends_no_hashing_thread() {
    metrics::set_global_recorder(Panics).unwrap();
    let pool = HashingPool::new().with_threads(1).with_params(Argon2Params::new(64, 1, 1).unwrap());
    for _ in 0..5 {
        assert!(pool.hash("wonderland123".into(), None).await.is_ok());
    }
    assert_eq!(pool.stats().hashed, 5);
}
