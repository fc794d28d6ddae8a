//! The introspection endpoint's decision (RFC 7662).

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};

use super::request::{Endpoint, Request};
use super::{client::Client, grant::Grants, response};
use crate::error::{BoxFuture, TokenError};
use crate::token::{AccessToken, GRANT_CLAIM};

/// Describes the tokens that these grants issued, to the clients of its own policy.
pub(crate) struct Introspection(pub(crate) Grants);

impl Endpoint for Introspection {
    fn decide<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Response<Bytes>, TokenError>> {
        Box::pin(async move {
            // Before the token: otherwise strangers learn which of their guesses is a token (section 2.1).
            let client = self.0.policy.authenticate(request).await?;
            if !client.as_ref().is_some_and(Client::is_confidential) {
                return Err(TokenError::invalid_client());
            }
            // The response does not say why a token is not active (section 2.2).
            let token = self.0.validator.validate(request.required("token")?.expose()).ok();
            let denials = self.0.denials.as_ref();
            let token = token.filter(|token| !denials.is_some_and(|denials| denials.is_denied(token)));
            let body = token.as_ref().map_or_else(|| json!({ "active": false }), describe);
            Ok(response::uncached(response::json(&body)))
        })
    }
}

/// The JSON of section 2.2, of RFC 9470, section 6.2, and `gty` for a token that a client got for itself.
fn describe(token: &AccessToken) -> Value {
    Value::Object(response::members(json!({
        "active": true,
        "token_type": "bearer",
        "scope": (!token.scope().is_empty()).then(|| token.scope().as_str()),
        "sub": token.subject(),
        "client_id": token.client_id(),
        "jti": token.id(),
        "exp": token.expires_at().and_then(seconds),
        "iat": token.issued_at().and_then(seconds),
        "auth_time": token.auth_time().and_then(seconds),
        "acr": token.acr(),
        "amr": token.claim("amr"),
        "gty": token.claim(GRANT_CLAIM),
        "iss": token.issuer(),
        "aud": match token.audience() {
            [] => Value::Null,
            [only] => json!(only),
            several => json!(several),
        },
    })))
}

fn seconds(time: SystemTime) -> Option<u64> {
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_holds_the_known_members_of_a_token() {
        let bare = AccessToken::new("alice");
        let mut members = json!({ "active": true, "token_type": "bearer", "sub": "alice" });
        assert_eq!(describe(&bare), members);
        let full = bare
            .with_scope("a b".parse().unwrap())
            .with_client_id("web")
            .with_id("jti-1")
            .with_expires_at(2_000)
            .with_issued_at(1_000)
            .with_issuer("https://api.example")
            .with_claims(response::members(json!({ "auth_time": 900, "acr": "urn:mfa", "tenant": "acme" })));
        let more = json!({
            "scope": "a b", "client_id": "web", "jti": "jti-1", "exp": 2000, "iat": 1000, "iss": "https://api.example",
            "auth_time": 900, "acr": "urn:mfa",
        });
        members.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        for (audience, expected) in [(vec!["api"], json!("api")), (vec!["api", "other"], json!(["api", "other"]))] {
            members["aud"] = expected;
            assert_eq!(describe(&full.clone().with_audience(audience.into_iter().map(str::to_owned))), members);
        }
    }
}
