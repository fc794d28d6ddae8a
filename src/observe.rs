//! What the operator learns and the client does not: causes, audit events, counts. Never credentials or tokens.
//!
//! 1. A text that a client sent is cut at 128 characters.
//! 2. The same warning is logged once in ten seconds, with the number of those that were left out.
//! 3. A subscriber or recorder that panics ends neither a request nor a thread.

#![cfg_attr(not(all(feature = "tracing", feature = "metrics")), allow(dead_code, unused_variables))]

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{collections::BTreeMap, error::Error, mem};

/// Calls the subscriber, if the crate is built with `tracing`.
macro_rules! log {
    ($call:expr) => {
        #[cfg(feature = "tracing")]
        crate::observe::guarded(|| $call)
    };
}
pub(crate) use log;

/// Calls the recorder, if the crate is built with `metrics`.
macro_rules! measure {
    ($call:expr) => {
        #[cfg(feature = "metrics")]
        crate::observe::guarded(|| $call)
    };
}
pub(crate) use measure;

pub(crate) fn guarded(record: impl FnOnce()) {
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(record));
}

const PERIOD: Duration = Duration::from_secs(10);
const OF_A_USER: &str = "hash of ";

/// When each warning was logged last, and how many were left out since.
struct Warnings(BTreeMap<String, (Option<Instant>, u64)>);

impl Warnings {
    const MOST: usize = 1_000;

    /// How many equal warnings were left out, if it is time for one again.
    fn due(&mut self, warning: &str, period: Duration, now: Instant) -> Option<u64> {
        let is_recent = |last: Option<Instant>, period| last.is_some_and(|last| now.duration_since(last) < period);
        // The others are as many as there are places in the code that warn.
        let is_of_a_user = |warning: &str| warning.starts_with(OF_A_USER);
        if is_of_a_user(warning) && !self.0.contains_key(warning) && self.0.len() >= Self::MOST {
            self.0.retain(|known, (last, _)| !is_of_a_user(known) || is_recent(*last, PERIOD));
            if self.0.len() >= Self::MOST {
                return None;
            }
        }
        let (last, left_out) = self.0.entry(warning.to_owned()).or_default();
        if is_recent(*last, period) {
            *left_out += 1;
            return None;
        }
        *last = Some(now);
        Some(mem::take(left_out))
    }
}

fn due(warning: &str, period: Duration) -> Option<u64> {
    static LOGGED: Mutex<Warnings> = Mutex::new(Warnings(BTreeMap::new()));
    LOGGED.lock().unwrap_or_else(PoisonError::into_inner).due(warning, period, Instant::now())
}

/// The beginning of a text that a client sent.
pub(crate) fn cut(text: &str) -> &str {
    let end = text.char_indices().nth(128).map(|(end, _)| end);
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}

