//! The introspection endpoint as a tower layer.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, request::Parts};

use crate::{
    attempts::AttemptLimits,
    error::{BoxFuture, TokenError},
    layer::options::endpoint_layer,
    layer::{common::Common, endpoint::Endpoint},
    protocol::{
        client::Clients,
        client_policy::ClientPolicy,
        introspection::{self, Introspection},
        revocation,
    },
    store::{DenyList, StoreBudget},
    token::TokenValidator,
};

/// Answers `POST /introspect` (RFC 7662), where other servers ask whether an access token is good, and passes every
/// other request on untouched. Cheap to clone.
///
/// A good access token is answered with `active: true` and what it says: `scope`, `sub`, `client_id`, `jti`, `exp`,
/// `iat`, `iss`, `aud`, `token_type`. Everything else is answered `{"active":false}`, refresh tokens included: they are
/// for the token endpoint alone, and no other server has any use for them. Claims of one's own are left out.
///
/// ```
/// use tower::ServiceExt;
/// use tower_oauth2_password::{Client, IntrospectionLayer, Jwt, Key, StaticClients};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://login.example", "api");
/// let servers = StaticClients::new([Client::confidential("items", "LWQ0YjQ5ZDMtZmY1NS00Y2Jm")]);
/// let endpoint = IntrospectionLayer::new(jwt, servers).into_service();
/// let request = http::Request::post("/introspect")
///     .header("content-type", "application/x-www-form-urlencoded")
///     .body("token=unknown&client_id=items&client_secret=wrong".to_owned())?;
/// assert_eq!(endpoint.oneshot(request).await?.status(), 401);
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone)]
pub struct IntrospectionLayer {
    endpoint: Arc<IntrospectionEndpoint>,
}

#[derive(Clone)]
struct IntrospectionEndpoint {
    common: Common,
    introspection: Introspection,
}

impl IntrospectionLayer {
    /// An endpoint at `/introspect` that tells the confidential ones among `clients` what `validator` finds. Nobody
    /// else is told anything (RFC 7662, section 2.1), so give it the servers that check tokens.
    #[must_use]
    pub fn new(validator: impl TokenValidator, clients: impl Clients) -> Self {
        let policy = ClientPolicy { clients: Some(Arc::new(clients)), ..ClientPolicy::default() };
        let introspection = Introspection { validator: Arc::new(validator), policy, deny_list: None };
        Self { endpoint: Arc::new(IntrospectionEndpoint { common: Common::new("/introspect"), introspection }) }
    }

    /// Access tokens that were revoked are not active.
    #[must_use]
    pub fn with_deny_list(self, deny_list: impl DenyList) -> Self {
        self.edit(|endpoint| endpoint.introspection.deny_list = Some(Arc::new(deny_list)))
    }

    /// Holds back who guesses client secrets.
    #[must_use]
    pub fn with_attempt_limits(self, limits: AttemptLimits) -> Self {
        self.edit(|endpoint| endpoint.introspection.policy.attempts = Some(limits))
    }
}

endpoint_layer!(IntrospectionLayer, IntrospectionEndpoint);

impl Endpoint for IntrospectionEndpoint {
    fn common(&self) -> &Common {
        &self.common
    }

    fn required(&self) -> &'static [&'static str] {
        revocation::REQUIRED
    }

    fn not_in_query(&self) -> &'static [&'static str] {
        revocation::NOT_IN_QUERY
    }

    fn decide<'a>(
        &'a self,
        parts: &'a Parts,
        body: &'a [u8],
        budget: &'a StoreBudget,
    ) -> BoxFuture<'a, Result<Response<Bytes>, TokenError>> {
        Box::pin(
            async move { Ok(introspection::render(self.introspection.decide(parts, body, budget).await?.as_ref())) },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        protocol::client::StaticClients,
        token::{key::Key, validator::JwtValidator},
    };

    #[test]
    fn a_request_of_another_type_is_told_what_is_missing() {
        let validator = JwtValidator::new(Key::hs256([7; 32]).unwrap(), "i", "a");
        let layer = IntrospectionLayer::new(validator, StaticClients::default());
        assert_eq!(layer.endpoint.required(), ["token"]);
    }
}
