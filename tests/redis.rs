//! The Redis stores, tested against a real redis-server.
#![cfg(feature = "redis")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

use std::time::{Duration, Instant};

use test_support::{
    client::within,
    redis::{Redis, documented_rights},
    slow::Slow,
};
use tower_oauth2_password::store::{
    AttemptKey, AttemptLimit, AttemptOutcome, AttemptStore, Denial, Denied, DenyList, Family, FamilyId, Previous,
    RefreshStore, Reservation, Rotation, SecretHash, Slot, SubjectRef, TokenRef, redis::RedisStores,
};

const HOUR: Duration = Duration::from_secs(3600);
const ID: FamilyId = FamilyId([7; 16]);
const KEY: AttemptKey = AttemptKey([9; 16]);

fn stores(redis: &Redis) -> RedisStores {
    RedisStores::open(&redis.url()).unwrap()
}

/// The deadline that a request sets for its stores.
fn soon() -> Instant {
    Instant::now() + Duration::from_millis(500)
}

fn hash(byte: u8) -> SecretHash {
    SecretHash([byte; 32])
}

fn old(byte: u8) -> Previous {
    Previous::new(hash(byte), Vec::new())
}

/// Redis's own counters, read over one connection.
struct Stats(redis::aio::MultiplexedConnection);

impl Stats {
    async fn of(redis: &Redis) -> Self {
        let client = redis::Client::open(redis.url()).unwrap();
        Self(client.get_multiplexed_async_connection().await.unwrap())
    }

    async fn line(&mut self, section: &str, start: &str) -> String {
        let stats: String = redis::cmd("INFO").arg(section).query_async(&mut self.0).await.unwrap();
        stats.lines().find_map(|line| line.strip_prefix(start)).unwrap_or("0").to_owned()
    }

    /// How many connections Redis has ever received, and how many keys it holds.
    async fn connections_and_keys(&mut self) -> (String, u64) {
        let connections = self.line("stats", "total_connections_received:").await;
        (connections, redis::cmd("DBSIZE").query_async(&mut self.0).await.unwrap())
    }

    async fn calls<const N: usize>(&mut self, commands: [&str; N]) -> [u64; N] {
        let mut calls = [0; N];
        for (calls, command) in calls.iter_mut().zip(commands) {
            let line = self.line("commandstats", &format!("cmdstat_{command}:calls=")).await;
            *calls = line.split(',').next().unwrap().parse().unwrap();
        }
        calls
    }
}

fn denial(id: &str, ttl: Duration) -> Denial<'_> {
    Denial::new(Denied::Token(id), None, id, ttl)
}

fn token(id: &str) -> TokenRef<'_> {
    let mut token = TokenRef::new(id);
    token.id = Some(id);
    token
}

