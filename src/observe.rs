//! What the operator should know and the client must not: causes, audit events, counts; never credentials or tokens.

use std::{error::Error, future::Future, time::Duration};

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(feature = "tracing")]
fn warn(what: &str, error: &(dyn Error + 'static)) {
    tracing::warn!(cause = chain(error), "{what}");
}

#[cfg(not(feature = "tracing"))]
fn warn(_: &str, error: &(dyn Error + 'static)) {
    let _ = (chain as fn(_) -> _, error);
}

pub(crate) fn store_failed(error: &crate::error::StoreError) {
    warn("a store failed", error);
}

pub(crate) fn verifier_failed(error: &crate::verifier::VerifyError) {
    warn("the verifier failed", error);
}

pub(crate) fn issuer_failed(error: &crate::error::BoxError) {
    warn("no access token could be issued", error.as_ref());
}

pub(crate) fn bearer_refused(reason: crate::token::InvalidToken) {
    #[cfg(feature = "tracing")]
    tracing::debug!(%reason, "a bearer token was refused");
    let _ = reason;
}

/// Hashes on these vectors are not what they should be; others are used.
#[cfg(feature = "simd")]
pub(crate) fn wrong_hash(vectors: &dyn std::fmt::Debug) {
    #[cfg(feature = "tracing")]
    tracing::warn!(?vectors, "vectors that compute wrong hashes on this processor are not used");
    let _ = vectors;
}

/// One audit line: what was decided, for whom, for which client.
pub(crate) fn audit(event: &'static str, subject: Option<&str>, client_id: Option<&str>) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: "tower_oauth2_password::audit", event, subject, client_id);
    #[cfg(feature = "metrics")]
    metrics::counter!("oauth2_events_total", "event" => event).increment(1);
    let _ = (event, subject, client_id);
}

/// The span in which an endpoint answers one request.
#[cfg(feature = "tracing")]
pub(crate) fn in_span<F: Future>(path: &str, answer: F) -> impl Future<Output = F::Output> {
    tracing::Instrument::instrument(answer, tracing::info_span!("oauth2_endpoint", path))
}

/// Without `tracing` there is no span.
#[cfg(not(feature = "tracing"))]
pub(crate) fn in_span<F: Future>(_: &str, answer: F) -> impl Future<Output = F::Output> {
    answer
}

/// One answer of an endpoint: `ok`, or the error's code.
pub(crate) fn answered(path: &str, outcome: &str) {
    #[cfg(feature = "metrics")]
    metrics::counter!("oauth2_answers_total", "path" => path.to_owned(), "outcome" => outcome.to_owned()).increment(1);
    let _ = (path, outcome);
}

/// One password that was hashed: how long it waited, and how long it took.
pub(crate) fn hashed(waited: Duration, took: Duration) {
    #[cfg(feature = "metrics")]
    {
        metrics::histogram!("oauth2_password_queue_seconds").record(waited);
        metrics::histogram!("oauth2_password_hash_seconds").record(took);
    }
    let _ = (waited, took);
}

/// How many passwords wait to be hashed.
pub(crate) fn queued(passwords: usize) {
    #[cfg(feature = "metrics")]
    metrics::gauge!("oauth2_password_queue_length").set(passwords as f64);
    let _ = passwords;
}

/// One password that was not hashed, for want of room.
pub(crate) fn shed() {
    #[cfg(feature = "metrics")]
    metrics::counter!("oauth2_password_shed_total").increment(1);
}

#[cfg(all(test, feature = "tracing"))]
pub(crate) mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;
    use crate::{error::StoreError, verifier::VerifyError};

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

    /// What is logged meanwhile.
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
    fn failures_are_logged_with_all_their_causes() {
        let away = || StoreError::new(io::Error::other(StoreError::new("no route")));
        let log = logged(|| store_failed(&away()));
        let causes = "the store is unavailable: the store is unavailable: no route";
        assert!(log.contains(" WARN ") && log.contains("a store failed") && log.contains(causes), "{log}");
        let log = logged(|| verifier_failed(&VerifyError::unavailable(away())));
        assert!(log.contains("the verifier failed") && log.contains(causes), "{log}");
        let log = logged(|| issuer_failed(&"no key".into()));
        assert!(log.contains("no access token could be issued") && log.contains("cause=\"no key\""), "{log}");
    }

    #[test]
    fn an_audit_line_says_what_for_whom_and_which_client() {
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
        fn counts_and_durations_are_kept_under_their_names() {
            let kept = Kept::default();
            ::metrics::with_local_recorder(&kept, || {
                audit("login", None, None);
                answered("/token", "invalid_grant");
                hashed(Duration::from_secs(2), Duration::from_secs(3));
                queued(5);
                shed();
            });
            assert_eq!(
                *kept.0.lock().unwrap(),
                [
                    "oauth2_events_total{event=login} 1",
                    "oauth2_answers_total{path=/token,outcome=invalid_grant} 1",
                    "oauth2_password_queue_seconds{} 2",
                    "oauth2_password_hash_seconds{} 3",
                    "oauth2_password_queue_length{} 5",
                    "oauth2_password_shed_total{} 1",
                ]
            );
        }
    }
}
