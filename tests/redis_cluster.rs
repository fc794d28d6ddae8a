//! The Redis stores on a real Redis Cluster.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::{join, join_all};
use test_support::{
    client::within,
    cluster::Cluster,
    redis::{Redis, documented_rights},
};
use tokio::runtime::Builder;
use tower_oauth2_password::{
    BoxError,
    store::{
        AttemptKey, AttemptLimit, AttemptStore as _, Denial, Denied, DenyList as _, Family, FamilyId, Previous,
        RefreshStore as _, Reservation, Rotation, SecretHash, Slot, TokenRef,
        redis::{RedisDenyList, RedisRefreshStore, RedisStores},
    },
};
use tower_oauth2_password_testkit::{self as testkit, Job};

const HOUR: Duration = Duration::from_secs(3_600);
/// Longer than the soak, which checks all entries at its end.
const DAY: Duration = Duration::from_secs(86_400);
const SOON: Duration = Duration::from_secs(5);
/// Longer than a round of the soak, so that none ends before it is looked up, and short enough that Redis does not fill up: a
/// node that is back must copy all families of its primary.
const LIFETIME: Duration = Duration::from_secs(300);

fn stores(cluster: &Cluster) -> RedisStores {
    RedisStores::open_cluster(cluster.urls()).unwrap()
}

/// The deadline that a request sets for its stores.
fn soon() -> Instant {
    Instant::now() + Duration::from_millis(500)
}

/// For calls that must not fail, however busy the machine is.
fn patient() -> Instant {
    Instant::now() + SOON
}

async fn deny(list: &RedisDenyList, id: &str) -> Result<(), BoxError> {
    list.deny(Denial::new(Denied::Token(id), None, id, DAY), soon()).await.map(|denied| assert!(denied))
}

fn denies(list: &RedisDenyList, id: &str) -> bool {
    let mut token = TokenRef::new("alice");
    token.id = Some(id);
    list.is_denied(token)
}

fn spawn(job: Job) {
    tokio::spawn(job);
}

fn block_on(test: impl Future<Output = ()>) {
    Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap().block_on(test);
}

#[test]
fn a_cluster_keeps_the_contracts() {
    let cluster = Cluster::start(0);
    block_on(async {
        testkit::refresh_store(stores(&cluster).refresh_tokens()).await;
        let both = [stores(&cluster).refresh_tokens(), stores(&cluster).refresh_tokens()];
        testkit::refresh_store_in_parallel(both, spawn).await;
        testkit::attempt_store(stores(&cluster).attempts()).await;
        let both = [stores(&cluster).attempts(), stores(&cluster).attempts()];
        testkit::attempt_store_in_parallel(both, spawn).await;
        testkit::deny_list(stores(&cluster).deny_list()).await;
        testkit::deny_list_shared(stores(&cluster).deny_list(), stores(&cluster).deny_list()).await;
    });
}

#[test]
fn the_others_are_found_while_a_node_that_was_named_is_down() {
    let cluster = Cluster::start(0);
    block_on(async {
        let down = Redis::start();
        // The last is asked first.
        let urls = [cluster.nodes[0].url(), down.url()];
        drop(down);
        let store = RedisStores::open_cluster(urls).unwrap().refresh_tokens();
        let mut answers = Vec::new();
        for byte in 0..16 {
            answers.push(store.find(FamilyId([byte; 16]), soon()).await.is_ok());
        }
        assert!(answers[1..].iter().all(|found| *found), "{answers:?}");
    });
}

#[test]
fn a_key_that_is_being_moved_is_found_in_either_node_with_the_documented_rights() {
    let cluster = Cluster::start(0);
    for node in &cluster.nodes {
        node.command(&format!("ACL SETUSER app on >secret {} +asking", documented_rights()));
    }
    block_on(async {
        let urls = cluster.urls().into_iter().map(|url| url.replace("//", "//app:secret@"));
        let stores = RedisStores::open_cluster(urls).unwrap();
        let (one, other) = (stores.attempts(), stores.clone().attempts());
        let slot = |id| Slot { key: AttemptKey([9; 16]), id, limit: AttemptLimit { failures: 2, window: HOUR } };
        let key = format!("oauth2:a:{}", "09".repeat(16));
        let (from, to) = (cluster.owner(&key), (cluster.owner(&key) + 1) % 3);
        cluster.begin_move(&key, to);
        assert_eq!(one.reserve(slot(1), soon()).await.unwrap(), Reservation::Reserved);
        assert_eq!(other.reserve(slot(2), soon()).await.unwrap(), Reservation::Reserved);
        assert_eq!(one.reserve(slot(3), soon()).await.unwrap(), Reservation::Busy);
        assert!(!cluster.ask(from, &format!("zcard {key}")).starts_with('2'), "the new node has it");
        cluster.end_move(&key, to);
        assert_eq!(other.reserve(slot(4), soon()).await.unwrap(), Reservation::Busy);
        assert_eq!(cluster.ask(to, &format!("zcard {key}")).trim(), "2");
    });
}

