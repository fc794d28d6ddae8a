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
    HashSchemes, HashingPool, Identity, Jwt, Key, Login, MemoryUsers, PasswordVerifier, Secret, StandaloneService,
    StoredUser, TokenEndpointLayer, Verdict, Verifier,
};
use tower_oauth2_password_legacy_hashes::{Cost, OldHashes, Prf};

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

/// What rows and strangers cost in a table with old hashes, cheap enough for many rounds; and a row of that cost. The last is
/// Argon2.
const OLD: [(&str, Cost, &str); 3] = [
    ("bcrypt", Cost::Bcrypt(8), "$2b$08$KIXQ4lQe0gN1bPzGkCy5o.6jFsgTgvW0cL7kJtqVqQyYt1F1l0p7e"),
    (
        "PBKDF2",
        Cost::Pbkdf2(Prf::Sha256, 60_000),
        "pbkdf2_sha256$60000$odicowUWvjrxJ3fi$NNKm4YNxpeNngxQpa/oNtiPJfEPISlfh5wxcP27VZ5I=",
    ),
    ("Argon2", Cost::Current, ""),
];
const MD5: &str = "$1$salt$qJH7.N4xYta3aEG/dfqo/0";

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
    /// A wrong one, in the table with old hashes.
    Old,
    /// One of 73 bytes, in the same.
    OldLong,
}

/// A login whose time is compared with that of another case.
struct Case {
    label: String,
    user: String,
    password: Password,
    beside: usize,
}

/// In the table with old hashes, for each cost: a user with such a row, a name that nobody has, and a user with an MD5 row. The
/// names of the latter two have that cost.
fn old_users(old_hashes: &OldHashes) -> [[String; 3]; OLD.len()] {
    let cost_of = |hashes: &OldHashes, name: &str| format!("{:?}", hashes.read(name, None));
    OLD.map(|(label, cost, _)| {
        let expected = cost_of(&OldHashes::new(KEY, [(1, cost)]).unwrap(), "");
        let mut names =
            (0..).map(|number| format!("name{number}")).filter(|name| cost_of(old_hashes, name) == expected);
        [format!("old-{label}"), names.next().unwrap(), names.next().unwrap()]
    })
}

const KEY: [u8; 32] = [7; 32];

struct World {
    endpoint: StandaloneService,
    verifier: PasswordVerifier<MemoryUsers>,
    old: PasswordVerifier<MemoryUsers>,
    old_users: [[String; 3]; OLD.len()],
    megabyte: String,
    long: String,
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
        let verifier = PasswordVerifier::new(users).with_pool(pool.clone());
        let old_hashes = OldHashes::new(KEY, OLD.map(|(_, cost, _)| (1, cost))).unwrap();
        let (old_users, table) = (old_users(&old_hashes), MemoryUsers::default());
        for ([known, _, weak], (_, _, row)) in old_users.iter().zip(OLD) {
            table.insert(known, user(known).with_password_hash(if row.is_empty() { &hash } else { row }));
            table.insert(weak, user(weak).with_password_hash(MD5));
        }
        let old = PasswordVerifier::new(table).with_pool(pool).with_old_hashes(old_hashes);
        let jwt = Jwt::new(Key::hs256([7; 32]).unwrap(), "https://api.example", "api");
        let endpoint = TokenEndpointLayer::new(verifier.clone(), jwt).into_service();
        Self { endpoint, verifier, old, old_users, megabyte: "x".repeat(1 << 20), long: "x".repeat(73) }
    }

    async fn log_in(&mut self, user: &str, password: Password) {
        let (verifier, text) = match password {
            Password::Wrong => {
                let body = format!("grant_type=password&username={user}&password=Wonderland123");
                assert_eq!(send(&mut self.endpoint, form(body)).await.status(), StatusCode::BAD_REQUEST);
                return;
            }
            Password::Empty => (&self.verifier, ""),
            Password::Megabyte => (&self.verifier, self.megabyte.as_str()),
            Password::Old => (&self.old, "Wonderland123"),
            Password::OldLong => (&self.old, self.long.as_str()),
        };
        assert!(matches!(verifier.verify(Login::new(user, text)).await, Ok(Verdict::Denied)));
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for (kind, password) in
            [("at the endpoint", Password::Wrong), ("empty password", Password::Empty), ("1 MB", Password::Megabyte)]
        {
            let beside = cases.len();
            cases.extend(USERS.map(|(user, label)| Case {
                label: format!("{label}, {kind}"),
                user: user.to_owned(),
                password,
                beside,
            }));
        }
        for ((scheme, ..), [known, stranger, weak]) in OLD.iter().zip(&self.old_users) {
            let beside = cases.len();
            for (label, user, password) in [
                ("known user", known, Password::Old),
                ("known user, 73 bytes", known, Password::OldLong),
                ("unknown user", stranger, Password::Old),
                ("unknown user, 73 bytes", stranger, Password::OldLong),
                ("user with MD5", weak, Password::Old),
            ] {
                let label = format!("old hashes, {scheme}: {label}");
                cases.push(Case { label, user: user.clone(), password, beside });
            }
        }
        cases
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
    let cases = world.cases();
    let mut times: Vec<[Vec<f64>; 2]> = cases.iter().map(|_| Default::default()).collect();
    for _ in 0..rounds {
        let mut left: Vec<usize> = (0..cases.len()).collect();
        while !left.is_empty() {
            let case = left.swap_remove(dice.below(left.len()));
            let taken = world.time(&runtime, &cases[case].user, cases[case].password);
            times[case].iter_mut().zip(taken).for_each(|(column, time)| column.push(time));
        }
    }

    println!(
        "medians of {rounds} rounds, and their ratios to those of a known user with the same password (95% interval)"
    );
    println!("{:<44}{:>9}{:>26}{:>10}{:>26}", "", "CPU ms", "ratio", "wall ms", "ratio");
    let mut off = false;
    for (case, [cpu, wall]) in cases.iter().zip(&times) {
        let beside = &times[case.beside];
        print!("{:<44}", case.label);
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
