//! The introspection endpoint's decision (RFC 7662).

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{Response, request::Parts};
use serde_json::{Map, Value, json};

use super::{client::Client, client_policy::ClientPolicy, form::Form, response, revocation};
use crate::error::TokenError;
use crate::{
    store::{DynDenyList, StoreBudget},
    token::{TokenValidator, access::AccessToken},
};

/// Everything that an introspection request is decided by.
#[derive(Clone)]
pub(crate) struct Introspection {
    pub(crate) validator: Arc<dyn TokenValidator>,
    pub(crate) policy: ClientPolicy,
    pub(crate) deny_list: Option<Arc<dyn DynDenyList>>,
}

impl Introspection {
    /// The token, if it is good; `None` says nothing of why it is not (section 2.2).
    pub(crate) async fn decide(
        &self,
        parts: &Parts,
        body: &[u8],
        budget: &StoreBudget,
    ) -> Result<Option<AccessToken>, TokenError> {
        let form = Form::parse(body, revocation::PARAMETERS)?;
        // Before the token is looked at: else the endpoint tells strangers which of their guesses is a token.
        let client = self.policy.authenticate(parts, &form, budget).await?;
        if !client.as_ref().is_some_and(Client::is_confidential) {
            return Err(TokenError::invalid_client());
        }
        let text = form.get("token").ok_or_else(|| TokenError::missing(vec!["token"]))?.expose();
        let Ok(token) = self.validator.validate(text) else { return Ok(None) };
        let denied = self.deny_list.as_ref().zip(token.id()).is_some_and(|(list, id)| list.is_denied(id));
        Ok((!denied).then_some(token))
    }
}

/// The JSON of section 2.2.
pub(crate) fn render(token: Option<&AccessToken>) -> Response<Bytes> {
    let body = token.map_or_else(|| json!({ "active": false }), describe);
    response::uncached(response::json(&body))
}

fn describe(token: &AccessToken) -> Value {
    let mut body = Map::new();
    let mut set = |name: &str, value: Option<Value>| value.and_then(|value| body.insert(name.to_owned(), value));
    set("active", Some(true.into()));
    set("token_type", Some("bearer".into()));
    set("scope", Some(token.scope().as_str().into()));
    set("sub", Some(token.subject().into()));
    set("client_id", token.client_id().map(Into::into));
    set("jti", token.id().map(Into::into));
    set("exp", token.expires_at().and_then(seconds));
    set("iat", token.issued_at().and_then(seconds));
    set("iss", token.issuer().map(Into::into));
    set(
        "aud",
        match token.audience() {
            [] => None,
            [only] => Some(only.as_str().into()),
            several => Some(several.into()),
        },
    );
    Value::Object(body)
}

fn seconds(time: SystemTime) -> Option<Value> {
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(token: Option<&AccessToken>) -> Value {
        serde_json::from_slice(render(token).body()).unwrap()
    }

    #[test]
    fn a_token_is_described_by_what_is_known_of_it() {
        assert_eq!(body(None), json!({ "active": false }));
        let bare = AccessToken::new("alice");
        let mut members = json!({ "active": true, "token_type": "bearer", "scope": "", "sub": "alice" });
        assert_eq!(body(Some(&bare)), members);
        let full = bare
            .with_scope("a b".parse().unwrap())
            .with_client_id("web")
            .with_id("jti-1")
            .with_expires_at(2_000)
            .with_issued_at(1_000)
            .with_issuer("https://api.example");
        let more = json!({
            "scope": "a b", "client_id": "web", "jti": "jti-1", "exp": 2000, "iat": 1000, "iss": "https://api.example",
        });
        members.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        for (audience, told) in [(vec!["api"], json!("api")), (vec!["api", "other"], json!(["api", "other"]))] {
            members["aud"] = told;
            assert_eq!(body(Some(&full.clone().with_audience(audience.into_iter().map(str::to_owned)))), members);
        }
    }
}
