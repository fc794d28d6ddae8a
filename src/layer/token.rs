//! The shortest form: a token endpoint, and nothing else.

use super::{authorization_server::AuthorizationServer, endpoint::EndpointLayer};
use crate::protocol::grant::Grants;
use crate::token::{InvalidToken, TokenIssuer};
use crate::verifier::Verifier;

/// The layer of the token endpoint: `POST /token` is answered here (RFC 6749, section 4.3), and every other request reaches
/// the inner service unchanged.
///
/// [`new`](EndpointLayer::new) is the shortest form, for a first try and for tests: it limits no attempts, which RFC 6749,
/// section 4.3.2 demands. [`AuthorizationServer`] has all options.
///
/// ```
/// use tower::ServiceExt;
/// use tower_oauth2_password::{Identity, Jwt, Key, Login, TokenEndpointLayer, Verdict};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
/// let layer = TokenEndpointLayer::new(
///     |login: Login| async move {
///         let right = login.username == "alice" && login.password.expose() == "wonderland123"; // ask your directory
///         Ok(if right { Identity::new("alice").into() } else { Verdict::Denied })
///     },
///     jwt,
/// );
///
/// let request = http::Request::post("/token")
///     .header("content-type", "application/x-www-form-urlencoded")
///     .body("grant_type=password&username=alice&password=wonderland123".to_owned())?;
/// assert_eq!(layer.into_service().oneshot(request).await?.status(), 200);
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// # })?;
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
pub type TokenEndpointLayer = EndpointLayer;

impl EndpointLayer {
    /// A token endpoint at `/token` that verifies logins with `verifier` and issues tokens with `issuer`. To validate these
    /// tokens, see [`BearerLayer::new`](crate::BearerLayer::new).
    pub fn new(verifier: impl Verifier, issuer: impl TokenIssuer) -> Self {
        let no_guard = |_: &str| Err(InvalidToken::Malformed);
        AuthorizationServer::over(Grants::new(verifier, issuer, no_guard)).token_endpoint()
    }
}
