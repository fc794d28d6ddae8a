//! Steps of the wall clock of one server.

use std::sync::atomic::{AtomicBool, Ordering};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    assert_sound, server,
    traffic::{assert_held, hold, log_in_quietly, nobody},
};
use test_support::{
    client::{get, log_in, post, refresh},
    clock::Clock,
    example::Example,
    http::Reply,
};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// Blocked names stay blocked, and revoked tokens stay revoked. Tokens follow the wall clock. Logins keep working.
pub async fn steps(server: &Example, clock: &Clock, access_ttl: i64) {
    let held = nobody();
    hold(server, &held).await;
    let [now, revoked] = [log_in_quietly(server).await, log_in(server).await];
    assert_eq!(post(server, "/revoke", &format!("token={}", revoked.text("access_token"))).await.status, 200);
    let issued = claim(&now, "iat");
    let mut token = now.text("refresh_token");

    for (ahead, good) in [(DAY * 2, false), (0, true), (access_ttl / 2, true), (-DAY, true), (access_ttl, false)] {
        clock.step(ahead);
        assert_held(server, &held).await;
        let status = get(server, "/users/me", &now.text("access_token")).await.status;
        assert_eq!(status, if good { 200 } else { 401 }, "{ahead} s ahead");
        assert_eq!(get(server, "/users/me", &revoked.text("access_token")).await.status, 401, "{ahead} s ahead");
        token = refresh(server, &token).await.text("refresh_token");

        let login = log_in_quietly(server).await;
        assert!((claim(&login, "iat") - issued - ahead).abs() < 60, "the clock did not step: {login:?}");
        assert_eq!(claim(&login, "exp") - claim(&login, "iat"), access_ttl);
        assert_eq!(get(server, "/users/me", &login.text("access_token")).await.status, 200, "{ahead} s ahead");
        clock.step(ahead + access_ttl);
        assert_eq!(get(server, "/users/me", &login.text("access_token")).await.status, 401, "{ahead} s ahead, later");
    }

    let stop = AtomicBool::new(false);
    let logins = async {
        while !stop.load(Ordering::Relaxed) {
            log_in_quietly(server).await;
        }
    };
    let steps = async {
        for number in 0..100 {
            clock.step([HOUR, -HOUR, 0, 40 * DAY, -DAY][number % 5]);
            assert_eq!(refresh(server, "unknown").await.status, 400);
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(logins, steps);
    clock.step(0);
    assert_held(server, &held).await;
}

fn claim(login: &Reply, name: &str) -> i64 {
    let token = login.text("access_token");
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<serde_json::Value>(&claims).unwrap()[name].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_may_step() {
    let clock = Clock::start();
    let server = server(&[&clock.variables()[..], &[("ACCESS_TOKEN_TTL", "300")]].concat());
    steps(&server, &clock, 300).await;
    assert_sound(&server);
}