#[cfg(feature = "redis-tls")]
#[test]
fn tls_leads_to_the_nodes_that_others_name() {
    let (cluster, urls, root) = Cluster::start_secure();
    block_on(async {
        let stores = RedisStores::open_cluster(&urls[..1]).unwrap().with_root_certificate(&root).unwrap();
        let families = stores.refresh_tokens();
        for byte in 0..16 {
            let family = Family::new(SecretHash([1; 32]), format!("{byte}"), HOUR, HOUR);
            assert!(families.insert(FamilyId([byte; 16]), family, 10, soon()).await.unwrap());
        }
        for node in 0..3 {
            assert_ne!(cluster.ask(node, "dbsize").trim(), "0");
        }
        let (guarding, revoking) = (stores.deny_list(), stores.deny_list());
        within(SOON, "the copy", async || guarding.is_in_sync()).await;
        deny(&revoking, "heard").await.unwrap();
        within(Duration::from_secs(1), "the message", async || denies(&guarding, "heard")).await;
    });
}

/// Logs in and refreshes once, again and again until it is stopped. Returns why calls failed, and the families whose refresh
/// was confirmed, and when.
async fn load(
    store: RedisRefreshStore,
    (round, worker): (u32, u8),
    deadline: fn() -> Instant,
    stop: Arc<AtomicBool>,
) -> (Vec<String>, Vec<(FamilyId, Instant)>) {
    let (mut failed, mut families) = (Vec::new(), Vec::new());
    for number in 0_u32.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let mut id = [worker; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        id[4..8].copy_from_slice(&round.to_be_bytes());
        let family = Family::new(SecretHash([1; 32]), format!("{round} {worker} {number}"), LIFETIME, LIFETIME);
        if let Err(error) = store.insert(FamilyId(id), family, 10, deadline()).await {
            failed.push(error.to_string());
            continue;
        }
        let old = Previous::new(SecretHash([1; 32]), Vec::new());
        match store.rotate(FamilyId(id), old, SecretHash([2; 32]), deadline()).await {
            Ok(rotated) => {
                assert_eq!(rotated, Rotation::Rotated);
                families.push((FamilyId(id), Instant::now()));
            }
            Err(error) => failed.push(error.to_string()),
        }
    }
    (failed, families)
}

/// Which of these are not as they were confirmed.
async fn lost(store: &RedisRefreshStore, families: &[(FamilyId, Instant)]) -> Vec<Instant> {
    let mut lost = Vec::new();
    for (id, confirmed) in families {
        let found = store.find(*id, soon()).await.unwrap();
        if found.is_none_or(|family| family.current != SecretHash([2; 32])) {
            lost.push(*confirmed);
        }
    }
    lost
}

