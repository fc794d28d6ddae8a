//! Kills a server with `kill -9` while another shares its Redis.

use std::{net::Ipv4Addr, time::Duration};

use futures_util::future::join_all;

use crate::{
    assert_sound,
    family::{Family, Step},
    neighbour, scaled, server,
    traffic::{assert_held, hold, log_in_quietly, nobody},
};
use test_support::{
    client::{BOB, eventually, get, in_time, log_in, post, refresh_form, try_post, within},
    example::Example,
    redis::Redis,
};

const NETWORK: u8 = 5;

/// Tokens outlive the server, and none is accepted twice, whatever was under way. Returns the server that replaces it.
pub async fn minus_nine(survivor: &Example, mut victim: Example, count: usize, start: impl Fn() -> Example) -> Example {
    let held = nobody();
    hold(&victim, &held).await;
    let login = log_in_quietly(&victim).await;
    let revoked = log_in(&victim).await.text("access_token");
    assert_eq!(post(&victim, "/revoke", &format!("token={revoked}")).await.status, 200);
    let [mut quiet, mut busy, contested] = [
        Family::begin_many(victim.address, count).await,
        Family::begin_many(victim.address, count).await,
        Family::begin_many(victim.address, count).await,
    ];

    let rotations = join_all(busy.iter_mut().map(async |family| {
        let mut rotations = 0;
        loop {
            match family.step(victim.address).await {
                Step::Rotated => rotations += 1,
                Step::Unanswered => return rotations,
                // Redis may be slow, and have rotated the token all the same.
                Step::Unavailable => family.doubtful = true,
                Step::Refused if family.doubtful => return rotations,
                Step::Refused => panic!("refused before the kill"),
            }
        }
    }));
    // More logins than there are slots for one name and address, of another user: no user has more than 100 sessions.
    let logins = join_all(
        (0..12).map(async |_| while try_post(victim.address, neighbour(NETWORK, 0), "/token", BOB).await.is_ok() {}),
    );
    let contests = async {
        let mut accepted = Vec::new();
        for (number, family) in contested.iter().enumerate() {
            let kill = async {
                if number == count / 2 {
                    victim.signal("-KILL");
                }
            };
            let (one, other, ()) =
                tokio::join!(accepts(&victim, &family.current), accepts(survivor, &family.current), kill);
            let (one, other) = (one.unwrap_or(false), other.expect("no answer from the survivor"));
            assert!(!(one && other), "both accepted one token");
            accepted.push(one || other);
        }
        accepted
    };
    let all = async { tokio::join!(rotations, logins, contests) };
    let (rotations, _, accepted) = in_time(Duration::from_secs(60), "the kill", all).await;
    assert!(rotations.iter().sum::<usize>() > 0, "nothing was under way");
    assert!(accepted.contains(&true), "no contest was decided");
    assert_eq!(victim.wait(Duration::from_secs(5)), None, "not ended by the signal");

    for family in &mut quiet {
        assert_eq!(family.step(survivor.address).await, Step::Rotated, "an idle token did not survive");
    }
    for family in &mut busy {
        let step = family.step(survivor.address).await;
        assert!(matches!(step, Step::Rotated | Step::Refused), "{step:?}");
    }
    for (family, accepted) in contested.iter().zip(accepted) {
        let again = accepts(survivor, &family.current).await.unwrap();
        let once_more = accepts(survivor, &family.current).await.unwrap();
        assert!([accepted, again, once_more].iter().filter(|yes| **yes).count() <= 1, "accepted twice");
    }
    let replacement = start();
    for server in [survivor, &replacement] {
        assert_held(server, &held).await;
        assert_eq!(get(server, "/users/me", &login.text("access_token")).await.status, 200);
        eventually("a revoked token is known", async || get(server, "/users/me", &revoked).await.status == 401).await;
    }
    for family in &mut quiet {
        assert_eq!(family.step(replacement.address).await, Step::Rotated);
    }
    for family in quiet.iter().chain(&busy) {
        family.assert_used_once(replacement.address).await;
    }
    replacement
}

/// Whether the server says that it accepts the token. A 503 does not say so: Redis may be slow.
async fn accepts(server: &Example, token: &str) -> Result<bool, String> {
    let reply = try_post(server.address, Ipv4Addr::LOCALHOST, "/token", &refresh_form(token)).await?;
    assert!(matches!(reply.status, 200 | 400 | 503), "{reply:?}");
    Ok(reply.status == 200)
}

/// Slots that the killed server had reserved are free again after half a minute.
pub async fn places_come_back(survivor: &Example) {
    within(Duration::from_secs(35), "a login from where others were cut off", async || {
        try_post(survivor.address, neighbour(NETWORK, 0), "/token", BOB).await.unwrap().status == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_outlive_a_killed_server_and_none_is_accepted_twice() {
    let redis = Redis::start();
    let start = || server(&[("REDIS_URL", &redis.url())]);
    let survivor = start();
    let replacement = minus_nine(&survivor, start(), scaled(50), start).await;
    places_come_back(&survivor).await;
    assert_sound(&survivor);
    assert_sound(&replacement);
}
