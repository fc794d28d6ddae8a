//! All faults in turn, again and again, against servers that must survive all of them.

use std::{
    fmt, fs,
    future::Future,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    assert_sound, clock, crowd, flush, kill, leavers, outage, pages,
    process::{Usage, usage},
    scaled, server, sigterm, stuck, traffic,
};
use test_support::{
    client::{attempt, eventually, within},
    clock::Clock,
    example::Example,
    redis::Redis,
    slow::Slow,
    tally::TALLY,
};

/// Tokens expire within a round, so that memory for them reaches its full size in the first round.
const TTL: (&str, &str) = ("ACCESS_TOKEN_TTL", "60");
const REFRESH_TTL: (&str, &str) = ("REFRESH_TOKEN_TTL", "60");
/// How much memory may grow after the first round. Free memory is returned to the system first: otherwise the allocator
/// keeps the memory of the largest burst, which hides leaks.
const MARGIN_KIB: u64 = 8 * 1024;
/// A step that takes longer than this fails.
const LONGEST_ROUND: Duration = Duration::from_secs(600);

/// Two servers that must survive everything, one with Redis and one without, and a single-page app, which only has visitors.
/// A fourth is killed and replaced.
struct Cast {
    redis: Redis,
    slow: Slow,
    clocks: [Clock; 2],
    shared: Example,
    alone: Example,
    app: Example,
    mortal: Option<Example>,
}

impl Cast {
    async fn new() -> Self {
        let redis = Redis::start();
        let slow = Slow::in_front_of(redis.port()).await;
        let clocks = [Clock::start(), Clock::start()];
        let url = format!("redis://{}", slow.address);
        let giving_back = compiled_give_back();
        let lasting = |clock: &Clock, store: &[(&str, &str)]| {
            let preload = format!("{} {}", clock.preload, giving_back.display());
            server(&[&clock.variables()[..], &[TTL, REFRESH_TTL, ("LD_PRELOAD", &preload)], store].concat())
        };
        let shared = lasting(&clocks[0], &[("REDIS_URL", &url)]);
        let alone = lasting(&clocks[1], &[]);
        let app = pages::app(&[("LD_PRELOAD", giving_back.to_str().unwrap())]);
        fs::remove_file(giving_back).unwrap();
        Self { redis, slow, clocks, shared, alone, app, mortal: None }
    }

    fn start_mortal(redis: &Redis) -> Example {
        server(&[TTL, REFRESH_TTL, ("REDIS_URL", &redis.url())])
    }

    async fn round(&mut self, number: usize) -> Round {
        let begun = Instant::now();
        let Self { redis, slow, clocks, shared, alone, app, mortal } = self;
        let step = |name| Step { name, number };
        let day = async |name| {
            for server in [&*shared, &*alone] {
                during(step(name), async {
                    for _ in 0..scaled(20) {
                        traffic::one_of_each(server).await;
                    }
                })
                .await;
            }
        };

        day("ordinary traffic").await;
        during(step("cookies and second factors"), pages::logins(app, scaled(100))).await;
        let mut let_in = 0;
        for server in [&*shared, &*alone] {
            let_in += during(step("logins at once"), crowd::at_once(server, scaled(2_000))).await;
        }
        for server in [&*shared, &*alone] {
            during(step("clients that leave"), leavers::come_and_go(server, scaled(1_000))).await;
        }
        day("ordinary traffic after those who left").await;
        during(step("stuck connections"), async {
            tokio::join!(stuck::connections(shared, scaled(1_000)), stuck::connections(alone, scaled(1_000)));
        })
        .await;
        let start = || Self::start_mortal(redis);
        let doomed = mortal.take().unwrap_or_else(start);
        // Its connection to Redis broke in the last outage, and it notices at the next request.
        eventually("a login by a server that was idle", async || {
            attempt(&doomed, "alice", "wonderland123").await.status == 200
        })
        .await;
        let ended = during(step("SIGTERM"), sigterm::under_load(doomed, scaled(500))).await;
        assert!(ended > 0, "round {number}: none was let in at SIGTERM");
        let killed = kill::minus_nine(shared, start(), scaled(30), start);
        *mortal = Some(during(step("kill -9"), killed).await);
        day("ordinary traffic after the kill").await;
        during(step("flush"), flush::everything(shared, redis, scaled(100), start)).await;
        for (server, clock) in [(&*shared, &clocks[0]), (&*alone, &clocks[1])] {
            during(step("steps of the clock"), clock::steps(server, clock, 60)).await;
        }
        during(step("places that come back"), kill::places_come_back(shared)).await;
        let slowest = during(step("outages of Redis"), outage::under_load(shared, redis, slow, scaled(80))).await;
        day("ordinary traffic after the outages").await;

        for server in [&*shared, &*alone, &*app] {
            assert_sound(server);
        }
        Round { took: begun.elapsed(), let_in, slowest }
    }
}

