//! The users, clients and limits that the suite's servers know.

use std::{net::IpAddr, sync::LazyLock, time::Duration};

use tower_oauth2_password::{
    Argon2Params, AttemptLimits, BearerLayer, Client, HashingPool, Identity, Jwt, Key, MemoryUsers, PasswordVerifier,
    RefreshTokens, RevocationLayer, Secret, StaticClients, TokenEndpointLayer, User, Users,
    store::{AttemptStore, DenyList, MemoryAttemptStore, MemoryDenyList, MemoryRefreshStore, RefreshStore},
};

/// Says where a request comes from, so that tests do not hold each other's attempts back.
pub const ADDRESS: &str = "x-test-address";

#[derive(Clone)]
pub struct Setup {
    pub token: TokenEndpointLayer,
    pub revocation: RevocationLayer,
    pub guard: BearerLayer,
    pub users: MemoryUsers,
    pub refresh: RefreshTokens,
    pub pool: HashingPool,
}

pub fn in_memory() -> Setup {
    over(MemoryRefreshStore::new(), MemoryAttemptStore::new(), MemoryDenyList::new(), |tokens| tokens)
}

static HASHES: LazyLock<Vec<(&str, String)>> = LazyLock::new(|| {
    let pool = pool();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let hashes = [
        ("alice", "wonderland123"),
        ("bob", "builder456"),
        ("mallory", "disabled"),
        ("equals", "a=b"),
        ("éric", "naïve ✓"),
    ]
    .map(|(name, password)| (name, runtime.block_on(pool.hash(Secret::from(password))).unwrap()));
    hashes.into()
});

/// The hash's cost is not what these tests are about.
fn pool() -> HashingPool {
    HashingPool::new().with_params(Argon2Params::new(64, 1, 1).unwrap())
}

pub fn over(
    refresh: impl RefreshStore,
    attempts: impl AttemptStore,
    deny_list: impl DenyList + Clone,
    lifetimes: impl Fn(RefreshTokens) -> RefreshTokens,
) -> Setup {
    let pool = pool();
    let users = MemoryUsers::default();
    for (name, hash) in std::thread::spawn(|| HASHES.clone()).join().unwrap() {
        let scope = if name == "bob" { "items:read" } else { "items:read items:write" };
        let user = User::new(Identity::new(name).with_scope(scope.parse().unwrap()));
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
    let limits = AttemptLimits::new(attempts, |parts| -> Option<IpAddr> {
        parts.headers.get(ADDRESS).and_then(|value| value.to_str().ok()?.parse().ok())
    });
    Setup {
        token: TokenEndpointLayer::new(PasswordVerifier::new(users.clone()).with_pool(pool.clone()), jwt.clone())
            .with_clients(clients.clone())
            .with_refresh_tokens(refresh.clone())
            .with_attempt_limits(limits.clone()),
        revocation: RevocationLayer::new(refresh.clone())
            .with_access_tokens(jwt.clone(), deny_list.clone())
            .with_clients(clients)
            .with_attempt_limits(limits),
        guard: BearerLayer::new(jwt).with_deny_list(deny_list),
        users,
        refresh,
        pool,
    }
}

impl Setup {
    pub async fn change_user(&self, name: &str, change: impl FnOnce(User) -> User) {
        let user = self.users.find(name).await.unwrap().unwrap();
        self.users.insert(name, change(user));
    }
}
