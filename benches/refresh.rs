//! Refreshes in memory and in Redis compared with bare round trips to the same Redis.

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use http::request::Parts;
use redis::{AsyncConnectionConfig, aio::MultiplexedConnection};
use support::{form, json, medians, rate, send};
use test_support::redis::Redis;
use tokio::runtime::Runtime;
use tower_oauth2_password::{
    AttemptLimits, AuthorizationServer, BoxError, Identity, Jwt, Key, Login, RefreshTokens, StandaloneService, Verdict,
    Verifier,
    store::{MemoryRefreshStore, redis::RedisStores},
};

const TASKS: [usize; 2] = [1, 64];
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(500);
/// The number of requests for which commands are counted.
const COUNTED: usize = 200;

/// Accepts everyone, so that only the stores are measured.
struct Everyone;

impl Verifier for Everyone {
    async fn verify(&self, login: Login) -> Result<Verdict, BoxError> {
        self.verify_subject(&login.username).await
    }

    async fn verify_subject(&self, subject: &str) -> Result<Verdict, BoxError> {
        Ok(Identity::new(subject).with_scope("items:read".parse().unwrap()).into())
    }
}

fn auth(tokens: RefreshTokens) -> AuthorizationServer {
    let jwt = Jwt::new(Key::hs256([7; 32]).unwrap(), "https://api.example", "api");
    AuthorizationServer::new(Everyone, jwt).with_refresh_tokens(tokens)
}

/// Sends a form and returns the refresh token from the response.
async fn exchange(endpoint: &mut StandaloneService, body: String) -> String {
    let answer = json(send(endpoint, form(body)).await).await;
    answer["refresh_token"].as_str().unwrap().to_owned()
}

async fn login(endpoint: &mut StandaloneService, user: usize) -> String {
    exchange(endpoint, format!("grant_type=password&username=user{user}&password=wonderland")).await
}

async fn refresh(endpoint: &mut StandaloneService, token: &str) -> String {
    exchange(endpoint, format!("grant_type=refresh_token&refresh_token={token}")).await
}

async fn refreshes(endpoint: &StandaloneService, tasks: usize) -> f64 {
    let mut tokens = Vec::new();
    for user in 0..tasks {
        tokens.push(login(&mut endpoint.clone(), user).await);
    }
    let state = |task: usize| (endpoint.clone(), tokens[task].clone());
    let once = |(mut endpoint, token): (StandaloneService, String)| async move {
        let token = refresh(&mut endpoint, &token).await;
        ((endpoint, token), true)
    };
    rate(tasks, ROUND, state, once).await
}

/// A `GET` and then a `SET`, since a refresh also reads and then writes.
async fn bare(connection: &MultiplexedConnection, tasks: usize) -> f64 {
    let state = |task| (connection.clone(), format!("bare:{task}"));
    let once = |(mut connection, key): (MultiplexedConnection, String)| async move {
        let _: Option<Vec<u8>> = redis::cmd("GET").arg(&key).query_async(&mut connection).await.unwrap();
        let _: () = redis::cmd("SET").arg(&key).arg([7_u8; 96].as_slice()).query_async(&mut connection).await.unwrap();
        ((connection, key), true)
    };
    rate(tasks, ROUND, state, once).await
}

/// How many scripts Redis has run so far. Redis counts the commands in scripts separately, under their own names.
async fn scripts(connection: &mut MultiplexedConnection) -> u64 {
    let text: String = redis::cmd("INFO").arg("commandstats").query_async(connection).await.unwrap();
    let calls = |name: &str| {
        let row = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":calls="));
        row.map_or(0, |row| row.split(',').next().unwrap().parse::<u64>().unwrap())
    };
    calls("cmdstat_evalsha") + calls("cmdstat_eval")
}

async fn count_commands(connection: &mut MultiplexedConnection, stores: &RedisStores) {
    let tokens = || RefreshTokens::new(stores.refresh_tokens());
    let limits = AttemptLimits::new(stores.attempts(), |_: &Parts| None);
    let mut plain = auth(tokens()).token_endpoint().into_service();
    let mut limited = auth(tokens()).with_attempt_limits(limits).token_endpoint().into_service();
    let per_request = |before: u64, after: u64| (after - before) as f64 / COUNTED as f64;

    // Runs once before counting: the first call of a script loads it.
    let mut token = login(&mut limited, 0).await;
    token = refresh(&mut limited, &token).await;
    let mut counts = vec![scripts(connection).await];
    for user in 0..COUNTED {
        login(&mut plain, user).await;
    }
    counts.push(scripts(connection).await);
    for user in 0..COUNTED {
        login(&mut limited, user).await;
    }
    counts.push(scripts(connection).await);
    for _ in 0..COUNTED {
        token = refresh(&mut limited, &token).await;
    }
    counts.push(scripts(connection).await);
    println!("{:<32} {:>14}", "Redis round trips (scripts)", "a request");
    for (name, pair) in ["login", "login with attempt limits", "refresh"].iter().zip(counts.windows(2)) {
        println!("{name:<32} {:>14.2}", per_request(pair[0], pair[1]));
    }
}

fn main() {
    let runtime = Runtime::new().unwrap();
    let server = Redis::start();
    let stores = RedisStores::open(&server.url()).unwrap();
    let client = redis::Client::open(server.url()).unwrap();
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let mut connection =
        runtime.block_on(client.get_multiplexed_async_connection_with_config(&config)).expect("redis-server is up");

    runtime.block_on(count_commands(&mut connection, &stores));
    println!();

    let in_memory = auth(RefreshTokens::new(MemoryRefreshStore::new())).token_endpoint().into_service();
    let in_redis = auth(RefreshTokens::new(stores.refresh_tokens())).token_endpoint().into_service();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let mut values = Vec::new();
        for tasks in TASKS {
            let bare = runtime.block_on(bare(&connection, tasks));
            let with_redis = runtime.block_on(refreshes(&in_redis, tasks));
            let with_memory = runtime.block_on(refreshes(&in_memory, tasks));
            values.extend([bare, with_redis, with_redis / bare, with_memory, with_memory / bare]);
        }
        rounds.push(values);
    }
    println!(
        "{:<10} {:>14} {:>16} {:>7} {:>16} {:>7}",
        "", "GET+SET/s", "refreshes/s", "ratio", "refreshes/s", "ratio"
    );
    println!("{:<10} {:>14} {:>16} {:>7} {:>16} {:>7}", "", "bare", "Redis", "", "memory", "");
    for (row, tasks) in medians(&rounds).chunks(5).zip(TASKS) {
        let label = format!("{tasks} tasks");
        let [bare, with_redis, ratio, with_memory, memory_ratio]: [f64; 5] = row.try_into().unwrap();
        println!("{label:<10} {bare:>14.0} {with_redis:>16.0} {ratio:>7.2} {with_memory:>16.0} {memory_ratio:>7.2}");
    }
}
