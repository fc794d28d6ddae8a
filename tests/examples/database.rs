//! The example `sqlite` as a process, over SQLite and over Postgres, with the same tests for both.

use std::{
    net::Ipv4Addr,
    path::PathBuf,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::{AnyConnection, AnyPool, any::AnyPoolOptions};
use tower_oauth2_password::{Argon2Params, HashingPool};

use test_support::postgres::Postgres;
use test_support::{
    client::{SECRET, attempt, eventually, get, refresh, request, try_request},
    example::Example,
    http::Reply,
};

const TODAY: &str = "$argon2id$v=19$m=19456,t=2,p=1$";
/// The hash of "secret" from FastAPI's tutorial, made by pwdlib.
const PWDLIB: &str =
    "$argon2id$v=19$m=65536,t=3,p=4$wagCPXjifgvUFBzq4hqe3w$CYaIb8sB+wtD+Vu/P4uod1+Qof8h+1g7bbDlBID48Rc";

struct Site {
    server: Example,
    table: AnyPool,
}

impl Site {
    async fn start(url: &str) -> Self {
        sqlx::any::install_default_drivers();
        let server = Example::start("sqlite", &[("DATABASE_URL", url)]);
        // The server's memory is out of reach, so this is the test's own database, and unused.
        let url = if url.is_empty() { "sqlite::memory:" } else { url };
        Self { server, table: AnyPoolOptions::new().connect_lazy(url).unwrap() }
    }

    async fn sign_up(&self, name: &str, password: &str) -> Reply {
        let body = json!({ "username": name, "password": password }).to_string();
        request(&self.server, "POST", "/users", &[("content-type", "application/json")], &body).await
    }

    /// Signs up a new user and returns the id.
    async fn new_user(&self, name: &str, password: &str) -> String {
        let reply = self.sign_up(name, password).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.text("id")
    }

    async fn log_in(&self, name: &str, password: &str) -> Reply {
        let reply = attempt(&self.server, name, password).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply
    }

    async fn refused(&self, name: &str, password: &str) {
        let reply = attempt(&self.server, name, password).await;
        assert_eq!((reply.status, reply.text("error").as_str()), (400, "invalid_grant"), "{reply:?}");
    }

    async fn change_password(&self, token: &str, old: &str, new: &str) -> Reply {
        let headers = [("content-type", "application/json"), ("authorization", &format!("Bearer {token}"))];
        let body = json!({ "old": old, "new": new }).to_string();
        request(&self.server, "POST", "/users/me/password", &headers, &body).await
    }

    async fn delete(&self, path: &str, token: &str) -> Reply {
        request(&self.server, "DELETE", path, &[("authorization", &format!("Bearer {token}"))], "").await
    }

    /// An access token ends within a second.
    async fn signed_out(&self, token: &str) {
        eventually("it is refused", async || get(&self.server, "/users/me", token).await.status == 401).await;
    }

    async fn execute(&self, sql: &str) -> u64 {
        sqlx::query(sql).execute(&self.table).await.unwrap().rows_affected()
    }

    async fn column(&self, column: &str, name: &str) -> String {
        let select = format!("SELECT {column} FROM users WHERE username = $1");
        sqlx::query_scalar(&select).bind(name).fetch_one(&self.table).await.unwrap()
    }

    /// A correct login gets a 503 before its client would give up.
    async fn unavailable(&self, name: &str, password: &str) {
        let begun = Instant::now();
        let reply = attempt(&self.server, name, password).await;
        assert_eq!((reply.status, reply.text("error").as_str()), (503, "temporarily_unavailable"), "{reply:?}");
        assert!(reply.header("retry-after").is_some(), "{reply:?}");
        assert!(begun.elapsed() < Duration::from_secs(5), "503 took {:?}", begun.elapsed());
    }

    async fn available_again(&self, name: &str, password: &str) {
        let begun = Instant::now();
        while attempt(&self.server, name, password).await.status != 200 {
            assert!(begun.elapsed() < Duration::from_secs(20), "no login although the database is back");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn suite(site: &Site) {
    users_sign_up_and_log_in(site).await;
    one_of_many_gets_a_name(site).await;
    strangers_are_greeted_too(site).await;
    errors_are_problem_details(site).await;
    a_page_of_the_named_origin_may_call(site).await;
    only_the_proxy_is_believed(site).await;
    outdated_hashes_are_renewed_by_a_login(site).await;
    a_password_change_ends_the_other_sessions(site).await;
    another_stamp_ends_refreshes(site).await;
    a_user_logs_out_everywhere(site).await;
    only_administrators_close_accounts(site).await;
    guessing_the_old_password_is_held(site).await;
    disabled_users_are_out(site).await;
    a_broken_table_is_503(site).await;

    let log = site.server.log();
    assert!(log.contains("TRACE") && log.contains("sqlx::query"), "not at trace level");
    for secret in ["down-the-hole", "off-with-their-heads", "argon2id$"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

async fn users_sign_up_and_log_in(site: &Site) {
    let id = site.new_user("carol", "down-the-hole").await;
    assert!(site.column("password_hash", "carol").await.starts_with(TODAY));
    let reply = site.log_in("carol", "down-the-hole").await;
    assert_eq!(reply.text("scope"), "items:read");
    let token = reply.text("access_token");
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&claims).unwrap()["sub"], id.as_str());
    assert_eq!(refresh(&site.server, &reply.text("refresh_token")).await.status, 200);

    site.refused("carol", "down-the-holf").await;
    site.refused("nobody", "down-the-hole").await;
    site.refused(&id, "down-the-hole").await;

    assert_eq!(site.sign_up("carol", "another-password").await.status, 409);
    site.log_in("carol", "down-the-hole").await;

    for password in ["", "seven77", &"x".repeat(257), "down-the\u{7}hole", "äöüäöüä"] {
        assert_eq!(site.sign_up("dave", password).await.status, 400, "{password:?}");
    }
    for name in ["", "dave smith", "d\u{e4}ve", &"d".repeat(65)] {
        assert_eq!(site.sign_up(name, "down-the-hole").await.status, 400, "{name:?}");
    }
    assert_eq!(site.sign_up("dave", "äöüäöüäö").await.status, 201);
    assert_eq!(site.sign_up("Dave", "down-the-hole").await.status, 409, "one user, however the name is spelled");
    assert_eq!(site.sign_up("Dave+tea@Example.com", "down-the-hole").await.status, 201);
    site.log_in("dave%2Btea@example.COM", "down-the-hole").await;
}

async fn one_of_many_gets_a_name(site: &Site) {
    let replies = join_all((0..8).map(|_| site.sign_up("racer", "down-the-hole"))).await;
    let mut statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    // A busy machine has no time for so many hashes of one address.
    let others_are_refused = statuses[1..].iter().all(|status| matches!(status, 409 | 503));
    assert!(statuses[0] == 201 && others_are_refused, "{statuses:?}");
}

async fn strangers_are_greeted_too(site: &Site) {
    assert_eq!(request(&site.server, "GET", "/", &[], "").await.body, "Hello, stranger\n");
    let token = site.log_in("carol", "down-the-hole").await.text("access_token");
    assert_eq!(get(&site.server, "/", &token).await.body, "Welcome back\n");
    assert_eq!(get(&site.server, "/", "bad").await.status, 401);
}

async fn errors_are_problem_details(site: &Site) {
    let stranger = request(&site.server, "GET", "/users/me", &[], "").await;
    assert!(stranger.header("www-authenticate").unwrap().starts_with("Bearer"), "{stranger:?}");
    let replies = [
        (attempt(&site.server, "carol", "wrong").await, 400),
        (stranger, 401),
        (get(&site.server, "/users/me", "bad").await, 401),
        (site.sign_up("carol", "down-the-hole").await, 409),
        (site.sign_up("mallory", "short").await, 400),
    ];
    for (reply, status) in replies {
        assert_eq!((reply.status, reply.json()["status"].as_u64()), (status, Some(status.into())), "{reply:?}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{reply:?}");
        reply.text("title");
    }
}

async fn a_page_of_the_named_origin_may_call(site: &Site) {
    let origin = ("origin", "https://app.example");
    let asked =
        [origin, ("access-control-request-method", "POST"), ("access-control-request-headers", "authorization")];
    for path in ["/token", "/users/me/password"] {
        let preflight = request(&site.server, "OPTIONS", path, &asked, "").await;
        assert_eq!(preflight.status, 200, "{preflight:?}");
        assert!(preflight.header("access-control-allow-headers").unwrap().contains("authorization"), "{preflight:?}");
    }
    for (method, path) in [("GET", "/"), ("POST", "/token"), ("GET", "/users/me")] {
        let reply = request(&site.server, method, path, &[origin], "").await;
        assert_eq!(reply.header("access-control-allow-origin"), Some(origin.1), "{reply:?}");
    }
}

/// Attempts are counted by the address that the proxy reports. Others cannot choose theirs.
async fn only_the_proxy_is_believed(site: &Site) {
    site.new_user("victor", "down-the-hole").await;
    let attempt = async |peer: u8, client: &str, password: &str| {
        let form = format!("grant_type=password&username=victor&password={password}");
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("x-forwarded-for", client)];
        let peer = Ipv4Addr::new(127, 0, 0, peer);
        try_request(site.server.address, peer, "POST", "/token", &headers, &form).await.unwrap().status
    };
    for number in 0..10 {
        assert_eq!(attempt(1, "192.0.2.1", "wrong").await, 400);
        assert_eq!(attempt(9, &format!("198.51.100.{number}"), "wrong").await, 400);
    }
    assert_eq!(attempt(1, "198.51.100.1, 192.0.2.1", "down-the-hole").await, 429, "who writes more to the left");
    assert_eq!(attempt(9, "203.0.113.1", "down-the-hole").await, 429, "the header of a peer that is no proxy");
    assert_eq!(attempt(1, "192.0.2.2", "down-the-hole").await, 200, "another client of the proxy");
}

/// A hash of "secret" that is weaker than today's.
async fn cheap() -> String {
    let cheap = HashingPool::new().with_params(Argon2Params::new(8_192, 3, 1).unwrap());
    cheap.hash("secret".into(), None).await.unwrap()
}

async fn outdated_hashes_are_renewed_by_a_login(site: &Site) {
    let cheap = cheap().await;
    for (name, hash) in [("cheap", cheap.as_str()), ("pwdlib", PWDLIB)] {
        let insert = "INSERT INTO users (id, username, password_hash, stamp) VALUES ($1, $2, $3, '1')";
        let insert = sqlx::query(insert).bind(format!("id of {name}")).bind(name).bind(hash);
        insert.execute(&site.table).await.unwrap();

        site.refused(name, "wrong").await;
        assert_eq!(site.column("password_hash", name).await, hash, "a wrong password changed the hash");
        let session = site.log_in(name, "secret").await;
        let renewed = site.column("password_hash", name).await;
        assert_eq!(renewed == hash, name == "pwdlib", "a stronger hash stays");
        assert!(renewed == hash || renewed.starts_with(TODAY), "{renewed}");

        site.log_in(name, "secret").await;
        site.refused(name, "wrong").await;
        assert_eq!(site.column("password_hash", name).await, renewed, "renewed without need");
        let kept = refresh(&site.server, &session.text("refresh_token")).await;
        assert_eq!(kept.status, 200, "a renewed hash is no new password: {kept:?}");
    }
}

async fn a_password_change_ends_the_other_sessions(site: &Site) {
    site.new_user("erin", "down-the-hole").await;
    site.new_user("frank", "down-the-hole").await;
    let session = site.log_in("erin", "down-the-hole").await;
    let other = site.log_in("erin", "down-the-hole").await;
    let franks = site.log_in("frank", "down-the-hole").await;
    let token = session.text("access_token");

    assert_eq!(site.change_password("no-token", "down-the-hole", "off-with-their-heads").await.status, 401);
    assert_eq!(site.change_password(&token, "wrong", "off-with-their-heads").await.status, 403);
    assert_eq!(site.change_password(&token, "down-the-hole", "short").await.status, 400);
    site.log_in("erin", "down-the-hole").await;
    let changed = site.change_password(&token, "down-the-hole", "off-with-their-heads").await;
    assert_eq!(changed.status, 204, "{changed:?}");

    site.refused("erin", "down-the-hole").await;
    site.log_in("erin", "off-with-their-heads").await;
    assert_eq!(refresh(&site.server, &other.text("refresh_token")).await.status, 400);
    site.signed_out(&other.text("access_token")).await;
    for kept in [&session, &franks] {
        assert_eq!(refresh(&site.server, &kept.text("refresh_token")).await.status, 200);
        assert_eq!(get(&site.server, "/users/me", &kept.text("access_token")).await.status, 200);
    }

    let token = site.log_in("erin", "off-with-their-heads").await.text("access_token");
    let changes =
        ["one-new-password", "two-new-password"].map(|new| site.change_password(&token, "off-with-their-heads", new));
    let mut statuses: Vec<_> = join_all(changes).await.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 403], "of two changes at once, one may win");
}

async fn another_stamp_ends_refreshes(site: &Site) {
    let session = site.log_in("frank", "down-the-hole").await;
    assert_eq!(site.execute("UPDATE users SET stamp = 'another' WHERE username = 'frank'").await, 1);
    assert_eq!(refresh(&site.server, &session.text("refresh_token")).await.status, 400);
    let session = site.log_in("frank", "down-the-hole").await;
    assert_eq!(refresh(&site.server, &session.text("refresh_token")).await.status, 200);
}

async fn a_user_logs_out_everywhere(site: &Site) {
    site.new_user("laura", "down-the-hole").await;
    let sessions = [site.log_in("laura", "down-the-hole").await, site.log_in("laura", "down-the-hole").await];
    assert_eq!(site.delete("/users/me/sessions", &sessions[0].text("access_token")).await.status, 204);
    for session in &sessions {
        assert_eq!(refresh(&site.server, &session.text("refresh_token")).await.status, 400);
        site.signed_out(&session.text("access_token")).await;
    }
    let new = site.log_in("laura", "down-the-hole").await.text("access_token");
    assert_eq!(get(&site.server, "/users/me", &new).await.body, "laura\n");
}

async fn only_administrators_close_accounts(site: &Site) {
    site.new_user("queen", "down-the-hole").await;
    let id = site.new_user("knave", "down-the-hole").await;
    let knave = site.log_in("knave", "down-the-hole").await;
    let path = format!("/users/{id}");
    let refused = site.delete(&path, &knave.text("access_token")).await;
    assert_eq!((refused.status, refused.text("error").as_str()), (403, "insufficient_scope"));
    assert!(refused.header("www-authenticate").unwrap().contains("scope=\"admin\""), "{refused:?}");

    site.execute("UPDATE users SET scope = 'items:read admin' WHERE username = 'queen'").await;
    let queen = site.log_in("queen", "down-the-hole").await.text("access_token");
    assert_eq!(site.delete(&path, &queen).await.status, 204);
    site.refused("knave", "down-the-hole").await;
    assert_eq!(refresh(&site.server, &knave.text("refresh_token")).await.status, 400);
    site.signed_out(&knave.text("access_token")).await;
}

async fn guessing_the_old_password_is_held(site: &Site) {
    site.new_user("ivan", "down-the-hole").await;
    let token = site.log_in("ivan", "down-the-hole").await.text("access_token");
    for _ in 0..10 {
        assert_eq!(site.change_password(&token, "wrong", "off-with-their-heads").await.status, 403);
    }
    assert_eq!(site.change_password(&token, "down-the-hole", "off-with-their-heads").await.status, 429);
    assert_eq!(attempt(&site.server, "ivan", "down-the-hole").await.status, 429, "counted together with logins");
}

async fn disabled_users_are_out(site: &Site) {
    site.new_user("grace", "down-the-hole").await;
    let session = site.log_in("grace", "down-the-hole").await;
    assert_eq!(site.execute("UPDATE users SET disabled = 1 WHERE username = 'grace'").await, 1);
    site.refused("grace", "down-the-hole").await;
    assert_eq!(refresh(&site.server, &session.text("refresh_token")).await.status, 400);
    let change = site.change_password(&session.text("access_token"), "down-the-hole", "off-with-their-heads").await;
    assert_eq!((change.status, change.text("error").as_str()), (403, "account_disabled"));
    let me = get(&site.server, "/users/me", &session.text("access_token")).await;
    assert_eq!((me.status, me.text("error").as_str()), (403, "account_disabled"));

    site.execute("UPDATE users SET disabled = 0 WHERE username = 'grace'").await;
    site.log_in("grace", "down-the-hole").await;
}

async fn a_broken_table_is_503(site: &Site) {
    site.new_user("heidi", "down-the-hole").await;
    let session = site.log_in("heidi", "down-the-hole").await;
    site.execute("ALTER TABLE users RENAME TO elsewhere").await;
    site.unavailable("heidi", "down-the-hole").await;
    assert_eq!(site.sign_up("ivan", "down-the-hole").await.status, 503);
    let change = site.change_password(&session.text("access_token"), "down-the-hole", "off-with-their-heads").await;
    assert_eq!(change.status, 503);
    let token = session.text("refresh_token");
    assert_eq!(refresh(&site.server, &token).await.status, 503);

    site.execute("ALTER TABLE elsewhere RENAME TO users").await;
    site.log_in("heidi", "down-the-hole").await;
    assert_eq!(refresh(&site.server, &token).await.status, 200, "a failed refresh spent the token");
}

/// `lock` locks the table for all others until the connection rolls back.
async fn a_stuck_database_is_503(site: &Site, lock: &[&str]) {
    site.new_user("judy", "down-the-hole").await;
    let mut blocker = site.table.acquire().await.unwrap();
    for statement in lock {
        sqlx::query(statement).execute(&mut *blocker as &mut AnyConnection).await.unwrap();
    }
    join_all((0..12).map(|_| site.unavailable("judy", "down-the-hole"))).await;
    sqlx::query("ROLLBACK").execute(&mut *blocker as &mut AnyConnection).await.unwrap();
    site.available_again("judy", "down-the-hole").await;
}

/// If the password changes after the old hash was read and before it is renewed, the change stays.
async fn a_renewed_hash_does_not_undo_a_change(site: &Site) {
    let insert = "INSERT INTO users (id, username, password_hash, stamp) VALUES ('id', 'kim', $1, '1')";
    sqlx::query(insert).bind(cheap().await).execute(&site.table).await.unwrap();
    let mut change = site.table.begin().await.unwrap();
    let update = "UPDATE users SET password_hash = 'changed' WHERE username = 'kim'";
    sqlx::query(update).execute(&mut *change).await.unwrap();
    let commit = async {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        let begun = Instant::now();
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&site.table).await.unwrap() == 0 {
            assert!(begun.elapsed() < Duration::from_secs(10), "the login renews no hash");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        change.commit().await.unwrap();
    };
    let (login, ()) = tokio::join!(attempt(&site.server, "kim", "secret"), commit);
    assert_eq!(login.status, 200, "{login:?}");
    assert_eq!(site.column("password_hash", "kim").await, "changed");
}

/// Sessions, revocations and blocks are where the users are.
async fn a_restart_logs_nobody_out(url: &str) {
    let start = || Example::start("sqlite", &[("DATABASE_URL", url), SECRET]);
    let mut site = Site { server: start(), table: AnyPoolOptions::new().connect_lazy(url).unwrap() };
    for name in ["rabbit", "hatter"] {
        site.new_user(name, "down-the-hole").await;
    }
    let session = site.log_in("rabbit", "down-the-hole").await;
    let logged_out = site.log_in("hatter", "down-the-hole").await;
    assert_eq!(site.delete("/users/me/sessions", &logged_out.text("access_token")).await.status, 204);
    for _ in 0..10 {
        site.refused("hatter", "wrong").await;
    }
    site.server = start();
    assert_eq!(get(&site.server, "/users/me", &session.text("access_token")).await.body, "rabbit\n");
    let refreshed = refresh(&site.server, &session.text("refresh_token")).await;
    assert_eq!(refreshed.status, 200, "{refreshed:?}");
    assert_eq!(refresh(&site.server, &logged_out.text("refresh_token")).await.status, 400);
    site.signed_out(&logged_out.text("access_token")).await;
    assert_eq!(attempt(&site.server, "hatter", "down-the-hole").await.status, 429);
    site.server = start();
    assert_eq!(refresh(&site.server, &session.text("refresh_token")).await.status, 400, "used before the restart");
}

struct TempFile(PathBuf);

impl Drop for TempFile {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", self.0.display()));
        }
    }
}

