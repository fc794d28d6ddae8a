//! The introspection endpoint's decision (RFC 7662).

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::Response;
use serde_json::{Map, Value, json};

use super::{
    client::Client,
    client_policy::ClientPolicy,
    request::{Endpoint, Request},
    response, revocation,
};
use crate::{
    error::{BoxFuture, TokenError},
    store::DenyList,
    token::{AccessToken, TokenValidator},
};

/// What an introspection request is decided by.
#[derive(Clone)]
pub(crate) struct Introspection {
    pub(crate) policy: ClientPolicy,
    pub(crate) validator: Arc<dyn TokenValidator>,
    pub(crate) deny_list: Option<Arc<dyn DenyList>>,
}

impl Endpoint for Introspection {
    fn parameters(&self) -> &'static [&'static str] {
        revocation::PARAMETERS
    }

    fn not_in_query(&self) -> &'static [&'static str] {
        revocation::NOT_IN_QUERY
    }

    fn required(&self) -> &'static [&'static str] {
        revocation::REQUIRED
    }

    fn decide<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Response<Bytes>, TokenError>> {
        Box::pin(async move {
            // Before the token: otherwise strangers learn which of their guesses is a token (section 2.1).
            let client = self.policy.authenticate(request).await?;
            if !client.as_ref().is_some_and(Client::is_confidential) {
                return Err(TokenError::invalid_client());
            }
            let token = self.active(request.required("token")?.expose());
            Ok(render(token.as_ref()))
        })
    }
}

impl Introspection {
    /// The token, if it is valid. The response does not say why one is not (section 2.2).
    fn active(&self, text: &str) -> Option<AccessToken> {
        let token = self.validator.validate(text).ok()?;
        let denied = self.deny_list.as_ref().zip(token.id()).is_some_and(|(list, id)| list.is_denied(id));
        (!denied).then_some(token)
    }
}

/// The JSON of section 2.2.
fn render(token: Option<&AccessToken>) -> Response<Bytes> {
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
    fn a_response_holds_the_known_members_of_a_token() {
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
        for (audience, expected) in [(vec!["api"], json!("api")), (vec!["api", "other"], json!(["api", "other"]))] {
            members["aud"] = expected;
            assert_eq!(body(Some(&full.clone().with_audience(audience.into_iter().map(str::to_owned)))), members);
        }
    }
}
