//! Logins compared with bare Argon2 hashes, the cost of attempt limits and of a second factor, and the memory that many logins at once take.

#[path = "support/mod.rs"]
mod support;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use http::{StatusCode, request::Parts};
use http_body_util::BodyExt;
use support::{form, medians, rate, send};
use tokio::{runtime::Runtime, task::JoinSet};
use tower_oauth2_password::{
    AttemptLimits, AuthorizationServer, BoxError, FactorCode, FactorVerdict, HashingPool, Identity, Jwt, Key, Login,
    MemoryUsers, PasswordVerifier, SecondFactor, SecondFactors, Secret, StandaloneService, TokenEndpointLayer, Verdict,
    Verifier,
    store::{AttemptLimit, MemoryAttemptStore, MemoryRefreshStore},
};

const USERS: usize = 64;
const AT_ONCE: usize = 512;
const TASKS: [usize; 3] = [1, 16, 64];
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(800);
const LIMIT_ROUNDS: usize = 51;
const LIMIT_LOGINS: u32 = 1_000;

fn jwt() -> Jwt {
    Jwt::new(Key::hs256([7; 32]).unwrap(), "https://api.example", "api")
}

fn name(user: usize) -> String {
    format!("user{}", user % USERS)
}

fn login(user: usize) -> String {
    format!("grant_type=password&username={}&password=wonderland{}", name(user), user % USERS)
}

async fn users(pool: &HashingPool) -> MemoryUsers {
    let mut rows = Vec::new();
    for user in 0..USERS {
        let phc = pool.hash(Secret::new(format!("wonderland{user}")), None).await.unwrap();
        assert!(phc.contains("$m=19456,t=2,p=1$"), "the parameters differ from those of the bare hash: {phc}");
        rows.push((name(user), phc));
    }
    MemoryUsers::from_phc(rows.iter().map(|(name, phc)| (name.as_str(), phc.as_str(), "items:read"))).unwrap()
}

/// Bare hashes a second on this many threads, each with its own memory that it keeps.
fn hashes(threads: usize, length: Duration) -> f64 {
    let params = Params::new(19_456, 2, 1, None).unwrap();
    let started = Instant::now();
    let hash_on_one = || {
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
        let mut memory = vec![Block::new(); params.block_count()];
        let (mut output, mut done) = ([0; 32], 0_u64);
        while started.elapsed() < length {
            let memory = memory.as_mut_slice();
            argon2.hash_password_into_with_memory(b"wonderland0", &[7; 16], &mut output, memory).unwrap();
            done += 1;
        }
        done
    };
    let done: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(hash_on_one)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    done as f64 / started.elapsed().as_secs_f64()
}

/// CPU seconds that this process has used so far, in steps of 10 ms.
fn cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: Vec<f64> = fields.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    if ticks.len() == 2 { (ticks[0] + ticks[1]) / 100.0 } else { f64::NAN }
}

/// The operations a second that `run` returns, and the CPU milliseconds for each.
fn with_cpu(run: impl FnOnce() -> f64) -> [f64; 2] {
    let (started, before) = (Instant::now(), cpu());
    let rate = run();
    [rate, 1e3 * (cpu() - before) / (rate * started.elapsed().as_secs_f64())]
}