#[tokio::test]
async fn users_in_a_file_of_sqlite() {
    let file = TempFile(std::env::temp_dir().join(format!("tower-oauth2-users-{}.db", std::process::id())));
    let url = format!("sqlite:{}?mode=rwc", file.0.display());
    let site = Site::start(&url).await;
    suite(&site).await;
    a_stuck_database_is_503(&site, &["BEGIN EXCLUSIVE"]).await;

    let site = Site::start(&url).await;
    site.log_in("carol", "down-the-hole").await;
    a_restart_logs_nobody_out(&url).await;
}

#[tokio::test]
async fn users_in_memory_without_any_setting() {
    let site = Site::start("").await;
    site.new_user("carol", "down-the-hole").await;
    // More than one connection, and no more than a busy machine has room for.
    join_all((0..2).map(|_| site.log_in("carol", "down-the-hole"))).await;
    assert_eq!(site.sign_up("carol", "down-the-hole").await.status, 409);
}

#[tokio::test]
async fn users_in_postgres() {
    let mut postgres = Postgres::start();
    let site = Site::start(&postgres.url()).await;
    suite(&site).await;
    a_renewed_hash_does_not_undo_a_change(&site).await;
    a_stuck_database_is_503(&site, &["BEGIN", "LOCK TABLE users IN ACCESS EXCLUSIVE MODE"]).await;

    let session = site.log_in("carol", "down-the-hole").await;
    postgres.stop();
    site.unavailable("carol", "down-the-hole").await;
    assert_eq!(refresh(&site.server, &session.text("refresh_token")).await.status, 503);
    assert_eq!(site.sign_up("lea", "down-the-hole").await.status, 503);
    postgres.restart();
    site.available_again("carol", "down-the-hole").await;
    assert_eq!(refresh(&site.server, &session.text("refresh_token")).await.status, 200);
    assert_eq!(site.sign_up("lea", "down-the-hole").await.status, 201);
    a_restart_logs_nobody_out(&postgres.url()).await;
}

#[test]
fn an_unreachable_database_is_named_at_start() {
    let refused = Example::start_with("sqlite", &[("DATABASE_URL", "postgres://me:topsecret@127.0.0.1:1/users")]);
    let log = refused.err().expect("it started");
    assert!(log.contains("DATABASE_URL"), "{log}");
    assert!(!log.contains("topsecret"), "{log}");
}
