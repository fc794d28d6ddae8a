//! Step-up authentication (RFC 9470): how old a login may be, and what it must be worth.

use std::time::SystemTime;

use crate::scope::Scope;
use crate::token::{AccessToken, LONGEST_LEEWAY};

/// What a guard requires of the login.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepUp {
    /// In whole seconds, as `auth_time` is.
    pub(crate) max_age: Option<u64>,
    /// One of these. They have the characters of a scope: those that need no escapes in quotes.
    pub(crate) acr_values: Option<Scope>,
}

impl StepUp {
    pub(crate) fn is_met_by(&self, token: &AccessToken, now: impl Fn() -> SystemTime) -> bool {
        let has_acr = |values: &Scope| token.acr().is_some_and(|acr| values.contains(acr));
        // The clock of the issuer may be ahead, but a time in milliseconds must not be recent for ever.
        let is_recent = |login: SystemTime, most: u64| match now().duration_since(login) {
            Ok(age) => age.as_secs() <= most,
            Err(ahead) => ahead.duration() <= LONGEST_LEEWAY,
        };
        self.acr_values.as_ref().is_none_or(has_acr)
            && self.max_age.is_none_or(|most| token.auth_time().is_some_and(|login| is_recent(login, most)))
    }

    /// The parameters of the challenge (section 3). All of them: the next login must satisfy each.
    pub(super) fn challenge(&self) -> String {
        let max_age = self.max_age.map(|seconds| format!(", max_age=\"{seconds}\""));
        let acr_values = self.acr_values.as_ref().map(|values| format!(", acr_values=\"{values}\""));
        [max_age, acr_values].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    fn token(claims: &Value) -> AccessToken {
        AccessToken::new("alice").with_claims(claims.as_object().unwrap().clone())
    }

    #[test]
    fn a_login_is_recent_up_to_its_age_and_five_minutes_ahead() {
        let step_up = StepUp { max_age: Some(300), acr_values: None };
        let now = || SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_300_999);
        for (auth_time, recent) in [
            (json!(1_000_000), true),
            (json!(999_999), false),
            (json!(1_000_000.5), true),
            (json!(1_000_600), true),
            (json!(1_000_601), false),
            // In milliseconds, before 1970, too large for a clock, no number.
            (json!(1_000_300_000), false),
            (json!(-1), false),
            (json!(1e300), false),
            (json!("1000300"), false),
            (json!(null), false),
        ] {
            assert_eq!(step_up.is_met_by(&token(&json!({ "auth_time": auth_time })), now), recent, "{auth_time}");
        }
        assert!(!step_up.is_met_by(&AccessToken::new("alice"), now), "it does not say when");
    }

    #[test]
    fn one_of_the_acr_values_is_required_and_the_clock_is_not_read() {
        let step_up = StepUp { max_age: None, acr_values: "urn:mfa urn:key".parse().ok() };
        for (acr, met) in [
            (json!("urn:mfa"), true),
            (json!("urn:key"), true),
            (json!("urn"), false),
            (json!("urn:mfa urn:key"), false),
            (json!(""), false),
            (json!(["urn:mfa"]), false),
            (json!(null), false),
        ] {
            let unread = || unreachable!("no maximum age");
            assert_eq!(step_up.is_met_by(&token(&json!({ "acr": acr })), unread), met, "{acr}");
        }
    }

    #[test]
    fn the_challenge_names_all_that_is_required() {
        for (max_age, acr_values, challenge) in [
            (Some(5), None, ", max_age=\"5\""),
            (None, "a b".parse().ok(), ", acr_values=\"a b\""),
            (Some(5), "a".parse().ok(), ", max_age=\"5\", acr_values=\"a\""),
        ] {
            assert_eq!(StepUp { max_age, acr_values }.challenge(), challenge);
        }
    }
}