fn throughput(runtime: &Runtime, endpoint: &StandaloneService, cores: usize) -> f64 {
    let refused = Arc::new(AtomicU64::new(0));
    let logins = |tasks| {
        let state = |task| (endpoint.clone(), login(task));
        let refused = Arc::clone(&refused);
        let once = move |(mut endpoint, body): (StandaloneService, String)| {
            let refused = Arc::clone(&refused);
            async move {
                let status = send(&mut endpoint, form(body.clone())).await.status();
                match status {
                    StatusCode::OK => {}
                    StatusCode::SERVICE_UNAVAILABLE => _ = refused.fetch_add(1, Ordering::Relaxed),
                    _ => panic!("{status}"),
                }
                ((endpoint, body), status == StatusCode::OK)
            }
        };
        runtime.block_on(rate(tasks, ROUND, state, once))
    };
    let threads = |tasks: usize| tasks.min(cores);
    let round = |number: usize| {
        let mut values = Vec::new();
        for tasks in TASKS {
            let bare = || with_cpu(|| hashes(threads(tasks), ROUND));
            let with = || with_cpu(|| logins(tasks));
            // Alternates the order, so that drift favours neither.
            let ([bare, bare_cpu], [with, with_cpu]) = if number.is_multiple_of(2) {
                let bare = bare();
                (bare, with())
            } else {
                let with = with();
                (bare(), with)
            };
            values.extend([bare, with, 100.0 * with / bare, bare_cpu, with_cpu, 100.0 * bare_cpu / with_cpu]);
        }
        values
    };
    let rounds: Vec<_> = (0..ROUNDS).map(round).collect();
    let medians = medians(&rounds);
    let heads = ["hashes/s", "logins/s", "%", "ms CPU/hash", "ms CPU/login", "%"];
    println!("{:<26}{}", "", heads.map(|head| format!("{head:>13}")).concat());
    for (row, tasks) in medians.chunks(heads.len()).zip(TASKS) {
        let label = format!("{tasks} tasks, {} hash threads", threads(tasks));
        println!("{label:<26}{}", row.iter().map(|value| format!("{value:>13.1}")).collect::<String>());
    }
    println!("503s: {}", refused.load(Ordering::Relaxed));
    medians[0]
}

