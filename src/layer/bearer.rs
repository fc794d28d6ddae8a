//! The guard for inner routes.

use std::task::{Context, Poll};
use std::{mem, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response};
use tower::{Layer, Service};

use super::{body::ResponseBody, future::ResponseFuture};
use crate::error::{BoxError, BoxFuture, InvalidConfig, TokenError};
use crate::protocol::{ask::Ask, bearer::Guard, response::Realm};
use crate::scope::{RequiredScope, Scope};
use crate::secret::Secret;
use crate::store::DenyList;
use crate::token::{AccessToken, InvalidToken, TokenValidator};

/// Passes only requests with a valid bearer token (RFC 6750), and puts the [`AccessToken`](crate::AccessToken) into their
/// extensions. Cheap to clone.
///
/// 1. The header is `Authorization: Bearer`, once. A token in the query string, the body or a cookie counts as none.
/// 2. A request without a token gets a 401, an invalid token a 401 `invalid_token`, a login that is too old or too weak a 401
///    `insufficient_user_authentication`, a missing scope a 403 `insufficient_scope`. gRPC calls get `UNAUTHENTICATED` or
///    `PERMISSION_DENIED`.
/// 3. The guard answers before the body is read and before the inner service is called.
/// 4. A token of more than 4 KiB is invalid, unless the validator says otherwise
///    ([`TokenValidator::longest_token`]).
///
/// [`AuthorizationServer::guard`](crate::AuthorizationServer::guard) makes the guard of the server that issues the tokens, with
/// its deny list. `new` is for servers that accept the tokens of another.
///
/// ```
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_oauth2_password::{AccessToken, BearerLayer, BoxError, InvalidToken};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let guard = BearerLayer::new(|text: &str| match text {
///     "s3cr3t" => Ok(AccessToken::new("alice")),
///     _ => Err(InvalidToken::Malformed),
/// });
/// let app = guard.layer(service_fn(async |request: http::Request<()>| {
///     let token = request.extensions().get::<AccessToken>().ok_or("no guard")?;
///     Ok::<_, BoxError>(http::Response::new(token.subject().to_owned()))
/// }));
///
/// let request = |token| http::Request::get("/me").header("authorization", format!("Bearer {token}")).body(());
/// assert_eq!(app.clone().oneshot(request("s3cr3t")?).await?.status(), 200);
/// assert_eq!(app.oneshot(request("guess")?).await?.status(), 401);
/// # Ok::<(), BoxError>(())
/// # })?;
/// # Ok::<(), BoxError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct BearerLayer<A = ()> {
    guard: Arc<Guard>,
    asks: A,
}

/// Marks a guard that [asks the app](BearerLayer::with_check). Its inner service must be `Clone`, as axum's and tonic's are.
///
/// ```
/// use tower_oauth2_password::{AccessToken, Asks, BearerLayer};
///
/// let guard: BearerLayer<Asks> = BearerLayer::from_lookup(|_key| async { Ok(None) });
/// assert!(format!("{guard:?}").contains("Asks"));
/// ```
#[derive(Clone, Debug)]
pub struct Asks(Arc<Ask>);

impl BearerLayer {
    /// Accepts the tokens that `validator` accepts.
    pub fn new(validator: impl TokenValidator) -> Self {
        Self::over(Guard::new(Arc::new(validator)))
    }

    pub(super) fn over(guard: Guard) -> Self {
        Self { guard: Arc::new(guard), asks: () }
    }

    /// Asks `check` about each token that is valid and allows the request: is this user still active? False is a 401
    /// `invalid_token`. An error, a panic, or no answer within 5 seconds is a 503. A [`TokenError`] is sent as it is.
    ///
    /// ```
    /// use std::{collections::HashSet, sync::Arc};
    /// use tower_oauth2_password::{AccessToken, BearerLayer};
    ///
    /// let disabled = Arc::new(HashSet::from(["mallory"])); // ask your database
    /// let guard = BearerLayer::new(|text: &str| Ok(AccessToken::new(text))).with_check(move |token| {
    ///     let disabled = Arc::clone(&disabled);
    ///     async move { Ok(!disabled.contains(token.subject())) }
    /// });
    /// ```
    pub fn with_check<F>(self, check: impl Fn(AccessToken) -> F + Send + Sync + 'static) -> BearerLayer<Asks>
    where
        F: Future<Output = Result<bool, BoxError>> + Send + 'static,
    {
        let ask = Ask::User(Box::new(move |token| Box::pin(check(token))));
        BearerLayer { guard: self.guard, asks: Asks(Arc::new(ask)) }
    }
}

impl BearerLayer<Asks> {
    /// Accepts the tokens that `find` knows, such as API keys and opaque tokens, or those that an introspection endpoint
    /// (RFC 7662) calls active. `None` is a 401 `invalid_token`. An error, a panic, or no answer within 5 seconds is a 503. A
    /// [`TokenError`] is sent as it is. A token is at most 4 KiB long, and one that has expired is refused. Look for a digest of
    /// it, so that your table holds no key. Strangers may cause as many lookups as they like: limit them if they are expensive.
    ///
    /// ```
    /// use tower_oauth2_password::{AccessToken, BearerLayer, Secret};
    ///
    /// let guard = BearerLayer::from_lookup(|key: Secret| async move {
    ///     let known = key.expose() == "k-2026"; // ask your database
    ///     Ok(known.then(|| AccessToken::new("robot")))
    /// });
    /// ```
    pub fn from_lookup<F>(find: impl Fn(Secret) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Option<AccessToken>, BoxError>> + Send + 'static,
    {
        let guard = Guard::new(Arc::new(|_: &str| Err(InvalidToken::Refused)));
        let ask = Ask::Token(Box::new(move |token| Box::pin(find(token))));
        Self { guard: Arc::new(guard), asks: Asks(Arc::new(ask)) }
    }
}

impl<A> BearerLayer<A> {
    fn with(mut self, change: impl FnOnce(&mut Guard)) -> Self {
        change(Arc::make_mut(&mut self.guard));
        self
    }

    /// Requires this scope, beside those required before.
    pub fn with_required_scope(self, scope: impl Into<RequiredScope>) -> Self {
        self.with(|guard| guard.required.push((None, scope.into())))
    }

    /// Requires this scope of requests with this method, beside what else is required. `GET` includes `HEAD`, and not the
    /// `CONNECT` of WebSockets over HTTP/2. Methods that are not named require nothing more.
    ///
    /// ```
    /// use http::Method;
    /// use tower_oauth2_password::{AccessToken, BearerLayer, RequiredScope};
    ///
    /// let guard = BearerLayer::new(|text: &str| Ok(AccessToken::new(text)))
    ///     .with_required_scope(const { RequiredScope::all_of("items:read") })
    ///     .with_required_scope_for(Method::DELETE, const { RequiredScope::any_of("items:write admin") });
    /// ```
    pub fn with_required_scope_for(self, method: Method, scope: impl Into<RequiredScope>) -> Self {
        self.with(|guard| guard.required.push((Some(method), scope.into())))
    }

    /// Requires a login that is at most this old, in whole seconds, at least one, for routes such as "change the password". What
    /// counts is [`AccessToken::auth_time`], which no refresh changes. If it is too old or missing, the request gets a 401
    /// `insufficient_user_authentication` with `max_age` in its challenge (RFC 9470, section 3), and the user must log in again.
    /// This comes before the 403 for a missing scope, which the same challenge names. A login up to five minutes in the future
    /// counts as one of now, for clocks that differ.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_oauth2_password::{AccessToken, BearerLayer};
    ///
    /// let guard = BearerLayer::new(|text: &str| Ok(AccessToken::new(text))).with_max_age(Duration::from_secs(300));
    /// assert!(format!("{guard:?}").contains("max_age: Some(300)"));
    /// ```
    pub fn with_max_age(self, max_age: Duration) -> Self {
        self.with(|guard| guard.step_up.get_or_insert_default().max_age = Some(max_age.as_secs().max(1)))
    }

    /// Requires one of these [`acr`](AccessToken::acr) values, separated by spaces, the preferred one first. It replaces those
    /// required before. The values have no order of strength: name each that is strong enough. Another token gets a 401
    /// `insufficient_user_authentication` with `acr_values` in its challenge (RFC 9470, section 3), as with
    /// [`with_max_age`](Self::with_max_age). [`AuthorizationServer::with_acr`](crate::AuthorizationServer::with_acr) says which
    /// login has which value.
    ///
    /// # Errors
    /// When there is no value, or one has anything but printable ASCII without `"` and `\`.
    ///
    /// ```
    /// use tower_oauth2_password::{AccessToken, BearerLayer};
    ///
    /// let guard = || BearerLayer::new(|text: &str| Ok(AccessToken::new(text)));
    /// assert!(guard().with_required_acr("urn:example:mfa urn:example:hardware").is_ok());
    /// assert!(guard().with_required_acr("").is_err());
    /// ```
    pub fn with_required_acr(self, values: &str) -> Result<Self, InvalidConfig> {
        let acr_values = values.parse().ok().filter(|values: &Scope| !values.is_empty());
        let hint = format!("the acr values {values:?} must be printable ASCII without '\"' and '\\', and at least one");
        InvalidConfig::unless(acr_values.is_some(), hint)?;
        Ok(self.with(|guard| guard.step_up.get_or_insert_default().acr_values = acr_values))
    }

    /// Lets requests without a token pass where nothing is required of it, neither a scope nor a login that is recent or worth
    /// enough, for routes that show more to users with one. A bad token is still refused. A header with credentials of another
    /// scheme counts as no token. No [`AccessToken`] is in the extensions then.
    pub fn with_optional_token(self) -> Self {
        self.with(|guard| guard.optional = true)
    }

    /// Rejects access tokens that were revoked.
    pub fn with_deny_list(self, deny_list: impl DenyList) -> Self {
        self.with(|guard| guard.deny_list = Some(Arc::new(deny_list)))
    }

    /// Sets the `realm` of the challenge. The default is `api`.
    ///
    /// # Errors
    /// When it has anything but printable ASCII without `"` and `\`.
    pub fn with_realm(self, realm: &str) -> Result<Self, InvalidConfig> {
        let realm = Realm::new(realm)?;
        Ok(self.with(|guard| guard.realm = realm))
    }

    /// Renders refusals in your API's own format. A challenge is added if it is missing. gRPC calls keep their format.
    pub fn with_error_response(self, render: impl Fn(&TokenError) -> Response<Bytes> + Send + Sync + 'static) -> Self {
        self.with(|guard| guard.render = Arc::new(render))
    }
}

impl<S, A: Clone> Layer<S> for BearerLayer<A> {
    type Service = BearerService<S, A>;

    fn layer(&self, inner: S) -> Self::Service {
        BearerService { inner, guard: Arc::clone(&self.guard), asks: self.asks.clone() }
    }
}

/// The service that [`BearerLayer`] makes.
///
/// ```
/// use tower::Layer;
/// use tower_oauth2_password::{AccessToken, BearerLayer, BearerService};
///
/// let guard = BearerLayer::new(|text: &str| Ok(AccessToken::new(text)));
/// let service: BearerService<&str> = guard.layer("inner");
/// assert!(format!("{service:?}").contains("inner: \"inner\""));
/// ```
#[derive(Clone, Debug)]
pub struct BearerService<S, A = ()> {
    inner: S,
    guard: Arc<Guard>,
    asks: A,
}

impl<S, B, R> Service<Request<B>> for BearerService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.guard.check(request.method(), request.headers()) {
            Ok(token) => {
                self.guard.admit(&mut request, token);
                ResponseFuture::inner(self.inner.call(request))
            }
            Err(refusal) => ResponseFuture::ready(*refusal),
        }
    }
}

impl<S, B, R> Service<Request<B>> for BearerService<S, Asks>
where
    S: Service<Request<B>, Response = Response<R>, Future: Send> + Clone + Send + 'static,
    B: Send + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The clone that is left behind is not ready, and is asked again.
        let (clone, guard, Asks(ask)) = (self.inner.clone(), Arc::clone(&self.guard), self.asks.clone());
        let mut ready = mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            match guard.check_and_ask(&ask, &parts).await {
                Ok(token) => {
                    let mut request = Request::from_parts(parts, body);
                    guard.admit(&mut request, token);
                    ResponseFuture::inner(ready.call(request)).await
                }
                Err(refusal) => Ok(refusal.map(ResponseBody::own)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::FutureExt;
    use http::header::WWW_AUTHENTICATE;
    use tower::ServiceExt;

    use super::*;

    fn layer() -> BearerLayer {
        BearerLayer::new(|text: &str| Ok(AccessToken::new(text)))
    }

    #[test]
    fn the_realm_is_in_the_challenge() {
        let inner = tower::service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
        let guarded = layer().with_realm("members").unwrap().layer(inner);
        let refused = guarded.oneshot(Request::new(())).now_or_never().unwrap().unwrap();
        assert_eq!(refused.headers()[WWW_AUTHENTICATE], "Bearer realm=\"members\"");
        let error = layer().with_realm("a\"b").unwrap_err().to_string();
        assert!(error.contains("\"a\\\"b\""), "{error}");
    }

    #[test]
    fn acr_values_can_be_quoted_or_are_an_error_that_names_them() {
        for values in ["", " ", "a\"b", "a\\b", "a\nb", "é"] {
            let error = layer().with_required_acr(values).unwrap_err().to_string();
            assert!(error.contains(&format!("{values:?}")), "{error}");
        }
        assert!(format!("{:?}", layer().with_required_acr("urn:mfa").unwrap()).contains("urn:mfa"));
    }

    #[test]
    fn a_maximum_age_is_a_second_at_least() {
        for (given, seconds) in [(0, 1), (999, 1), (2_999, 2)] {
            let guard = layer().with_max_age(Duration::from_millis(given)).guard;
            assert_eq!(guard.step_up.as_ref().unwrap().max_age, Some(seconds));
        }
    }

    #[test]
    fn debug_output_names_the_scope() {
        let [read, write] = [RequiredScope::all_of("items:read"), RequiredScope::all_of("items:write")];
        let printed = format!("{:?}", layer().with_required_scope(read).with_required_scope(write));
        assert!(printed.contains("items:read") && printed.contains("items:write"), "the second adds to the first");
    }

    #[test]
    fn the_guard_is_ready_when_the_inner_service_is() {
        struct Busy;
        impl Service<Request<()>> for Busy {
            type Response = Response<()>;
            type Error = Infallible;
            type Future = std::future::Ready<Result<Response<()>, Infallible>>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Pending
            }

            fn call(&mut self, _: Request<()>) -> Self::Future {
                std::future::ready(Ok(Response::new(())))
            }
        }
        let mut service = layer().layer(Busy);
        assert!(service.poll_ready(&mut Context::from_waker(std::task::Waker::noop())).is_pending());
    }
}
