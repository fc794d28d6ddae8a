//! What a validator accepts beyond RFC 9068, for tokens that other issuers signed.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::InvalidToken;
use crate::scope::Scope;

type IsRight = dyn Fn(&Value) -> bool + Send + Sync;

/// Nothing by default.
#[derive(Clone, Default)]
pub(super) struct Accepted {
    pub(super) untyped: bool,
    pub(super) scope_lists: bool,
    pub(super) numeric_subjects: bool,
    pub(super) no_id: bool,
    pub(super) no_issue_time: bool,
    pub(super) no_issuer: bool,
    pub(super) no_audience: Option<(Arc<str>, Arc<IsRight>)>,
}

impl Accepted {
    /// Whether a token without an audience is meant for this server.
    pub(super) fn is_meant(&self, payload: &[u8]) -> bool {
        self.no_audience.as_ref().is_some_and(|(claim, is_right)| {
            let claims: Option<Map<String, Value>> = serde_json::from_slice(payload).ok();
            claims.is_some_and(|claims| claims.get(&**claim).is_some_and(|value| is_right(value)))
        })
    }

    pub(super) fn subject(&self, claim: Value) -> Result<String, InvalidToken> {
        match claim {
            Value::String(subject) => Ok(subject),
            Value::Number(number) if self.numeric_subjects && !number.is_f64() => Ok(number.to_string()),
            _ => Err(InvalidToken::Malformed),
        }
    }

    pub(super) fn scope(&self, claim: Option<&Value>, others: &Map<String, Value>) -> Result<Scope, InvalidToken> {
        let scope = match claim.or_else(|| others.get("scp").filter(|_| self.scope_lists)) {
            None => Ok(Scope::empty()),
            Some(Value::String(text)) => text.parse(),
            Some(Value::Array(list)) if self.scope_lists => {
                let names: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
                let names = names.filter(|names| names.iter().all(|name| !name.is_empty() && !name.contains(' ')));
                names.ok_or(InvalidToken::Malformed)?.join(" ").parse()
            }
            Some(_) => return Err(InvalidToken::Malformed),
        };
        scope.map_err(|_| InvalidToken::Malformed)
    }
}
