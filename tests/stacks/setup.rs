//! The users, clients and limits of the test servers.

use std::{net::IpAddr, sync::LazyLock, time::Duration};

use http::request::Parts;
use tower_oauth2_password::{
    Argon2Params, AttemptLimits, AuthorizationServer, Client, HashingPool, Identity, Jwt, Key, MemoryUsers,
    PasswordVerifier, RefreshTokens, Secret, StaticClients, StoredUser, Users,
    store::{AttemptStore, DenyList, MemoryAttemptStore, MemoryDenyList, MemoryRefreshStore, RefreshStore},
};

/// The header with the client's address, so that tests do not block each other's attempts.
pub const ADDRESS: &str = "x-test-address";

#[derive(Clone)]
pub struct Setup {
    pub auth: AuthorizationServer,
    pub users: MemoryUsers,
    pub pool: HashingPool,
}

pub fn in_memory() -> Setup {
    over(MemoryRefreshStore::new(), MemoryAttemptStore::new(), MemoryDenyList::new(), |tokens| tokens)
}

static HASHES: LazyLock<Vec<(&str, String)>> = LazyLock::new(|| {
    let pool = pool();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let hashes = [
        ("alice", "wonderland123"),
        ("bob", "builder456"),
        ("mallory", "disabled"),
        ("equals", "a=b"),
        ("éric", "naïve ✓"),
    ]
    .map(|(name, password)| (name, runtime.block_on(pool.hash(Secret::from(password), None)).unwrap()));
    hashes.into()
});

/// Cheap hashes: these tests do not depend on the cost of a hash.
fn pool() -> HashingPool {
    HashingPool::new().with_params(Argon2Params::new(64, 1, 1).unwrap())
}

pub fn over(
    refresh: impl RefreshStore,
    attempts: impl AttemptStore,
    deny_list: impl DenyList,
    lifetimes: impl Fn(RefreshTokens) -> RefreshTokens,
) -> Setup {
    let pool = pool();
    let users = MemoryUsers::default();
    for (name, hash) in std::thread::spawn(|| HASHES.clone()).join().unwrap() {
        let scope = if name == "bob" { "items:read" } else { "items:read items:write" };
        let amr: &[&str] = if name == "bob" { &["pwd", "otp"] } else { &["pwd"] };
        let identity = Identity::new(name).with_scope(scope.parse().unwrap()).with_amr(amr.iter().copied());
        let user = StoredUser::new(identity);
        users.insert(name, user.with_password_hash(hash).with_disabled(name == "mallory"));
    }
    let clients = StaticClients::new([
        Client::confidential("demo-web", "demo-web-secret"),
        Client::confidential("percent", "100%25"),
        Client::confidential("colon", "a:b"),
        Client::public("demo-cli"),
    ]);
    let jwt = Jwt::new(Key::hs256([7; 32]).unwrap(), "https://api.example", "api");
    let refresh = lifetimes(RefreshTokens::new(refresh).with_absolute_ttl(Duration::from_secs(86_400)));
    let limits = AttemptLimits::new(attempts, |parts: &Parts| -> Option<IpAddr> {
        parts.headers.get(ADDRESS).and_then(|value| value.to_str().ok()?.parse().ok())
    });
    let auth = AuthorizationServer::new(PasswordVerifier::new(users.clone()).with_pool(pool.clone()), jwt)
        .with_acr("urn:example:mfa", ["pwd", "otp"])
        .unwrap()
        .with_clients(clients)
        .with_attempt_limits(limits)
        .with_refresh_tokens(refresh)
        .with_deny_list(deny_list);
    Setup { auth, users, pool }
}

impl Setup {
    pub async fn change_user(&self, name: &str, change: impl FnOnce(StoredUser) -> StoredUser) {
        let user = self.users.find(name).await.unwrap().unwrap();
        self.users.insert(name, change(user));
    }
}