#[test]
fn a_resharding_under_load_loses_nothing_and_fails_nothing() {
    let cluster = Cluster::start(0);
    let stop = Arc::new(AtomicBool::new(false));
    block_on(async {
        let (guarding, revoking) = (stores(&cluster).deny_list(), stores(&cluster).deny_list());
        within(SOON, "the copy", async || guarding.is_in_sync()).await;
        let home = cluster.owner("oauth2:deny");
        let store = stores(&cluster).refresh_tokens();
        let workers = (0..4).map(|worker| tokio::spawn(load(store.clone(), (0, worker), patient, stop.clone())));
        let workers = join_all(workers.collect::<Vec<_>>());
        let moved = async {
            for round in 0..5 {
                tokio::task::block_in_place(|| cluster.reshard(home, (home + 1) % 3, 500));
                deny(&revoking, &round.to_string()).await.unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        };
        let (results, ()) = join(workers, moved).await;
        assert_ne!(cluster.owner("oauth2:deny"), home);
        for (failed, families) in results.into_iter().map(Result::unwrap) {
            assert_eq!(failed, [""; 0]);
            assert!(families.len() > 100, "{}", families.len());
            assert_eq!(lost(&store, &families).await.len(), 0);
        }
        for round in 0..5 {
            within(Duration::from_secs(1), "the message", async || denies(&guarding, &round.to_string())).await;
        }
        within(SOON, "the copy", async || guarding.is_in_sync()).await;
    });
}

#[test]
fn a_list_whose_node_is_cut_off_from_the_others_is_not_in_sync_until_it_has_another() {
    let cluster = Cluster::start(0);
    block_on(async {
        let guarding = stores(&cluster).deny_list();
        within(SOON, "the copy", async || guarding.is_in_sync()).await;
        let revoking = stores(&cluster).deny_list();
        // The list moves, and the subscription stays.
        let home = cluster.owner("oauth2:deny");
        let new = (home + 1) % 3;
        cluster.begin_move("oauth2:deny", new);
        cluster.end_move("oauth2:deny", new);
        deny(&revoking, "heard").await.unwrap();
        within(Duration::from_secs(1), "the message", async || denies(&guarding, "heard")).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(guarding.is_in_sync(), "all nodes deliver what one publishes");

        // The others send that node nothing any more. Its clients reach it, and it answers.
        for other in [new, (home + 2) % 3] {
            assert_eq!(cluster.ask(other, "config set cluster-require-full-coverage no").trim(), "OK");
            assert_eq!(cluster.ask(other, &format!("cluster forget {}", cluster.id(home))).trim(), "OK");
        }
        deny(&revoking, "missed").await.unwrap();
        within(Duration::from_secs(2), "the loss", async || !guarding.is_in_sync()).await;
        within(SOON, "another node", async || guarding.is_in_sync()).await;
        assert!(denies(&guarding, "missed"));
    });
}

#[test]
fn a_failover_under_load_loses_the_last_moment_at_most() {
    let mut cluster = Cluster::start(1);
    let stop = Arc::new(AtomicBool::new(false));
    block_on(async {
        let (guarding, revoking) = (stores(&cluster).deny_list(), stores(&cluster).deny_list());
        within(SOON, "the copy", async || guarding.is_in_sync() && revoking.is_in_sync()).await;
        deny(&revoking, "before").await.unwrap();
        within(Duration::from_secs(1), "the message", async || denies(&guarding, "before")).await;
        let store = stores(&cluster).refresh_tokens();
        let home = cluster.owner("oauth2:deny");
        let workers = (0..4).map(|worker| tokio::spawn(load(store.clone(), (0, worker), soon, stop.clone())));
        let workers = join_all(workers.collect::<Vec<_>>());
        let killed = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let begun = Instant::now();
            cluster.nodes[home].kill9();
            within(Duration::from_secs(2), "the loss", async || !guarding.is_in_sync()).await;
            within(Duration::from_secs(20), "the failover", async || deny(&revoking, "after").await.is_ok()).await;
            within(SOON, "the copy", async || guarding.is_in_sync() && denies(&guarding, "after")).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            stop.store(true, Ordering::Relaxed);
            begun
        };
        let (results, killed) = join(workers, killed).await;
        for (failed, families) in results.into_iter().map(Result::unwrap) {
            let lost = lost(&store, &families).await;
            assert!(families.len() > 100 && !failed.is_empty(), "{} and {}", families.len(), failed.len());
            for confirmed in lost {
                assert!(confirmed + Duration::from_secs(1) > killed, "lost {:?} before", killed - confirmed);
            }
        }
        let late = stores(&cluster).deny_list();
        within(SOON, "the copy", async || late.is_in_sync()).await;
        assert!(denies(&late, "before") && denies(&guarding, "before"));
    });
}

/// Repeats failovers and moves of slots under load for `SOAK_SECONDS`: see .ci/soak.
#[test]
#[ignore = "takes as long as it is told"]
fn soak() {
    let seconds = std::env::var("SOAK_SECONDS").map_or(60, |text| text.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut cluster = Cluster::start(1);
    block_on(async {
        let (guarding, revoking) = (stores(&cluster).deny_list(), stores(&cluster).deny_list());
        let store = stores(&cluster).refresh_tokens();
        for round in 0_u32.. {
            if Instant::now() > end && round > 0 {
                break;
            }
            within(SOON, "the copy", async || guarding.is_in_sync() && revoking.is_in_sync()).await;
            let stop = Arc::new(AtomicBool::new(false));
            let workers = (0..4).map(|worker| tokio::spawn(load(store.clone(), (round, worker), soon, stop.clone())));
            let workers = join_all(workers.collect::<Vec<_>>());
            deny(&revoking, &format!("before {round}")).await.unwrap();
            // What is confirmed in the last second before a failover may be lost.
            tokio::time::sleep(Duration::from_millis(1_100)).await;
            let home = cluster.owner("oauth2:deny");
            let begun = Instant::now();
            cluster.nodes[home].kill9();
            within(Duration::from_secs(30), "the failover", async || deny(&revoking, "after").await.is_ok()).await;
            cluster.nodes[home].restart();
            cluster.wait_until_ready(1);
            let (from, to) = cluster.fullest_and_emptiest();
            cluster.reshard(from, to, 100);
            stop.store(true, Ordering::Relaxed);
            let (mut confirmed, mut lost_then) = (0, 0);
            for (_, families) in workers.await.into_iter().map(Result::unwrap) {
                for lost in lost(&store, &families).await {
                    lost_then += 1;
                    assert!(lost + Duration::from_secs(1) > begun && lost < begun + SOON, "in round {round}");
                }
                confirmed += families.len();
            }
            eprintln!("round {round}: {confirmed} refreshes confirmed, {lost_then} lost");
            let late = stores(&cluster).deny_list();
            within(SOON, "the copy", async || late.is_in_sync()).await;
            assert!((0..=round).all(|round| denies(&late, &format!("before {round}"))));
        }
    });
}
