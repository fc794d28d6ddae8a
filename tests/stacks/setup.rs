//! The users, clients and limits of the test servers.

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
    time::Duration,
};

use http::request::Parts;
use tower_oauth2_password::{
    Argon2Params, AttemptLimits, AuthorizationServer, BoxError, Client, FactorCode, FactorVerdict, GrantRequest,
    HashingPool, Identity, Jwt, Key, MemoryUsers, PasswordVerifier, RefreshTokens, SecondFactor, SecondFactors, Secret,
    StaticClients, StoredUser, Users, Verdict,
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
        ("carol", "second456"),
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
        Client::public("demo-spa").with_cookie(),
        Client::confidential("reports", "reports-secret")
            .with_subject("client:reports")
            .with_scope("items:read".parse().unwrap()),
    ]);
    let jwt = Jwt::new(Key::hs256([7; 32]).unwrap(), "https://api.example", "api");
    let refresh = Arc::new(refresh);
    let factors = SecondFactors::new(Codes, Arc::clone(&refresh))
        .with_trusted_devices(Arc::clone(&refresh), Duration::from_secs(3_600));
    let refresh = RefreshTokens::new(refresh).with_absolute_ttl(Duration::from_secs(86_400));
    let refresh = lifetimes(refresh.with_cookie(["https://app.api.example"]).unwrap());
    let limits = AttemptLimits::new(attempts, |parts: &Parts| -> Option<IpAddr> {
        parts.headers.get(ADDRESS).and_then(|value| value.to_str().ok()?.parse().ok())
    });
    let auth = AuthorizationServer::new(PasswordVerifier::new(users.clone()).with_pool(pool.clone()), jwt)
        .with_acr("urn:example:mfa", ["pwd", "otp"])
        .unwrap()
        .with_clients(clients)
        .with_attempt_limits(limits)
        .with_refresh_tokens(refresh)
        .with_deny_list(deny_list)
        .with_client_credentials_grant()
        .with_extension_grant("urn:example:code", ["code"], by_code)
        .unwrap()
        .with_second_factor(factors);
    Setup { auth, users, pool }
}

/// The code of the grant `urn:example:code`.
async fn by_code(request: GrantRequest) -> Result<Verdict, BoxError> {
    let right = request.required("code")?.expose() == "right";
    Ok(if right { Identity::new("bob").with_scope("items:read".parse()?).into() } else { Verdict::Denied })
}

/// Carol's second factor.
struct Codes;

impl SecondFactor for Codes {
    async fn is_required(&self, user: &Identity) -> Result<bool, BoxError> {
        Ok(user.subject() == "carol")
    }

    async fn verify(&self, _: &str, code: FactorCode) -> Result<FactorVerdict, BoxError> {
        Ok(match code {
            FactorCode::Otp(otp) if otp.expose() == "123456" => {
                FactorVerdict::Accepted { amr: "otp", recovery_code: None }
            }
            FactorCode::Recovery(code) if code.expose() == "lost" => {
                FactorVerdict::Accepted { amr: "pin", recovery_code: Some("next".into()) }
            }
            _ => FactorVerdict::Denied,
        })
    }
}

impl Setup {
    pub async fn change_user(&self, name: &str, change: impl FnOnce(StoredUser) -> StoredUser) {
        let user = self.users.find(name).await.unwrap().unwrap();
        self.users.insert(name, change(user));
    }
}
