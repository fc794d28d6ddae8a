//! The test's own Redis with a replica and three Sentinels.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use super::{port::free_port, redis::Redis};

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Sentinels {
    pub primary: Redis,
    pub replica: Redis,
    sentinels: Vec<(Child, u16)>,
    dir: PathBuf,
}

impl Sentinels {
    /// They call the primary `shop`.
    pub fn start() -> Self {
        let (primary, replica) = (Redis::start_with(&["--repl-diskless-sync-delay", "0"]), Redis::start());
        replica.command(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
        let dir = std::env::temp_dir().join(format!("tower-oauth2-sentinel-{}-{}", std::process::id(), primary.port()));
        fs::create_dir(&dir).unwrap();
        let sentinels = (0..3).map(|_| {
            let (port, watched) = (free_port(), primary.port());
            // It writes what it finds out into its settings.
            let settings = dir.join(format!("{port}.conf"));
            let text = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor shop 127.0.0.1 {watched} 2\n\
                 sentinel down-after-milliseconds shop 1500\nsentinel failover-timeout shop 5000\n",
                dir.display()
            );
            fs::write(&settings, text).unwrap();
            let child = Command::new("redis-server").arg(settings).arg("--sentinel").stdout(Stdio::null()).spawn();
            (child.unwrap(), port)
        });
        let sentinels = Self { sentinels: sentinels.collect(), primary, replica, dir };
        let begun = Instant::now();
        let info = |port: u16, section| {
            // It may still be starting.
            let output = Command::new("redis-cli").args(["-p", &port.to_string(), "info", section]).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let knows = |(_, port): &(Child, u16)| info(*port, "sentinel").contains("slaves=1,sentinels=3");
        let is_copied = || info(sentinels.replica.port(), "replication").contains("master_link_status:up");
        while !(sentinels.sentinels.iter().all(knows) && is_copied()) {
            assert!(begun.elapsed() < PATIENCE, "the Sentinels do not know each other");
            sleep(Duration::from_millis(100));
        }
        sentinels
    }

    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(|(_, port)| format!("redis://127.0.0.1:{port}")).collect()
    }

    /// Ends one of them. The others are still a majority.
    pub fn kill_last(&mut self) {
        let (child, _) = self.sentinels.last_mut().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        for (child, _) in &mut self.sentinels {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}
