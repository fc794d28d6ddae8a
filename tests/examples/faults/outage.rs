//! Redis is stopped, slow and killed while many clients use it.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::{
    assert_sound,
    family::{Family, Step},
    neighbour, scaled, server,
    traffic::log_in_quietly,
};
use test_support::{
    client::{BOB, get, in_time, log_in, try_post, within},
    example::Example,
    http::Reply,
    redis::Redis,
    slow::Slow,
};

const NETWORK: u8 = 6;
const PROMISED: Duration = Duration::from_secs(1);
/// What a busy machine may add.
const LONGEST: Duration = Duration::from_secs(5);

/// What the clients must know about Redis.
#[derive(Default)]
struct Weather {
    /// Odd while Redis is unreachable.
    changes: AtomicUsize,
    /// How many times Redis has lost all its data.
    lives: AtomicUsize,
    over: AtomicBool,
    /// How long each answer took while Redis was unreachable.
    times: Mutex<Vec<Duration>>,
}

impl Weather {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn change(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// Sends a request. Returns whether Redis was unreachable throughout.
    async fn ask<T>(&self, request: impl Future<Output = T>) -> (T, bool) {
        let (before, begun) = (self.changes.load(Ordering::SeqCst), Instant::now());
        let answer = request.await;
        let took = begun.elapsed();
        let away = before % 2 == 1 && self.changes.load(Ordering::SeqCst) == before;
        assert!(took < LONGEST, "answered after {took:?}, Redis away: {away}");
        if away {
            self.times.lock().unwrap().push(took);
        }
        (answer, away)
    }
}

/// While Redis is unreachable, requests get a 503 within a second, and guarded routes keep working. The server recovers
/// by itself, accepts no token twice and loses none. Returns the time of the slowest 503.
pub async fn under_load(server: &Example, redis: &mut Redis, slow: &Slow, count: usize) -> Duration {
    let weather = &Weather::default();
    let login = log_in(server).await;
    let access = log_in_quietly(server).await.text("access_token");
    let revoked = format!("token={}", login.text("refresh_token"));
    let successes: &Vec<AtomicUsize> = &(0..count + 3).map(|_| AtomicUsize::new(0)).collect();
    let families = join_all((0..count).map(|number| use_family(server, number, weather, &successes[number])));
    let logins = join_all((0..2).map(|number| {
        let request = async move || try_post(server.address, neighbour(NETWORK, number), "/token", BOB).await;
        ask_on(weather, &successes[count + number], request)
    }));
    let revocations = ask_on(weather, &successes[count + 2], async || {
        try_post(server.address, neighbour(NETWORK, 9), "/revoke", &revoked).await
    });
    let guarded_times = &Mutex::new(Vec::new());
    let guarded = async {
        while !weather.is_over() {
            let begun = Instant::now();
            assert_eq!(get(server, "/users/me", &access).await.status, 200);
            guarded_times.lock().unwrap().push(begun.elapsed());
            sleep(Duration::from_millis(10)).await;
        }
    };
    let script = async {
        all_succeed(successes).await;
        redis.pause();
        weather.change();
        sleep(Duration::from_millis(1_500)).await;
        weather.change();
        redis.resume();
        all_succeed(successes).await;

        slow.set_round_trip(Duration::from_millis(900));
        weather.change();
        sleep(Duration::from_millis(1_500)).await;
        weather.change();
        slow.set_round_trip(Duration::ZERO);
        all_succeed(successes).await;

        weather.lives.fetch_add(1, Ordering::SeqCst);
        redis.kill9();
        weather.change();
        sleep(Duration::from_millis(1_000)).await;
        weather.change();
        redis.begin_restart();
        all_succeed(successes).await;
        weather.over.store(true, Ordering::Relaxed);
    };
    let all = async { tokio::join!(families, logins, revocations, guarded, script) };
    in_time(Duration::from_secs(90), "the outages", all).await;
    assert_prompt("answers without Redis", weather.times.lock().unwrap().clone());
    assert_prompt("guarded routes", guarded_times.lock().unwrap().clone());
    weather.times.lock().unwrap().iter().copied().max().unwrap()
}

/// The median is within a second. A busy machine may delay some.
fn assert_prompt(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let median = times.get(times.len() / 2).copied();
    assert!(median.is_some_and(|median| median < PROMISED), "{what} took {times:?}");
}

async fn use_family(server: &Example, number: usize, weather: &Weather, successes: &AtomicUsize) {
    let mut family = Family::begin(server.address, number).await;
    let mut life = weather.lives.load(Ordering::SeqCst);
    while !weather.is_over() {
        match weather.ask(family.step(server.address)).await {
            (Step::Rotated, false) => drop(successes.fetch_add(1, Ordering::Relaxed)),
            (Step::Unavailable, true) => {}
            // At the edge of an outage, Redis may have rotated the token without confirming it.
            (Step::Unavailable, false) => family.doubtful = true,
            (Step::Refused, false) => {
                let forgotten = life != weather.lives.load(Ordering::SeqCst);
                assert!(family.doubtful || forgotten, "a token was spent by a use that was answered 503");
                family = Family::begin(server.address, number).await;
                life = weather.lives.load(Ordering::SeqCst);
            }
            (step, away) => panic!("{step:?}, Redis away: {away}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
    family.assert_used_once(server.address).await;
}

async fn ask_on(weather: &Weather, successes: &AtomicUsize, request: impl AsyncFn() -> Result<Reply, String>) {
    while !weather.is_over() {
        let (reply, away) = weather.ask(request()).await;
        match reply.unwrap().status {
            200 if !away => drop(successes.fetch_add(1, Ordering::Relaxed)),
            503 => {}
            status => panic!("{status}, Redis away: {away}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until every client succeeds again.
async fn all_succeed(successes: &[AtomicUsize]) {
    let before: Vec<_> = successes.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    within(Duration::from_secs(15), "all clients have their way", async || {
        successes.iter().zip(&before).all(|(count, before)| count.load(Ordering::Relaxed) > before + 1)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_may_be_stopped_slow_or_killed_under_load() {
    let mut redis = Redis::start();
    let slow = Slow::in_front_of(redis.port()).await;
    let server = server(&[("REDIS_URL", &format!("redis://{}", slow.address))]);
    under_load(&server, &mut redis, &slow, scaled(80)).await;
    assert_sound(&server);
}
