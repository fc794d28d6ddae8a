//! A server with all endpoints. Each input gets a new one.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::pin,
    sync::{Arc, LazyLock, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use tokio::runtime::{Builder, Runtime};
use tower::Layer;
use tower::Service;
use tower_oauth2_password::{
    AccessToken, AuthorizationServer, BearerService, BoxError, Client, EndpointService, Identity, Jwt, Key, Login,
    RefreshTokens, RequiredScope, Scope, StandaloneService, StaticClients, Verdict, Verifier,
    store::{MemoryDenyList, MemoryRefreshStore},
};

use crate::ask::{Ask, Pieces};

pub const SECRET: [u8; 32] = [7; 32];
pub const ISSUER: &str = "https://api.example";
pub const AUDIENCE: &str = "api";
/// Later than any real clock, so that code that reads the real clock finds tokens that have not expired.
pub const NOW: u64 = 4_000_000_000;

/// Name, password, scope; the last user may not log in.
pub const USERS: [(&str, &str, &str); 5] = [
    ("alice", "wonderland123", "items:read items:write"),
    ("bob", "builder456", "items:read"),
    ("equals", "a=b", "items:read items:write"),
    ("\u{e9}ric", "na\u{ef}ve \u{2713}", "items:read items:write"),
    ("mallory", "disabled", ""),
];

/// Id and secret.
pub const CLIENTS: [(&str, &str); 5] =
    [("demo-web", "demo-web-secret"), ("percent", "100%25"), ("colon", "a:b"), ("demo-cli", ""), (PAGE, "")];
/// The client whose token is in a cookie, and where its page may be beside the server's own origin.
pub const PAGE: &str = "demo-spa";
pub const PAGE_ORIGIN: &str = "https://app.api.example";

/// What the verifier got since this was last read: username, password, client and scope.
pub type Logins = Vec<(String, String, Option<String>, Vec<String>)>;

#[derive(Clone, Default)]
struct Accounts(Arc<Mutex<Logins>>);

fn verdict(found: Option<&(&str, &str, &str)>) -> Verdict {
    match found {
        Some((name, _, scope)) if *name != "mallory" => {
            Identity::new(*name).with_scope(scope.parse().expect("a scope of the harness")).into()
        }
        _ => Verdict::Denied,
    }
}

impl Verifier for Accounts {
    async fn verify(&self, login: Login) -> Result<Verdict, BoxError> {
        let right = |user: &&(&str, &str, &str)| user.0 == login.username && user.1 == login.password.expose();
        let verdict = verdict(USERS.iter().find(right));
        let scope = login.scope.iter().flat_map(Scope::iter).map(str::to_owned).collect();
        let login = (login.username, login.password.expose().to_owned(), login.client_id, scope);
        self.0.lock().expect("one thread").push(login);
        Ok(verdict)
    }

    async fn verify_subject(&self, subject: &str) -> Result<Verdict, BoxError> {
        Ok(verdict(USERS.iter().find(|user| user.0 == subject)))
    }
}

/// Replies to everything with the body it got, and with the subject that the guard saw.
#[derive(Clone, Debug)]
pub struct Inner;

impl Service<Request<Pieces>> for Inner {
    type Response = Response<Pieces>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Pieces>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Pieces>) -> Self::Future {
        let subject = request.extensions().get::<AccessToken>().map(|token| token.subject().to_owned());
        let mut response = Response::new(request.into_body());
        response.extensions_mut().insert(Seen(subject));
        ready(Ok(response))
    }
}

/// Marks a reply of the inner service. Holds the subject that the guard saw.
#[derive(Clone, Debug)]
pub struct Seen(pub Option<String>);

pub struct World {
    stack: EndpointService<Inner>,
    standalone: StandaloneService,
    guard: BearerService<Inner>,
    accounts: Accounts,
}

pub static JWT: LazyLock<Jwt> =
    LazyLock::new(|| Jwt::new(Key::hs256(SECRET).expect("a key of the harness"), ISSUER, AUDIENCE).with_clock(|| NOW));

static KNOWN: LazyLock<StaticClients> = LazyLock::new(|| {
    StaticClients::new(CLIENTS.map(|(id, secret)| match secret {
        _ if id == PAGE => Client::public(id).with_cookie(),
        "" => Client::public(id),
        _ => Client::confidential(id, secret),
    }))
});

impl World {
    #[must_use]
    pub fn new(grace: bool) -> Self {
        let mut refresh = RefreshTokens::new(MemoryRefreshStore::new().with_clock(|| Duration::ZERO));
        if grace {
            refresh = refresh.with_grace(Duration::from_secs(10));
        }
        let refresh = refresh.with_cookie([PAGE_ORIGIN]).expect("an origin of the harness");
        let accounts = Accounts::default();
        let auth = AuthorizationServer::new(accounts.clone(), JWT.clone())
            .with_clients(KNOWN.clone())
            .with_introspection(KNOWN.clone())
            .with_refresh_tokens(refresh)
            .with_deny_list(MemoryDenyList::new());
        let guard = auth.guard().with_required_scope(RequiredScope::all_of("items:write"));
        Self {
            standalone: auth.token_endpoint().into_service(),
            stack: auth.endpoints().layer(Inner),
            guard: guard.layer(Inner),
            accounts,
        }
    }

    pub fn take_logins(&mut self) -> Logins {
        std::mem::take(&mut self.accounts.0.lock().expect("one thread"))
    }

    pub fn send(&mut self, ask: &Ask) -> Response<Bytes> {
        let request = ask.request();
        match ask.parts.uri.path() {
            "/leaf" => at_once(self.standalone.call(request)).map_or_else(|never| match never {}, whole),
            "/guarded" => at_once(self.guard.call(request)).map_or_else(|never| match never {}, whole),
            _ => at_once(self.stack.call(request)).map_or_else(|never| match never {}, whole),
        }
    }
}

/// Reads the whole body. A request body that breaks off does so in the inner service's reply, too.
fn whole<B: http_body::Body<Data = Bytes>>(response: Response<B>) -> Response<Bytes> {
    let (parts, body) = response.into_parts();
    let mut body = pin!(body);
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = at_once(body.frame()) {
        bytes.extend(frame.into_data().unwrap_or_default());
    }
    Response::from_parts(parts, bytes.into())
}

/// Has a timer, which the endpoints require.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a runtime for the harness"));

impl Drop for World {
    fn drop(&mut self) {
        // The rest of a large body is read in the background.
        RUNTIME.block_on(tokio::task::yield_now());
    }
}

/// The output of a future: nothing in this world has to wait.
pub fn at_once<F: Future>(future: F) -> F::Output {
    let _timer = RUNTIME.enter();
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the endpoint waits for nothing"),
    }
}

#[must_use]
pub fn is_endpoint(method: &Method, path: &str) -> bool {
    path == "/leaf" || *method == Method::POST && ["/token", "/revoke", "/introspect"].contains(&path)
}
