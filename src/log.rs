//! What the operator should know and the client must not: causes of failures, never credentials or tokens.

use std::error::Error;

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

pub(crate) fn store_failed(error: &crate::StoreError) {
    warn("a store failed", error);
}

pub(crate) fn verifier_failed(error: &crate::VerifyError) {
    warn("the verifier failed", error);
}

pub(crate) fn issuer_failed(error: &crate::BoxError) {
    warn("no access token could be issued", error.as_ref());
}

/// One audit line: what was decided, for whom, for which client.
pub(crate) fn audit(event: &'static str, subject: Option<&str>, client_id: Option<&str>) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: "tower_oauth2_password::audit", event, subject, client_id);
    #[cfg(not(feature = "tracing"))]
    let _ = (event, subject, client_id);
}
