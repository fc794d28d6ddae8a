//! The example `sqlite` over SQLite and over Postgres.

use std::time::{Duration, Instant};

use sqlx::{AnyPool, Row};

use crate::{
    client::{attempt, get, refresh, request},
    support::{example::Example, http::Reply, postgres::Postgres},
};

const OLD: &str = "through+the+looking+glass";

async fn post_json(server: &Example, path: &str, token: &str, body: &str) -> Reply {
    let bearer = format!("Bearer {token}");
    request(server, "POST", path, &[("content-type", "application/json"), ("authorization", &bearer)], body).await
}

async fn sign_up(server: &Example, username: &str, password: &str) -> u16 {
    post_json(server, "/users", "", &format!(r#"{{"username":"{username}","password":"{password}"}}"#)).await.status
}

async fn execute(database: &AnyPool, statement: &'static str) {
    sqlx::query(statement).execute(database).await.unwrap();
}

async fn all(server: &Example, url: &str) {
    sqlx::any::install_default_drivers();
    let database = AnyPool::connect(url).await.unwrap();
    let password = OLD.replace('+', " ");
    assert_eq!(sign_up(server, "carol", "short").await, 400);
    assert_eq!(sign_up(server, "", &password).await, 400);
    assert_eq!(sign_up(server, "carol", &password).await, 201);
    assert_eq!(sign_up(server, "carol", &password).await, 409);

    assert_eq!(attempt(server, "carol", "wrong").await.text("error"), "invalid_grant");
    let login = attempt(server, "carol", OLD).await;
    let (access, token) = (login.text("access_token"), login.text("refresh_token"));
    assert_eq!(get(server, "/users/me", &access).await.body, "carol");
    let token = refresh(server, &token).await.text("refresh_token");

    // Argon2id with m=8192, t=1 of "outdated password": renewed when its owner comes.
    execute(
        &database,
        "INSERT INTO users (id, username, password_hash) VALUES ('7', 'dave', \
         '$argon2id$v=19$m=8192,t=1,p=1$TD2KLtAY9j1oPk2N4MCfHw$MjhYIXm+o8QhHteGgE0qgMg23m1h3lMIdgjDWZ73+Zo')",
    )
    .await;
    assert_eq!(attempt(server, "dave", "wrong").await.status, 400);
    let hash = async || -> String {
        let row = sqlx::query("SELECT password_hash FROM users WHERE id = '7'").fetch_one(&database).await.unwrap();
        row.get("password_hash")
    };
    assert!(hash().await.contains("m=8192"), "a wrong password renews nothing");
    assert_eq!(attempt(server, "dave", "outdated+password").await.status, 200);
    assert!(hash().await.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash().await);
    assert_eq!(attempt(server, "dave", "outdated+password").await.status, 200);

    let change = async |old: &str, new: &str| {
        post_json(server, "/users/me/password", &access, &format!(r#"{{"old":"{old}","new":"{new}"}}"#)).await.status
    };
    assert_eq!(change("wrong", "down the rabbit hole").await, 403);
    assert_eq!(change(&password, "short").await, 400);
    assert_eq!(change(&password, "down the rabbit hole").await, 204);
    assert_eq!(refresh(server, &token).await.text("error"), "invalid_grant");
    assert_eq!(attempt(server, "carol", OLD).await.text("error"), "invalid_grant");
    let token = attempt(server, "carol", "down+the+rabbit+hole").await.text("refresh_token");

    execute(&database, "UPDATE users SET disabled = 1 WHERE username = 'carol'").await;
    assert_eq!(refresh(server, &token).await.text("error"), "invalid_grant");
    assert_eq!(attempt(server, "carol", "down+the+rabbit+hole").await.text("error"), "invalid_grant");
    database.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    let file = std::env::temp_dir().join(format!("tower-oauth2-password-{}.db", std::process::id()));
    let url = format!("sqlite://{}?mode=rwc", file.display());
    all(&Example::start("sqlite", &[("DATABASE_URL", &url)]), &url).await;
    std::fs::remove_file(file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_and_its_absence() {
    let mut postgres = Postgres::start();
    let server = Example::start("sqlite", &[("DATABASE_URL", &postgres.url())]);
    all(&server, &postgres.url()).await;

    postgres.stop();
    let gone = attempt(&server, "dave", "outdated+password").await;
    assert_eq!((gone.status, gone.text("error").as_str()), (503, "temporarily_unavailable"));
    postgres.launch();
    let begun = Instant::now();
    while attempt(&server, "dave", "outdated+password").await.status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(10), "no recovery within 10 seconds");
    }
}