/// Prints the step during which something broke.
struct Step {
    name: &'static str,
    number: usize,
}

impl Drop for Step {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("BROKEN in round {}: {}", self.number, self.name);
        }
    }
}

async fn during<T>(step: Step, work: impl Future<Output = T>) -> T {
    let answer = tokio::time::timeout(LONGEST_ROUND, work).await.expect("it hangs");
    drop(step);
    answer
}

struct Round {
    took: Duration,
    let_in: usize,
    slowest: Duration,
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (took, let_in, slowest) = (self.took.as_secs(), self.let_in, self.slowest.as_millis());
        write!(f, "{took:3} s, {let_in:4} let in at once, slowest 503 without Redis {slowest:3} ms")
    }
}

/// Compiles the library that lets a server return free memory to the system.
fn compiled_give_back() -> PathBuf {
    let library = std::env::temp_dir().join(format!("tower-oauth2-give-back-{}.so", std::process::id()));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/faults/give_back.c");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-pthread", "-o"]).arg(&library).arg(source).status();
    assert!(compiled.expect("cc is not installed: apt-get install gcc libc6-dev").success());
    library
}

/// What a server uses when it is idle.
async fn settled(server: &Example, first: Option<&Usage>) -> Usage {
    if let Some(first) = first {
        within(Duration::from_secs(60), "threads and files as after the first round", async || {
            let now = usage(server.pid());
            now.threads <= first.threads && now.files <= first.files
        })
        .await;
    } else {
        // Threads for blocking calls and idle connections end by then.
        tokio::time::sleep(Duration::from_secs(15)).await;
    }
    server.signal("-USR1");
    // Milliseconds would be enough, but nothing shows when it is done.
    tokio::time::sleep(Duration::from_secs(1)).await;
    usage(server.pid())
}

fn show(usage: &Usage) -> String {
    format!("{:6} KiB {:2} threads {:3} files", usage.rss_kib, usage.threads, usage.files)
}

/// `.ci/soak` runs this.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes as long as SOAK_SECONDS says"]
async fn soak() {
    let seconds = std::env::var("SOAK_SECONDS").expect("SOAK_SECONDS is not set: run .ci/soak");
    let limit = Duration::from_secs(seconds.parse().expect("SOAK_SECONDS is no number"));
    let mut cast = Cast::new().await;
    let begun = Instant::now();
    let mut first: Option<[Usage; 3]> = None;
    let mut last;
    let mut slowest = Duration::ZERO;
    let mut number = 0;
    loop {
        number += 1;
        let round = cast.round(number).await;
        slowest = slowest.max(round.slowest);
        let step = Step { name: "memory, threads and files", number };
        last = [
            settled(&cast.shared, first.as_ref().map(|first| &first[0])).await,
            settled(&cast.alone, first.as_ref().map(|first| &first[1])).await,
            settled(&cast.app, first.as_ref().map(|first| &first[2])).await,
        ];
        let [redis, memory, app] = last.each_ref().map(show);
        println!("round {number:3}: {round} | Redis: {redis} | memory: {memory} | app: {app}");
        let first = first.get_or_insert(last);
        for (first, last) in first.iter().zip(&last) {
            assert!(last.rss_kib <= first.rss_kib + MARGIN_KIB, "memory grew from {first:?} to {last:?}");
        }
        drop(step);
        // A single round has nothing to compare with.
        if number > 1 && begun.elapsed() >= limit {
            break;
        }
    }
    let first = first.unwrap();
    println!("\n{number} rounds in {} s, {} requests", begun.elapsed().as_secs(), TALLY.requests());
    for (name, (first, last)) in ["Redis", "memory", "pages"].into_iter().zip(first.iter().zip(&last)) {
        println!("server with {name:6}  first {}  last {}", show(first), show(last));
    }
    println!("slowest 503 without Redis: {} ms\nstatus      count\n{TALLY}", slowest.as_millis());
}
