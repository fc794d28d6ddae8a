//! Two servers on one Redis, and a Redis that fails.

use std::time::Duration;

use futures_util::future::join_all;

use crate::client::{SECRET, attempt, eventually, get, log_in, post, refresh, request, within_once};
use test_support::{example::Example, redis::Redis, slow::Slow};

fn server(redis: &Redis) -> Example {
    Example::start("server", &[SECRET, ("REDIS_URL", &redis.url()), ("RUST_LOG", "warn")])
}

#[tokio::test(flavor = "multi_thread")]
async fn each_process_sees_what_the_other_did() {
    let redis = Redis::start();
    let (one, other) = (server(&redis), server(&redis));
    let first = log_in(&one).await.text("refresh_token");
    let second = refresh(&other, &first).await.text("refresh_token");
    let third = refresh(&one, &second).await.text("refresh_token");
    assert_eq!(refresh(&other, &first).await.status, 400, "reuse");
    assert_eq!(refresh(&one, &third).await.status, 400, "the line has ended everywhere");

    let login = log_in(&one).await;
    let (access, token) = (login.text("access_token"), login.text("refresh_token"));
    assert_eq!(get(&other, "/users/me", &access).await.status, 200);
    assert_eq!(post(&one, "/revoke", &format!("token={token}")).await.status, 200);
    assert_eq!(refresh(&other, &token).await.status, 400);
    assert_eq!(post(&one, "/revoke", &format!("token={access}")).await.status, 200);
    assert_eq!(get(&one, "/users/me", &access).await.status, 401, "at once here");
    eventually("a revoked access token is known elsewhere", async || {
        get(&other, "/users/me", &access).await.status == 401
    })
    .await;

    for round in 0..10 {
        assert_eq!(attempt(if round % 2 == 0 { &one } else { &other }, "bob", "wrong").await.status, 400);
    }
    assert_eq!(attempt(&one, "bob", "builder456").await.status, 429);
    assert_eq!(attempt(&other, "bob", "builder456").await.status, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_fifty_concurrent_uses_wins() {
    let redis = Redis::start();
    let (one, other) = (server(&redis), server(&redis));
    let mut won = 0;
    for round in 0..10 {
        let token = log_in(&one).await.text("refresh_token");
        let uses = (0..50).map(|n| refresh(if n % 2 == 0 { &one } else { &other }, &token));
        let replies = join_all(uses).await;
        let with = |status| replies.iter().filter(move |reply| reply.status == status);
        let (winners, unknown): (Vec<_>, _) = (with(200).collect(), with(503).count());
        assert_eq!(winners.len() + unknown + with(400).count(), 50, "round {round}: {replies:?}");
        // A use that the store was too slow for may have won.
        assert!(winners.len() == 1 || winners.is_empty() && unknown > 0, "round {round}: {winners:?}");
        if let [winner] = winners[..] {
            won += 1;
            let next = winner.text("refresh_token");
            assert_eq!(refresh(&other, &next).await.status, 400, "R9.2: the winner's token died, too");
        }
    }
    assert!(won > 0, "no round had a winner");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_outlive_a_killed_server() {
    let redis = Redis::start();
    let killed = server(&redis);
    let token = log_in(&killed).await.text("refresh_token");
    killed.signal("-KILL");
    assert_eq!(refresh(&server(&redis), &token).await.status, 200);
}

async fn without_redis(server: &Example, access: &str, refresh_token: &str) {
    let form = format!("token={refresh_token}");
    for _ in 0..2 {
        for (what, path, form) in [
            ("login", "/token", "grant_type=password&username=alice&password=wonderland123"),
            ("refresh", "/token", &format!("grant_type=refresh_token&refresh_token={refresh_token}")),
            ("revoke", "/revoke", &form),
        ] {
            within_once(Duration::from_secs(1), what, async || {
                let reply = post(server, path, form).await;
                assert_eq!((reply.status, reply.text("error").as_str()), (503, "temporarily_unavailable"), "{what}");
                assert!(reply.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
            })
            .await;
        }
        within_once(Duration::from_millis(500), "guarded routes", async || {
            assert_eq!(get(server, "/users/me", access).await.status, 200);
            assert_eq!(request(server, "GET", "/", &[], "").await.status, 200);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_may_stop_die_and_return() {
    let mut redis = Redis::start();
    let server = server(&redis);
    let login = log_in(&server).await;
    // Of another session: a replay ends the access tokens of its own.
    let (access, token) = (log_in(&server).await.text("access_token"), login.text("refresh_token"));

    redis.pause();
    without_redis(&server, &access, &token).await;
    redis.resume();
    let mut winner = None;
    eventually("recovery after a pause", async || {
        let reply = refresh(&server, &token).await;
        assert_ne!(reply.status, 400, "what was given up had spent the token");
        let done = reply.status == 200;
        winner = done.then(|| reply.text("refresh_token")).or(winner.take());
        done
    })
    .await;
    assert_eq!(refresh(&server, &token).await.status, 400, "accepted twice");

    redis.kill9();
    without_redis(&server, &access, &winner.unwrap()).await;
    redis.restart();
    eventually("recovery after a restart", async || attempt(&server, "alice", "wonderland123").await.status == 200)
        .await;
    assert!(!server.log().contains("wonderland123"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_starts_without_redis() {
    let mut redis = Redis::start();
    redis.kill9();
    let server = server(&redis);
    assert_eq!(attempt(&server, "alice", "wonderland123").await.status, 503);
    redis.restart();
    eventually("the first login", async || attempt(&server, "alice", "wonderland123").await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_redis_is_waited_for_up_to_the_budget() {
    let redis = Redis::start();
    let slow = Slow::in_front_of(redis.port()).await;
    let url = format!("redis://{}", slow.address);
    let server = Example::start("server", &[SECRET, ("REDIS_URL", &url), ("RUST_LOG", "warn")]);
    let login = log_in(&server).await;
    let access = login.text("access_token");

    slow.set_round_trip(Duration::from_millis(50));
    let token = refresh(&server, &login.text("refresh_token")).await.text("refresh_token");
    log_in(&server).await;

    // Each of the four store calls alone would be in time.
    slow.set_round_trip(Duration::from_millis(300));
    let form = "grant_type=password&username=bob&password=builder456&client_id=demo-web&client_secret=demo-web-secret";
    within_once(Duration::from_secs(1), "a login", async || {
        assert_eq!(post(&server, "/token", form).await.status, 503);
    })
    .await;

    slow.set_round_trip(Duration::from_millis(900));
    without_redis(&server, &access, &token).await;

    slow.set_round_trip(Duration::ZERO);
    eventually("recovery", async || {
        let reply = refresh(&server, &token).await;
        assert_ne!(reply.status, 400, "what was given up had spent the token");
        reply.status == 200
    })
    .await;
    assert_eq!(refresh(&server, &token).await.status, 400, "accepted twice");
}
