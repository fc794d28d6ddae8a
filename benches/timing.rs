//! Whether the time of a refused login reveals who has an account: the medians of interleaved logins of each kind,
//! compared with those of a known user with the same wrong password.
//! `cargo bench -p benchmarks --bench timing -- ROUNDS`

#[path = "support/mod.rs"]
mod support;

use std::{process::ExitCode, time::Instant};

use http::StatusCode;
use support::{form, median, send};
use tokio::runtime::Runtime;
use tower_oauth2_password::{
    HashingPool, Identity, Jwt, Key, Login, MemoryUsers, PasswordVerifier, Secret, StandaloneService, StoredUser,
    TokenEndpointLayer, Verdict, Verifier,
};

const ROUNDS: usize = 1_000;
/// How much one median may differ from the other.
const TOLERANCE: f64 = 0.02;
const RESAMPLES: usize = 1_000;
const BCRYPT: &str = "$2b$12$KIXQ4lQe0gN1bPzGkCy5o.6jFsgTgvW0cL7kJtqVqQyYt1F1l0p7e";

/// Username and label. The others are compared with the first one.
const USERS: [(&str, &str); 5] = [
    ("known", "known user"),
    ("nobody", "unknown user"),
    ("disabled", "disabled user"),
    ("passwordless", "user without a password"),
    ("foreign", "user with a foreign hash"),
];

/// SplitMix64: any order will do.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        ((mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 33) as usize % end
    }
}

#[derive(Clone, Copy)]
enum Password {
    Wrong,
    Empty,
    Megabyte,
}

struct World {
    endpoint: StandaloneService,
    verifier: PasswordVerifier<MemoryUsers>,
    megabyte: String,
}

impl World {
    fn new(runtime: &Runtime) -> Self {
        let pool = HashingPool::new().with_threads(1);
        let hash = runtime.block_on(pool.hash(Secret::from("wonderland123"), None)).unwrap();
        let users = MemoryUsers::default();
        let user = |name: &str| StoredUser::new(Identity::new(name));
        users.insert("known", user("known").with_password_hash(&hash));
        users.insert("disabled", user("disabled").with_password_hash(&hash).with_disabled(true));
        users.insert("passwordless", user("passwordless"));
        users.insert("foreign", user("foreign").with_password_hash(BCRYPT));
        let verifier = PasswordVerifier::new(users).with_pool(pool);
        let jwt = Jwt::new(Key::hs256([7; 32]).unwrap(), "https://api.example", "api");
        let endpoint = TokenEndpointLayer::new(verifier.clone(), jwt).into_service();
        Self { endpoint, verifier, megabyte: "x".repeat(1 << 20) }
    }

    async fn log_in(&mut self, user: &str, password: Password) {
        let text = match password {
            Password::Wrong => {
                let body = format!("grant_type=password&username={user}&password=Wonderland123");
                assert_eq!(send(&mut self.endpoint, form(body)).await.status(), StatusCode::BAD_REQUEST);
                return;
            }
            Password::Empty => "",
            Password::Megabyte => &self.megabyte,
        };
        assert!(matches!(self.verifier.verify(Login::new(user, text)).await, Ok(Verdict::Denied)));
    }

    /// Milliseconds of CPU and of wall time that a login takes.
    fn time(&mut self, runtime: &Runtime, user: &str, password: Password) -> [f64; 2] {
        let (started, before) = (Instant::now(), cpu_ms());
        runtime.block_on(self.log_in(user, password));
        [cpu_ms() - before, started.elapsed().as_secs_f64() * 1e3]
    }
}

/// CPU time of all threads of this process; always 0 on systems other than Linux.
#[cfg(target_os = "linux")]
fn cpu_ms() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    now.tv_sec as f64 * 1e3 + now.tv_nsec as f64 / 1e6
}

#[cfg(not(target_os = "linux"))]
fn cpu_ms() -> f64 {
    0.0
}

/// The ratio of two medians, and the interval that holds 95% of the ratios of resampled rounds.
fn ratio(these: &[f64], those: &[f64], dice: &mut Dice) -> (f64, f64, f64) {
    let mut resampled = Vec::new();
    for _ in 0..RESAMPLES {
        let rounds: Vec<usize> = (0..these.len()).map(|_| dice.below(these.len())).collect();
        let of = |values: &[f64]| median(&rounds.iter().map(|round| values[*round]).collect::<Vec<_>>());
        resampled.push(of(these) / of(those));
    }
    resampled.sort_by(f64::total_cmp);
    (median(these) / median(those), resampled[RESAMPLES / 40], resampled[RESAMPLES - RESAMPLES / 40 - 1])
}

fn main() -> ExitCode {
    let rounds = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(ROUNDS);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut world = World::new(&runtime);
    let mut dice = Dice(u64::from(std::process::id()));
    let kinds =
        [("at the endpoint", Password::Wrong), ("empty password", Password::Empty), ("1 MB", Password::Megabyte)];
    let cases: Vec<(Password, &str)> =
        kinds.iter().flat_map(|(_, password)| USERS.map(|(user, _)| (*password, user))).collect();
    let mut times: Vec<[Vec<f64>; 2]> = cases.iter().map(|_| Default::default()).collect();
    for _ in 0..rounds {
        let mut left: Vec<usize> = (0..cases.len()).collect();
        while !left.is_empty() {
            let case = left.swap_remove(dice.below(left.len()));
            let taken = world.time(&runtime, cases[case].1, cases[case].0);
            times[case].iter_mut().zip(taken).for_each(|(column, time)| column.push(time));
        }
    }

    println!(
        "medians of {rounds} rounds, and their ratios to those of a known user with the same password (95% interval)"
    );
    println!("{:<44}{:>9}{:>26}{:>10}{:>26}", "", "CPU ms", "ratio", "wall ms", "ratio");
    let mut off = false;
    for (number, [cpu, wall]) in times.iter().enumerate() {
        let (kind, user) = (number / USERS.len(), number % USERS.len());
        let beside = &times[number - user];
        print!("{:<44}", format!("{}, {}", USERS[user].1, kinds[kind].0));
        for (these, those) in [(cpu, &beside[0]), (wall, &beside[1])] {
            let (ratio, low, high) = ratio(these, those, &mut dice);
            off |= (ratio - 1.0).abs() > TOLERANCE;
            print!("{:>9.2}{:>26}", median(these), format!("{ratio:.4} ({low:.4} to {high:.4})"));
        }
        println!();
    }
    if off {
        println!("a median is off by more than {}%", TOLERANCE * 100.0);
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