#[tokio::test]
async fn families_are_stored_rotated_and_revoked() {
    let redis = Redis::start();
    let store = stores(&redis).refresh_tokens();
    assert!(store.find(ID, soon()).await.unwrap().is_none());
    assert_eq!(store.rotate(ID, old(1), hash(2), soon()).await.unwrap(), Rotation::Gone);

    let mut family = Family::new(hash(1), "alice", HOUR, HOUR / 2);
    family.session.scope = "a b".parse().unwrap();
    family.session.client_id = Some("web".into());
    store.insert(ID, family, 1_000, soon()).await.unwrap();
    let found = store.find(ID, soon()).await.unwrap().unwrap();
    assert!(found.current == hash(1) && found.session.subject == "alice" && found.session.scope.as_str() == "a b");
    assert_eq!((found.session.client_id.as_deref(), found.session.security_stamp), (Some("web"), None));
    assert!(found.previous.is_none() && found.idle_ttl == HOUR / 2);
    assert!(found.absolute_ttl <= HOUR && found.absolute_ttl > HOUR - Duration::from_secs(5));

    let sealed = vec![0, 255, 10, 13];
    assert_eq!(
        store.rotate(ID, Previous::new(hash(1), sealed.clone()), hash(2), soon()).await.unwrap(),
        Rotation::Rotated
    );
    assert_eq!(store.rotate(ID, old(1), hash(3), soon()).await.unwrap(), Rotation::Mismatch);
    let found = store.find(ID, soon()).await.unwrap().unwrap();
    let previous = found.previous.unwrap();
    assert!(found.current == hash(2) && previous.secret == hash(1) && previous.sealed_successor == sealed);
    assert!(found.unused_for < Duration::from_secs(5));

    store.revoke(ID, soon()).await.unwrap();
    store.revoke(ID, soon()).await.unwrap();
    assert!(store.find(ID, soon()).await.unwrap().is_none());
    assert_eq!(store.rotate(ID, old(2), hash(3), soon()).await.unwrap(), Rotation::Gone);

    for byte in (0..=255).filter(|byte| [*byte; 16] != ID.0) {
        store.insert(FamilyId([byte; 16]), Family::new(hash(1), "bob", HOUR, HOUR), 1_000, soon()).await.unwrap();
    }
    store.insert(ID, Family::new(hash(1), "carol", HOUR, HOUR), 1_000, soon()).await.unwrap();
    assert_eq!(store.revoke_subject(SubjectRef::new("", "bob"), None).await.unwrap(), 255);
    assert_eq!(store.revoke_subject(SubjectRef::new("", "bob"), None).await.unwrap(), 0);
    assert!(store.find(FamilyId([0; 16]), soon()).await.unwrap().is_none());
    assert!(store.find(ID, soon()).await.unwrap().is_some());
}

#[tokio::test]
async fn apps_with_different_prefixes_share_nothing() {
    let redis = Redis::start();
    let [shop, office] = ["shop", "office"].map(|prefix| stores(&redis).with_prefix(prefix));
    let family = Family::new(hash(1), "alice", HOUR, HOUR);
    shop.refresh_tokens().insert(ID, family, 1_000, soon()).await.unwrap();
    assert!(office.refresh_tokens().find(ID, soon()).await.unwrap().is_none());
    assert!(shop.refresh_tokens().find(ID, soon()).await.unwrap().is_some());

    let slot = Slot { key: KEY, id: 1, limit: AttemptLimit { failures: 1, window: HOUR } };
    for stores in [&shop, &office] {
        assert_eq!(stores.attempts().reserve(slot, soon()).await.unwrap(), Reservation::Reserved);
    }

    let (shops, offices) = (shop.deny_list(), office.deny_list());
    shops.deny(denial("shop", HOUR), soon()).await.unwrap();
    offices.deny(denial("office", HOUR), soon()).await.unwrap();
    let (late, later) = (shop.deny_list(), office.deny_list());
    within(Duration::from_secs(5), "both copies", async || late.is_in_sync() && later.is_in_sync()).await;
    assert!(late.is_denied(token("shop")) && !late.is_denied(token("office")));
    assert!(later.is_denied(token("office")) && !later.is_denied(token("shop")));
}

#[tokio::test]
async fn the_index_of_a_subject_forgets_families_that_are_over() {
    let redis = Redis::start();
    let (store, mut stats) = (stores(&redis).refresh_tokens(), Stats::of(&redis).await);
    for byte in 0..30 {
        let id = FamilyId([byte; 16]);
        assert!(store.insert(id, Family::new(hash(1), "alice", HOUR, HOUR), 3, soon()).await.unwrap());
        if byte < 20 {
            store.revoke(id, soon()).await.unwrap();
        }
    }
    let index: Vec<String> = redis::cmd("KEYS").arg("oauth2:s:*").query_async(&mut stats.0).await.unwrap();
    let entries: u64 = redis::cmd("ZCARD").arg(&index[0]).query_async(&mut stats.0).await.unwrap();
    assert_eq!((index.len(), entries), (1, 3));
}