fn attempt_limits(hashes_per_second: f64) {
    let server = || {
        AuthorizationServer::new(|login: Login| async move { Ok(Verdict::from(Identity::new(login.username))) }, jwt())
    };
    let limits = || AttemptLimits::new(MemoryAttemptStore::new(), |_: &Parts| Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    let wide = AttemptLimit { failures: 1_000, window: Duration::from_secs(60) };
    let all = limits().with_address_limit(wide).with_account_slowdown(wide, Duration::from_secs(1));
    let mut endpoints = [
        ("none", server().token_endpoint().into_service()),
        ("account and address", server().with_attempt_limits(limits()).token_endpoint().into_service()),
        ("all three", server().with_attempt_limits(all).token_endpoint().into_service()),
    ];
    let bodies: Vec<_> = (0..USERS).map(login).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut round = || {
        let nanos = endpoints.iter_mut().map(|(_, endpoint)| {
            let started = Instant::now();
            runtime.block_on(async {
                for body in bodies.iter().cycle().take(LIMIT_LOGINS as usize) {
                    assert_eq!(send(endpoint, form(body.clone())).await.status(), StatusCode::OK);
                }
            });
            started.elapsed().as_nanos() as f64 / f64::from(LIMIT_LOGINS)
        });
        let [none, one, all]: [f64; 3] = nanos.collect::<Vec<_>>().try_into().unwrap();
        vec![none, one, all, 0.0, one - none, all - none]
    };
    round();
    let medians = medians(&(0..LIMIT_ROUNDS).map(|_| round()).collect::<Vec<_>>());
    let hash = 1e9 / hashes_per_second;
    println!("{:<28} {:>10} {:>10} {:>12}", "attempt limits, no hash", "ns/login", "more", "% of a hash");
    for (row, (name, _)) in endpoints.iter().enumerate() {
        let more = medians[row + 3];
        println!("{name:<28} {:>10.0} {more:>10.0} {:>12.4}", medians[row], 100.0 * more / hash);
    }
}

struct OneCode;

impl SecondFactor for OneCode {
    async fn is_required(&self, user: &Identity) -> Result<bool, BoxError> {
        Ok(user.subject() == "two")
    }

    async fn verify(&self, _: &str, _: FactorCode) -> Result<FactorVerdict, BoxError> {
        Ok(FactorVerdict::Accepted { amr: "otp", recovery_code: None })
    }
}

struct Everyone;

impl Verifier for Everyone {
    async fn verify(&self, login: Login) -> Result<Verdict, BoxError> {
        Ok(Identity::new(login.username).into())
    }

    async fn verify_subject(&self, subject: &str) -> Result<Verdict, BoxError> {
        Ok(Identity::new(subject).into())
    }
}

async fn both_steps(endpoint: &mut StandaloneService) {
    let first = send(endpoint, form("grant_type=password&username=two&password=x".to_owned())).await;
    let body = first.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let grant = "grant_type=http://auth0.com/oauth/grant-type/mfa-otp";
    let second = format!("{grant}&otp=123456&mfa_token={}", body["mfa_token"].as_str().unwrap());
    assert_eq!(send(endpoint, form(second)).await.status(), StatusCode::OK);
}

fn second_factor(hashes_per_second: f64) {
    let server = || {
        let limits = AttemptLimits::new(MemoryAttemptStore::new(), |_: &Parts| Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        AuthorizationServer::new(Everyone, jwt()).with_attempt_limits(limits)
    };
    let with = server().with_second_factor(SecondFactors::new(OneCode, MemoryRefreshStore::new()));
    let mut endpoints = [
        ("none configured", server().token_endpoint().into_service()),
        ("the user has none", with.token_endpoint().into_service()),
        ("both steps", with.token_endpoint().into_service()),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut round = || {
        let nanos = endpoints.iter_mut().map(|(name, endpoint)| {
            let started = Instant::now();
            runtime.block_on(async {
                for _ in 0..LIMIT_LOGINS {
                    if *name == "both steps" {
                        both_steps(endpoint).await;
                    } else {
                        let login = form("grant_type=password&username=one&password=x".to_owned());
                        assert_eq!(send(endpoint, login).await.status(), StatusCode::OK);
                    }
                }
            });
            started.elapsed().as_nanos() as f64 / f64::from(LIMIT_LOGINS)
        });
        nanos.collect::<Vec<_>>()
    };
    round();
    let medians = medians(&(0..LIMIT_ROUNDS).map(|_| round()).collect::<Vec<_>>());
    let hash = 1e9 / hashes_per_second;
    println!("{:<28} {:>10} {:>12}", "second factor, no hash", "ns/login", "% of a hash");
    for ((name, _), nanos) in endpoints.iter().zip(medians) {
        println!("{name:<28} {nanos:>10.0} {:>12.4}", 100.0 * nanos / hash);
    }
}

/// The peak of resident memory so far, in MiB.
fn peak() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let row = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    row.and_then(|row| row.trim().strip_suffix(" kB")?.parse::<f64>().ok()).map_or(f64::NAN, |kib| kib / 1024.0)
}

/// Runs first, since the peak never falls again.
fn memory(runtime: &Runtime, cores: usize) -> MemoryUsers {
    let start = peak();
    // All logins must wait at once, and none may be refused.
    let pool = HashingPool::new().with_queue_wait(Duration::from_secs(600));
    let users = runtime.block_on(users(&pool));
    let warm = peak();
    let verifier = PasswordVerifier::new(users.clone()).with_pool(pool.clone());
    let endpoint = TokenEndpointLayer::new(verifier, jwt()).into_service();
    let waiting = runtime.block_on(async {
        let mut logins = JoinSet::new();
        for user in 0..AT_ONCE {
            let mut endpoint = endpoint.clone();
            logins.spawn(async move { send(&mut endpoint, form(login(user))).await.status() });
        }
        let mut waiting = 0;
        while let Some(status) = logins.join_next().await {
            assert_eq!(status.unwrap(), StatusCode::OK);
            waiting = waiting.max(pool.stats().queued);
        }
        waiting
    });
    println!("{:<28} {:>10}", "peak memory", "MiB");
    println!("{:<28} {start:>10.1}", "at start");
    println!("{:<28} {warm:>10.1}", format!("after hashes, {cores} threads"));
    println!("{:<28} {:>10.1}   {waiting} in the queue", format!("after {AT_ONCE} logins at once"), peak());
    println!("{:<28} {:>10.1}", "a hash's own, times logins", 19.0 * AT_ONCE as f64);
    users
}

fn main() {
    let runtime = Runtime::new().unwrap();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let users = memory(&runtime, cores);
    println!();
    let endpoint = TokenEndpointLayer::new(PasswordVerifier::new(users), jwt()).into_service();
    let hashes_of_one_thread = throughput(&runtime, &endpoint, cores);
    println!();
    attempt_limits(hashes_of_one_thread);
    println!();
    second_factor(hashes_of_one_thread);
}