/// Something behind an endpoint failed: a store, the verifier, the token issuer.
pub(crate) fn failed(what: &str, cause: &(dyn Error + 'static)) {
    log!(if let Some(left_out) = due(what, PERIOD) {
        tracing::warn!(cause = causes(cause), left_out, "{what}");
    });
}

/// An error and all its sources, in one line.
fn causes(error: &(dyn Error + 'static)) -> String {
    let sources = std::iter::successors(Some(error), |&error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Something is missing or useless. Logged once.
pub(crate) fn misconfigured(how_to_fix: &str) {
    log!(if due(how_to_fix, Duration::MAX).is_some() {
        tracing::warn!("{how_to_fix}");
    });
}

/// A guard refused a request.
pub(crate) fn bearer_refused(reason: &dyn std::fmt::Display) {
    log!(tracing::debug!(%reason, "a bearer token was refused"));
}

/// An endpoint refused a request.
pub(crate) fn refused(path: &str, error: &dyn Error, reason: &str) {
    log!(tracing::debug!(path, %error, reason, "a request was refused"));
}

/// The hash of a user's password cannot be read, so no password is correct.
pub(crate) fn unreadable_hash(subject: &str, reason: &'static str) {
    let subject = cut(subject);
    log!(if let Some(left_out) = due(&format!("{OF_A_USER}{subject}"), PERIOD) {
        tracing::warn!(subject, reason, left_out, "a stored password hash cannot be read");
    });
    measure!(metrics::counter!("oauth2_unreadable_hashes_total").increment(1));
}

/// The local copy of a shared deny list follows it again, or does not.
#[cfg(feature = "redis")]
pub(crate) fn deny_list_in_sync(result: Result<(), &(dyn Error + 'static)>) {
    log!(match result {
        Ok(()) => tracing::info!("the deny list is in sync"),
        Err(cause) => tracing::warn!(cause = causes(cause), "the deny list is not in sync: revoked tokens may pass"),
    });
}

/// The app's own code did not keep up with the events.
pub(crate) fn event_dropped() {
    log!(if let Some(left_out) = due("an event was dropped", PERIOD) {
        tracing::warn!(left_out, "an event was dropped: the event handler is too slow");
    });
    measure!(metrics::counter!("oauth2_events_dropped_total").increment(1));
}

/// Answers one request in a span of its own, which there is with `tracing` only.
pub(crate) fn in_span<F: Future>(path: &str, answer: F) -> impl Future<Output = F::Output> {
    #[cfg(feature = "tracing")]
    let answer = tracing::Instrument::instrument(answer, tracing::info_span!("oauth2_endpoint", path));
    answer
}

/// One answer of an endpoint: `ok`, or the code of the error.
pub(crate) fn answered(path: &str, outcome: &str) {
    measure!({
        let labels = [("path", path.to_owned()), ("outcome", outcome.to_owned())];
        metrics::counter!("oauth2_answers_total", &labels).increment(1);
    });
}

/// One password was hashed, after this time in the queue.
pub(crate) fn hashed(waited: Duration, took: Duration) {
    measure!(metrics::histogram!("oauth2_password_queue_seconds").record(waited));
    measure!(metrics::histogram!("oauth2_password_hash_seconds").record(took));
}

/// This many passwords wait to be hashed.
pub(crate) fn queued(passwords: usize) {
    measure!(metrics::gauge!("oauth2_password_queue_length").set(passwords as f64));
}

/// One password was not hashed, for want of capacity.
pub(crate) fn overloaded() {
    measure!(metrics::counter!("oauth2_password_overloaded_total").increment(1));
}

#[cfg(all(test, feature = "tracing"))]
pub(crate) mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;
    use crate::event::{Audit, EventKind};

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

    #[derive(Debug, thiserror::Error)]
    #[error("the store is unavailable")]
    struct Away(#[source] io::Error);

    #[test]
    fn a_failure_is_logged_with_all_its_causes() {
        let away = io::Error::other(Away(io::Error::other("no route")));
        let log = logged(|| failed("a store of this test failed", &away));
        let causes = "the store is unavailable: no route";
        assert!(log.contains(" WARN ") && log.contains("a store of this test failed") && log.contains(causes), "{log}");
    }

    #[test]
    fn a_repeated_warning_is_logged_once_in_a_while_with_a_count() {
        let log = logged(|| (0..5).for_each(|_| failed("a repeated warning", &io::Error::other("no route"))));
        assert_eq!(log.matches("a repeated warning").count(), 1, "{log}");
        assert_eq!(due("a repeated warning", Duration::ZERO), Some(4));
        assert_eq!(due("a repeated warning", Duration::ZERO), Some(0));
        assert_eq!((due("once", Duration::MAX), due("once", Duration::MAX)), (Some(0), None));
        let log = logged(|| (0..3).for_each(|_| misconfigured("set something")));
        assert_eq!(log.matches("set something").count(), 1, "{log}");
    }

    #[test]
    fn warnings_about_users_take_no_more_than_their_room() {
        let (mut warnings, begun) = (Warnings(BTreeMap::new()), Instant::now());
        let hash_of = |user: usize| format!("{OF_A_USER}{user}");
        assert_eq!(warnings.due("set something", Duration::MAX, begun), Some(0));
        assert!((1..Warnings::MOST).all(|user| warnings.due(&hash_of(user), PERIOD, begun) == Some(0)));
        let late = begun + PERIOD - Duration::from_millis(1);
        assert_eq!(warnings.due(&hash_of(0), PERIOD, late), None, "no room for another user");
        assert_eq!(warnings.due(&hash_of(1), PERIOD, late), None, "too early for the same again");
        assert_eq!(warnings.due("a store failed", PERIOD, late), Some(0), "there is always room for the others");
        let next = begun + PERIOD;
        assert_eq!(warnings.due(&hash_of(0), PERIOD, next), Some(0), "the old ones have made room");
        assert_eq!(warnings.due("set something", Duration::MAX, next), None, "but are never forgotten");
        assert_eq!(warnings.0.len(), 3);
    }

    #[test]
    fn a_subscriber_that_panics_is_survived() {
        let subscriber = tracing_subscriber::fmt().with_writer(|| -> io::Stderr { panic!("no log") }).finish();
        tracing::subscriber::with_default(subscriber, || Audit::default().record(EventKind::Login));
    }

    #[test]
    fn an_audit_line_is_short_and_has_all_its_fields() {
        let long = "\u{10FFFD}".repeat(16_384);
        let address = Some([192, 0, 2, 1].into());
        let (subject, client_id, session) = (Some("alice"), Some("web"), Some("s-1"));
        let audit = Audit { subject, client_id, address, path: "/token", session, events: None };
        let log = logged(|| audit.record(EventKind::Login));
        for part in [
            "tower_oauth2_password::audit",
            "event=\"login\"",
            "subject=\"alice\"",
            "client_id=\"web\"",
            "address=192.0.2.1",
            "path=\"/token\"",
            "session=\"s-1\"",
        ] {
            assert!(log.contains(part), "{part}: {log}");
        }
        let log = logged(|| Audit { subject: Some(&long), ..Audit::default() }.record(EventKind::Denied));
        assert!(log.len() < 2_048, "{}", log.len());
    }

    #[cfg(feature = "metrics")]
    mod metrics {
        use std::sync::{Arc, Mutex};

        use ::metrics::{
            Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString,
            Unit,
        };

        use super::super::*;
        use crate::event::{Audit, EventKind};

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
                Audit::default().record(EventKind::Login);
                event_dropped();
                unreadable_hash("alice", "cut off");
                answered("/token", "invalid_grant");
                hashed(Duration::from_secs(2), Duration::from_secs(3));
                queued(5);
                overloaded();
            });
            assert_eq!(
                *kept.0.lock().unwrap(),
                [
                    "oauth2_events_total{event=login} 1",
                    "oauth2_events_dropped_total{} 1",
                    "oauth2_unreadable_hashes_total{} 1",
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