#[tokio::test]
async fn families_expire() {
    let redis = Redis::start();
    let store = stores(&redis).refresh_tokens();
    let short = Duration::from_millis(300);
    for (byte, absolute, idle) in [(1, short, HOUR), (2, HOUR, short)] {
        let id = FamilyId([byte; 16]);
        store.insert(id, Family::new(hash(1), "alice", absolute, idle), 1_000, soon()).await.unwrap();
        assert!(store.find(id, soon()).await.unwrap().is_some());
        assert_eq!(store.rotate(id, old(1), hash(2), soon()).await.unwrap(), Rotation::Rotated);
        within(Duration::from_secs(2), "the end", async || store.find(id, soon()).await.unwrap().is_none()).await;
        assert_eq!(store.rotate(id, old(2), hash(3), soon()).await.unwrap(), Rotation::Gone);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_concurrent_rotations_wins() {
    let redis = Redis::start();
    let both = [stores(&redis).refresh_tokens(), stores(&redis).refresh_tokens()];
    for round in 0..20 {
        let id = FamilyId([round; 16]);
        both[0].insert(id, Family::new(hash(1), "alice", HOUR, HOUR), 1_000, soon()).await.unwrap();
        let calls: Vec<_> = (0..50u8)
            .map(|n| {
                let store = both[usize::from(n % 2)].clone();
                // A generous deadline: the race is about who wins, not about how fast a loaded machine is.
                let late = Instant::now() + Duration::from_secs(10);
                tokio::spawn(async move { (n, store.rotate(id, old(1), hash(100 + n), late).await.unwrap()) })
            })
            .collect();
        let mut winners = Vec::new();
        for call in calls {
            let (n, rotation) = call.await.unwrap();
            if rotation == Rotation::Rotated {
                winners.push(n);
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        assert!(both[1].find(id, soon()).await.unwrap().unwrap().current == hash(100 + winners[0]));
    }
}

#[tokio::test]
async fn attempts_stay_within_the_limit() {
    let redis = Redis::start();
    let (one, other) = (stores(&redis).attempts(), stores(&redis).attempts());
    let limit = AttemptLimit { failures: 2, window: HOUR };
    assert_eq!(one.reserve(Slot { key: KEY, id: 1, limit }, soon()).await.unwrap(), Reservation::Reserved);
    assert_eq!(other.reserve(Slot { key: KEY, id: 2, limit }, soon()).await.unwrap(), Reservation::Reserved);
    assert_eq!(one.reserve(Slot { key: KEY, id: 3, limit }, soon()).await.unwrap(), Reservation::Busy);
    other.settle(Slot { key: KEY, id: 2, limit }, AttemptOutcome::Released, soon()).await.unwrap();
    assert_eq!(one.reserve(Slot { key: KEY, id: 3, limit }, soon()).await.unwrap(), Reservation::Reserved);
    one.settle(Slot { key: KEY, id: 1, limit }, AttemptOutcome::Failed, soon()).await.unwrap();
    one.settle(Slot { key: KEY, id: 3, limit }, AttemptOutcome::Failed, soon()).await.unwrap();
    let Reservation::Blocked { retry_after } = other.reserve(Slot { key: KEY, id: 4, limit }, soon()).await.unwrap()
    else {
        panic!("not blocked")
    };
    assert!(retry_after <= HOUR && retry_after > HOUR - Duration::from_secs(5));
    assert_eq!(
        one.reserve(Slot { key: AttemptKey([1; 16]), id: 5, limit }, soon()).await.unwrap(),
        Reservation::Reserved
    );
    one.settle(Slot { key: KEY, id: 9, limit }, AttemptOutcome::Succeeded, soon()).await.unwrap();
    assert_eq!(one.reserve(Slot { key: KEY, id: 6, limit }, soon()).await.unwrap(), Reservation::Reserved);
    assert_eq!(one.reserve(Slot { key: KEY, id: 7, limit }, soon()).await.unwrap(), Reservation::Reserved);
    one.abandon(Slot { key: KEY, id: 6, limit });
    within(Duration::from_secs(1), "giving the place back", async || {
        one.reserve(Slot { key: KEY, id: 8, limit }, soon()).await.unwrap() == Reservation::Reserved
    })
    .await;

    let short = AttemptLimit { failures: 1, window: Duration::from_millis(300) };
    let key = AttemptKey([2; 16]);
    one.settle(Slot { key, id: 1, limit: short }, AttemptOutcome::Failed, soon()).await.unwrap();
    assert!(matches!(
        one.reserve(Slot { key, id: 2, limit: short }, soon()).await.unwrap(),
        Reservation::Blocked { .. }
    ));
    within(Duration::from_secs(2), "the window", async || {
        one.reserve(Slot { key, id: 3, limit: short }, soon()).await.unwrap() == Reservation::Reserved
    })
    .await;
}

#[tokio::test]
async fn a_paused_redis_costs_the_budget_and_does_nothing_late() {
    let redis = Redis::start();
    let stores = stores(&redis);
    let store = stores.refresh_tokens();
    store.insert(ID, Family::new(hash(1), "alice", HOUR, HOUR), 1_000, soon()).await.unwrap();
    // Loads the script, so that the call below is a single command, waiting in the socket.
    assert_eq!(store.rotate(ID, old(9), hash(2), soon()).await.unwrap(), Rotation::Mismatch);
    redis.pause();
    let (begun, limit) = (Instant::now(), AttemptLimit { failures: 1, window: HOUR });
    assert!(store.rotate(ID, old(1), hash(2), soon()).await.is_err());
    assert!(begun.elapsed() < Duration::from_millis(700), "{:?}", begun.elapsed());
    assert!(stores.attempts().settle(Slot { key: KEY, id: 1, limit }, AttemptOutcome::Failed, soon()).await.is_err());
    assert!(store.find(ID, soon()).await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(1), "later calls wait again: {:?}", begun.elapsed());
    redis.resume();
    within(Duration::from_secs(2), "recovery", async || store.find(ID, soon()).await.is_ok()).await;
    let found = store.find(ID, soon()).await.unwrap().unwrap();
    assert!(found.current == hash(1), "a rotation that was given up took effect");
}

#[tokio::test]
async fn a_killed_redis_fails_fast_and_a_new_one_is_found() {
    let mut redis = Redis::start();
    let store = stores(&redis).refresh_tokens();
    store.find(ID, soon()).await.unwrap();
    redis.kill9();
    let begun = Instant::now();
    let cause = store.find(ID, soon()).await.unwrap_err().to_string();
    assert!(cause.contains("refused"), "{cause}");
    for _ in 0..2 {
        assert!(store.find(ID, soon()).await.is_err());
    }
    assert!(begun.elapsed() < Duration::from_millis(600), "{:?}", begun.elapsed());
    redis.restart();
    within(Duration::from_secs(2), "recovery", async || store.find(ID, soon()).await.is_ok()).await;
}

#[tokio::test]
async fn a_silent_redis_is_waited_for_once() {
    let redis = Redis::start();
    redis.pause();
    let store = stores(&redis).refresh_tokens();
    for most in [700, 100] {
        let begun = Instant::now();
        assert!(store.find(ID, soon()).await.is_err());
        assert!(begun.elapsed() < Duration::from_millis(most), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_call_asks_redis_once() {
    let redis = Redis::start();
    let store = stores(&redis).refresh_tokens();
    store.find(ID, soon()).await.unwrap();
    let mut stats = Stats::of(&redis).await;
    let before = stats.calls(["evalsha", "time"]).await;
    for _ in 0..10 {
        store.find(ID, soon()).await.unwrap();
        store.rotate(ID, old(1), hash(2), soon()).await.unwrap();
    }
    // Each script calls TIME.
    assert_eq!(stats.calls(["evalsha", "time"]).await, before.map(|calls| calls + 20));
}

#[tokio::test]
async fn a_wrong_clock_offset_costs_one_call_and_no_connection() {
    let redis = Redis::start();
    let slow = Slow::in_front_of(redis.port()).await;
    let store = RedisStores::open(&format!("redis://{}/0", slow.address)).unwrap().refresh_tokens();
    let deadline_in = |milliseconds| Instant::now() + Duration::from_millis(milliseconds);
    // Redis's time is 300 ms old when it arrives.
    slow.set_round_trip(Duration::from_millis(600));
    store.find(ID, deadline_in(20_000)).await.unwrap();
    slow.set_round_trip(Duration::ZERO);
    let mut stats = Stats::of(&redis).await;
    let before = stats.connections_and_keys().await;
    assert!(store.find(ID, deadline_in(200)).await.is_err());
    assert!(store.find(ID, deadline_in(200)).await.is_ok());
    assert_eq!(stats.connections_and_keys().await, before);
}

#[tokio::test]
async fn a_full_redis_is_an_error_and_keeps_its_connection() {
    let redis = Redis::start();
    let store = stores(&redis).refresh_tokens();
    store.insert(ID, Family::new(hash(1), "alice", HOUR, HOUR), 1_000, soon()).await.unwrap();
    let mut stats = Stats::of(&redis).await;
    redis.command("CONFIG SET maxmemory 1");
    let before = stats.connections_and_keys().await;
    for byte in 0..3 {
        let family = Family::new(hash(1), "bob", HOUR, HOUR);
        assert!(store.insert(FamilyId([byte; 16]), family, 1_000, soon()).await.is_err());
        assert!(store.find(ID, soon()).await.unwrap().is_some());
    }
    assert_eq!(stats.connections_and_keys().await, before);
}

#[tokio::test]
async fn the_documented_rights_are_sufficient() {
    let redis = Redis::start();
    redis.command(&format!("ACL SETUSER app on >secret {}", documented_rights()));
    let url = redis.url().replace("//", "//app:secret@");
    let (stores, other) = (RedisStores::open(&url).unwrap(), RedisStores::open(&url).unwrap().deny_list());
    let families = stores.refresh_tokens();
    for _ in 0..2 {
        families.insert(ID, Family::new(hash(1), "alice", HOUR, HOUR), 1_000, soon()).await.unwrap();
    }
    assert!(families.find(ID, soon()).await.unwrap().is_some());
    assert_eq!(families.rotate(ID, old(1), hash(2), soon()).await.unwrap(), Rotation::Rotated);
    families.revoke(ID, soon()).await.unwrap();
    families.insert(ID, Family::new(hash(1), "alice", HOUR, HOUR), 1_000, soon()).await.unwrap();
    assert_eq!(families.revoke_subject(SubjectRef::new("", "alice"), None).await.unwrap(), 1);

    let (attempts, limit) = (stores.attempts(), AttemptLimit { failures: 2, window: HOUR });
    for (id, outcome) in [(1, AttemptOutcome::Failed), (2, AttemptOutcome::Succeeded), (3, AttemptOutcome::Released)] {
        assert_eq!(attempts.reserve(Slot { key: KEY, id, limit }, soon()).await.unwrap(), Reservation::Reserved);
        attempts.settle(Slot { key: KEY, id, limit }, outcome, soon()).await.unwrap();
    }
    let list = stores.deny_list();
    list.deny(denial("token", HOUR), soon()).await.unwrap();
    assert!(list.is_denied(token("token")));
    within(Duration::from_secs(5), "the other process knows of it", async || other.is_denied(token("token"))).await;
    list.deny(denial("later", HOUR), soon()).await.unwrap();
    within(Duration::from_secs(5), "the other process hears of it", async || other.is_denied(token("later"))).await;
}

#[tokio::test]
async fn an_idle_connection_survives_a_restart() {
    let mut redis = Redis::start();
    let limit = AttemptLimit { failures: 1, window: HOUR };
    let (finding, reserving) = (stores(&redis).refresh_tokens(), stores(&redis).attempts());
    for round in 0..3 {
        assert!(finding.find(ID, soon()).await.is_ok(), "round {round}");
        let key = AttemptKey([round; 16]);
        assert_eq!(
            reserving.reserve(Slot { key, id: 1, limit }, soon()).await.unwrap(),
            Reservation::Reserved,
            "round {round}"
        );
        assert_eq!(
            reserving.reserve(Slot { key, id: 1, limit }, soon()).await.unwrap(),
            Reservation::Reserved,
            "the same place"
        );
        assert_eq!(reserving.reserve(Slot { key, id: 2, limit }, soon()).await.unwrap(), Reservation::Busy);
        redis.kill9();
        redis.restart();
    }
}

#[tokio::test]
async fn a_long_idle_connection_survives_a_restart() {
    let mut redis = Redis::start();
    let store = stores(&redis).refresh_tokens();
    store.find(ID, soon()).await.unwrap();
    // After 30 seconds the store asks for Redis's clock again before it uses the connection.
    tokio::time::sleep(Duration::from_secs(31)).await;
    redis.kill9();
    redis.restart();
    assert_eq!(store.rotate(ID, old(1), hash(2), soon()).await.unwrap(), Rotation::Gone);
}

#[tokio::test]
async fn short_calls_detect_a_stuck_redis_together() {
    let redis = Redis::start();
    let store = stores(&redis).refresh_tokens();
    store.find(ID, soon()).await.unwrap();
    redis.pause();
    let ask = async || {
        let begun = Instant::now();
        assert!(store.find(ID, begun + Duration::from_millis(50)).await.is_err());
        begun.elapsed()
    };
    for call in 0..3 {
        let took = ask().await;
        assert!(took >= Duration::from_millis(45), "call {call} was given up after {took:?}");
    }
    let took = ask().await;
    assert!(took < Duration::from_millis(45), "it is still asked: {took:?}");
}

#[tokio::test]
async fn a_quiet_list_keeps_its_connection_and_a_dropped_one_ends_it() {
    let redis = Redis::start();
    let mut stats = Stats::of(&redis).await;
    let connected = stats.line("clients", "connected_clients:").await;
    let list = stores(&redis).deny_list();
    list.deny(denial("first", HOUR), soon()).await.unwrap();
    within(Duration::from_secs(5), "the copy", async || list.is_in_sync()).await;
    let ((connections, _), begun) = (stats.connections_and_keys().await, Instant::now());
    let proofs = stats.calls(["publish"]).await[0];
    within(Duration::from_secs(5), "proofs", async || stats.calls(["publish"]).await[0] > proofs + 2).await;
    let new = u128::from(stats.calls(["publish"]).await[0] - proofs);
    assert!(new <= begun.elapsed().as_millis() / 250 + 1, "{new} proofs, with no pause between them");
    assert_eq!(stats.connections_and_keys().await.0, connections);
    drop(list);
    let ended = async || stats.line("clients", "connected_clients:").await == connected;
    within(Duration::from_secs(5), "the end of its connections", ended).await;
}

#[tokio::test]
async fn a_denied_token_is_known_everywhere() {
    let mut redis = Redis::start();
    let (one, other) = (stores(&redis).deny_list(), stores(&redis).deny_list());
    one.deny(denial("first", HOUR), soon()).await.unwrap();
    assert!(one.is_denied(token("first")) && !one.is_denied(token("second")));
    within(Duration::from_secs(1), "the message", async || other.is_denied(token("first"))).await;
    one.deny(denial("second", HOUR), soon()).await.unwrap();
    within(Duration::from_secs(1), "the message", async || other.is_denied(token("second"))).await;

    one.deny(denial("middle", HOUR * 2), soon()).await.unwrap();

    let late = stores(&redis).deny_list();
    for id in ["first", "second", "middle"] {
        within(Duration::from_secs(1), "catching up", async || late.is_denied(token(id))).await;
    }

    redis.kill9();
    assert!(one.deny(denial("third", HOUR), soon()).await.is_err());
    assert!(other.is_denied(token("first")), "an outage forgets nothing");
    redis.restart();
    within(Duration::from_secs(2), "recovery", async || one.deny(denial("third", HOUR), soon()).await.is_ok()).await;
    within(Duration::from_secs(5), "reading again", async || other.is_denied(token("third"))).await;

    one.deny(denial("brief", Duration::from_millis(200)), soon()).await.unwrap();
    within(Duration::from_secs(1), "the end", async || !one.is_denied(token("brief"))).await;
}
