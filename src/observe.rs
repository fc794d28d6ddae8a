//! What the operator learns and the client does not: causes, audit events, counts. Never credentials or tokens.

use std::{error::Error, future::Future, time::Duration};

/// Something behind an endpoint failed: a store, the verifier, the token issuer.
pub(crate) fn failed(what: &str, cause: &(dyn Error + 'static)) {
    #[cfg(feature = "tracing")]
    tracing::warn!(cause = causes(cause), "{what}");
    let _ = (what, cause);
}

/// An error and all its sources, in one line.
#[cfg(feature = "tracing")]
fn causes(error: &(dyn Error + 'static)) -> String {
    let sources = std::iter::successors(Some(error), |&error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A guard refused a bearer token.
pub(crate) fn bearer_refused(reason: &dyn Error) {
    #[cfg(feature = "tracing")]
    tracing::debug!(%reason, "a bearer token was refused");
    let _ = reason;
}

/// These vectors compute wrong hashes, so others are used.
#[cfg(feature = "simd")]
pub(crate) fn wrong_hash(vectors: &dyn std::fmt::Debug) {
    #[cfg(feature = "tracing")]
    tracing::warn!(?vectors, "vectors that compute wrong hashes on this processor are not used");
    let _ = vectors;
}

/// One decision: what was decided, for whom, for which client.
pub(crate) fn audit(event: &'static str, subject: Option<&str>, client_id: Option<&str>) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: "tower_oauth2_password::audit", event, subject, client_id);
    #[cfg(feature = "metrics")]
    metrics::counter!("oauth2_events_total", "event" => event).increment(1);
    let _ = (event, subject, client_id);
}

/// Answers one request in a span of its own.
#[cfg(feature = "tracing")]
pub(crate) fn in_span<F: Future>(path: &str, answer: F) -> impl Future<Output = F::Output> {
    tracing::Instrument::instrument(answer, tracing::info_span!("oauth2_endpoint", path))
}

/// Without `tracing` there is no span.
#[cfg(not(feature = "tracing"))]
pub(crate) fn in_span<F: Future>(_: &str, answer: F) -> impl Future<Output = F::Output> {
    answer
}

/// One answer of an endpoint: `ok`, or the code of the error.
pub(crate) fn answered(path: &str, outcome: &str) {
    #[cfg(feature = "metrics")]
    metrics::counter!("oauth2_answers_total", "path" => path.to_owned(), "outcome" => outcome.to_owned()).increment(1);
    let _ = (path, outcome);
}

/// One password was hashed, after this time in the queue.
pub(crate) fn hashed(waited: Duration, took: Duration) {
    #[cfg(feature = "metrics")]
    {
        metrics::histogram!("oauth2_password_queue_seconds").record(waited);
        metrics::histogram!("oauth2_password_hash_seconds").record(took);
    }
    let _ = (waited, took);
}

/// This many passwords wait to be hashed.
pub(crate) fn queued(passwords: usize) {
    #[cfg(feature = "metrics")]
    metrics::gauge!("oauth2_password_queue_length").set(passwords as f64);
    let _ = passwords;
}

/// One password was not hashed, for want of capacity.
pub(crate) fn overloaded() {
    #[cfg(feature = "metrics")]
    metrics::counter!("oauth2_password_overloaded_total").increment(1);
}

#[cfg(all(test, feature = "tracing"))]
pub(crate) mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;
    use crate::error::StoreError;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `run` logs.
    pub(crate) fn logged(run: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, run);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_failure_is_logged_with_all_its_causes() {
        let away = io::Error::other(StoreError::new("no route"));
        let log = logged(|| failed("a store failed", &away));
        let causes = "the store is unavailable: no route";
        assert!(log.contains(" WARN ") && log.contains("a store failed") && log.contains(causes), "{log}");
    }

    #[test]
    fn an_audit_line_has_event_subject_and_client() {
        let log = logged(|| audit("login", Some("alice"), Some("web")));
        for part in ["tower_oauth2_password::audit", "event=\"login\"", "subject=\"alice\"", "client_id=\"web\""] {
            assert!(log.contains(part), "{part}: {log}");
        }
    }

    #[cfg(feature = "metrics")]
    mod metrics {
        use std::sync::{Arc, Mutex};

        use ::metrics::{
            Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString,
            Unit,
        };

        use super::super::*;

        type Lines = Arc<Mutex<Vec<String>>>;

        /// Keeps what is recorded, a line for each value.
        #[derive(Default)]
        struct Kept(Lines);

        struct Line(String, Lines);

        impl Line {
            fn add(&self, value: impl ToString) {
                self.1.lock().unwrap().push(format!("{} {}", self.0, value.to_string()));
            }
        }

        impl CounterFn for Line {
            fn increment(&self, value: u64) {
                self.add(value);
            }

            fn absolute(&self, _: u64) {}
        }

        impl GaugeFn for Line {
            fn increment(&self, _: f64) {}

            fn decrement(&self, _: f64) {}

            fn set(&self, value: f64) {
                self.add(value);
            }
        }

        impl HistogramFn for Line {
            fn record(&self, value: f64) {
                self.add(value);
            }
        }

        impl Kept {
            fn line(&self, key: &Key) -> Arc<Line> {
                let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
                Arc::new(Line(format!("{}{{{}}}", key.name(), labels.join(",")), Arc::clone(&self.0)))
            }
        }

        impl Recorder for Kept {
            fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

            fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

            fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

            fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
                Counter::from_arc(self.line(key))
            }

            fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
                Gauge::from_arc(self.line(key))
            }

            fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
                Histogram::from_arc(self.line(key))
            }
        }

        #[test]
        fn metrics_have_their_documented_names() {
            let kept = Kept::default();
            ::metrics::with_local_recorder(&kept, || {
                audit("login", None, None);
                answered("/token", "invalid_grant");
                hashed(Duration::from_secs(2), Duration::from_secs(3));
                queued(5);
                overloaded();
            });
            assert_eq!(
                *kept.0.lock().unwrap(),
                [
                    "oauth2_events_total{event=login} 1",
                    "oauth2_answers_total{path=/token,outcome=invalid_grant} 1",
                    "oauth2_password_queue_seconds{} 2",
                    "oauth2_password_hash_seconds{} 3",
                    "oauth2_password_queue_length{} 5",
                    "oauth2_password_overloaded_total{} 1",
                ]
            );
        }
    }
}
