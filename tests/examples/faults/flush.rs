//! Redis loses all its data while it is in use.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::join_all;

use crate::{
    assert_sound,
    family::{Family, Step},
    scaled, server,
    traffic::{self, hold, nobody},
};
use test_support::{
    client::{attempt, eventually, get, in_time, log_in, post},
    example::Example,
    redis::Redis,
};

/// Refresh tokens and failed attempts are lost. No other request fails, and everything keeps working. A revoked access
/// token stays revoked on servers that already know it. On servers that start later it is valid again until it expires.
pub async fn everything(server: &Example, redis: &Redis, count: usize, start: impl Fn() -> Example) {
    let held = nobody();
    hold(server, &held).await;
    let good = traffic::log_in_quietly(server).await.text("access_token");
    let revoked = log_in(server).await.text("access_token");
    assert_eq!(post(server, "/revoke", &format!("token={revoked}")).await.status, 200);
    let witness = start();
    eventually("a revoked token is known", async || get(&witness, "/users/me", &revoked).await.status == 401).await;

    let families = Family::begin_many(server.address, count).await;
    let (refused, flushed) = (&AtomicUsize::new(0), &AtomicBool::new(false));
    let uses = join_all(families.into_iter().map(async |mut family| {
        loop {
            let before = flushed.load(Ordering::SeqCst);
            match family.step(server.address).await {
                Step::Rotated => assert!(!before, "a token outlived the flush"),
                // Redis may be slow, and have rotated the token all the same.
                Step::Unavailable => family.doubtful = true,
                Step::Refused if family.doubtful => return 0,
                Step::Refused => return refused.fetch_add(1, Ordering::SeqCst),
                Step::Unanswered => panic!("no answer though Redis is there"),
            }
        }
    }));
    let flush = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(refused.load(Ordering::SeqCst), 0, "refused before the flush");
        redis.command("FLUSHALL");
        flushed.store(true, Ordering::SeqCst);
    };
    in_time(Duration::from_secs(30), "the flush", async { tokio::join!(uses, flush) }).await;

    assert_eq!(attempt(server, &held, "guess").await.status, 400, "the attempts are forgotten");
    assert_eq!(get(server, "/users/me", &good).await.status, 200);
    for knowing in [server, &witness] {
        assert_eq!(get(knowing, "/users/me", &revoked).await.status, 401, "revoked for good where it is known");
    }
    assert_eq!(get(&start(), "/users/me", &revoked).await.status, 200, "forgotten for who never knew");
    traffic::one_of_each(server).await;
    redis.command("SCRIPT FLUSH");
    traffic::one_of_each(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_may_forget_everything() {
    let redis = Redis::start();
    let start = || server(&[("REDIS_URL", &redis.url())]);
    let server = start();
    everything(&server, &redis, scaled(100), start).await;
    assert_sound(&server);
}
