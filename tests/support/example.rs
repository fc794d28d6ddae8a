//! An example of this package, as a process.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

pub struct Example {
    pub address: SocketAddr,
    child: Child,
    log: Arc<Mutex<String>>,
}

const FEATURES: [(&str, bool); 8] = [
    ("aws_lc_rs", cfg!(feature = "aws_lc_rs")),
    ("rust_crypto", cfg!(feature = "rust_crypto")),
    ("redis", cfg!(feature = "redis")),
    ("tracing", cfg!(feature = "tracing")),
    ("metrics", cfg!(feature = "metrics")),
    ("utoipa", cfg!(feature = "utoipa")),
    ("simd", cfg!(feature = "simd")),
    ("testkit", cfg!(feature = "testkit")),
];

/// The example's binary, built with this test's features: `cargo test --test NAME` alone would leave an old one.
pub fn binary(name: &str) -> PathBuf {
    static BUILT: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().unwrap().parent().unwrap();
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if !built.iter().any(|other| other == name) {
        let features: Vec<_> = FEATURES.iter().filter(|(_, on)| *on).map(|(feature, _)| *feature).collect();
        let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--quiet", "--no-default-features", "--features", &features.join(","), "--example", name])
            .args(if profile.ends_with("release") { &["--release"][..] } else { &[] })
            .arg("--target-dir")
            .arg(profile.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        built.push(name.to_owned());
    }
    profile.join("examples").join(name)
}

impl Example {
    pub fn start(name: &str, variables: &[(&str, &str)]) -> Self {
        Self::start_with(name, variables).unwrap_or_else(|log| panic!("{name} did not start: {log}"))
    }

    /// Starts on a free port; what it wrote to stderr if it ends instead.
    pub fn start_with(name: &str, variables: &[(&str, &str)]) -> Result<Self, String> {
        let mut child = Command::new(binary(name))
            .env("ADDR", "127.0.0.1:0")
            .env("RUST_LOG", "trace")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (mut stderr, kept) = (child.stderr.take().unwrap(), Arc::clone(&log));
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = stderr.read(&mut piece) {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..count]));
            }
        });
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            sender.send(line).unwrap();
            std::io::copy(&mut stdout, &mut std::io::sink()).ok();
        });
        let line = receiver.recv_timeout(Duration::from_secs(20)).unwrap_or_default();
        let Some(address) = line.split("//").nth(1).and_then(|rest| rest.trim().parse().ok()) else {
            let _ = child.kill();
            let _ = child.wait();
            reader.join().unwrap();
            return Err(log.lock().unwrap().clone());
        };
        Ok(Self { address, child, log })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Waits for the end; the exit code, if there is one within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<i32> {
        let begun = Instant::now();
        while begun.elapsed() < limit {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its log, once it tells one of these: what it writes is read a little later.
    pub fn log_that_tells(&self, any: &[&str]) -> String {
        let begun = Instant::now();
        loop {
            let log = self.log();
            if any.iter().any(|text| log.contains(text)) {
                return log;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "the log tells none of {any:?}: {log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// All that it logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
