//! Two processes on one database, of which one is killed.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use sqlx::{PgPool, SqlitePool};
use test_support::postgres::Postgres;
use tower_oauth2_password::store::{Family, Previous, RefreshStore, Rotation, SecretHash};
use tower_oauth2_password_sqlx::{PgStores, SqliteStores};

use crate::support::{File, HOUR, SOON, id, soon, threads};

const URL: &str = "TEST_DATABASE_URL";

async fn open(url: &str) -> Arc<dyn RefreshStore> {
    if url.starts_with("sqlite") {
        Arc::new(SqliteStores::open(SqlitePool::connect(url).await.unwrap()).await.unwrap().refresh_tokens())
    } else {
        Arc::new(PgStores::open(PgPool::connect(url).await.unwrap()).await.unwrap().refresh_tokens())
    }
}

fn secret(number: u64) -> SecretHash {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    SecretHash(bytes)
}

/// Goes along a chain of secrets, on which another does the same. Calls `won` with each number that it rotated itself.
async fn rotate_along(store: &dyn RefreshStore, mut number: u64, mut won: impl FnMut(u64) -> bool) {
    loop {
        match store
            .rotate(id(1), Previous::new(secret(number), Vec::new()), secret(number + 1), Instant::now() + SOON)
            .await
        {
            Ok(Rotation::Rotated) if won(number) => return,
            Ok(Rotation::Gone) => panic!("the family is gone"),
            // Either of the two may have been told nothing: then the other goes on.
            Ok(_) => number += 1,
            Err(_) => {}
        }
    }
}

#[test]
#[ignore = "the process that the others kill"]
fn child() {
    let url = std::env::var(URL).unwrap();
    threads().block_on(async {
        rotate_along(&*open(&url).await, 0, |number| {
            writeln!(std::io::stdout(), "rotated {number}").unwrap();
            false
        })
        .await;
    });
}

fn a_killed_process_leaves_nothing_behind(url: &str) {
    threads().block_on(async {
        let store = open(url).await;
        assert!(store.insert(id(1), Family::new(secret(0), "alice", HOUR, HOUR), 9, soon()).await.unwrap());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "killed::child", "--nocapture"])
            .env(URL, url)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let theirs = Arc::new(Mutex::new(BTreeSet::new()));
        let heard = Arc::clone(&theirs);
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(number) = line.strip_prefix("rotated ") {
                    assert!(heard.lock().unwrap().insert(number.parse::<u64>().unwrap()), "twice: {number}");
                }
            }
        });
        let (mut own, begun, mut killed) = (BTreeSet::new(), Instant::now(), None);
        rotate_along(&*store, 0, |number| {
            assert!(own.insert(number), "twice: {number}");
            if killed.is_none() && own.len() > 50 && theirs.lock().unwrap().len() > 50 {
                // SIGKILL, in the middle of whatever it does.
                child.kill().unwrap();
                killed = Some(Instant::now());
            }
            assert!(begun.elapsed() < Duration::from_secs(40), "{} and {}", own.len(), theirs.lock().unwrap().len());
            killed.is_some_and(|at| own.range(..=number).count() > 100 || at.elapsed() > Duration::from_secs(5))
        })
        .await;
        let recovered = killed.unwrap().elapsed();
        assert!(recovered < Duration::from_secs(4), "it took {recovered:?}");
        child.wait().unwrap();
        reader.join().unwrap();
        let theirs = theirs.lock().unwrap();
        assert!(own.is_disjoint(&theirs), "both rotated {:?}", own.intersection(&theirs).collect::<Vec<_>>());
        // The killed process may have rotated one more than it said.
        let most = own.last().unwrap() + 1;
        let known = u64::try_from(own.len() + theirs.len()).unwrap();
        assert!(known == most || known + 1 == most, "{known} of {most} rotations had an answer");
    });
}

#[test]
fn a_killed_process_leaves_nothing_behind_in_postgres() {
    let postgres = Postgres::start();
    a_killed_process_leaves_nothing_behind(&postgres.url());
}

#[test]
fn a_killed_process_leaves_nothing_behind_in_sqlite() {
    let file = File::new();
    a_killed_process_leaves_nothing_behind(&format!("sqlite:{}?mode=rwc", file.path().display()));
}
