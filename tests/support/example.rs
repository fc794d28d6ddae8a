//! An example of this workspace, run as a process.

use crate::root;
use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

pub struct Example {
    pub address: SocketAddr,
    child: Child,
    log: Arc<Mutex<String>>,
}

/// The examples in the crate's own package. Every other example is its own package.
const OWN: [&str; 6] =
    ["client_credentials", "custom_verifier", "extension_grant", "fastapi_tutorial", "hyper", "server"];

/// Examples with a workspace of their own, outside of this one.
const FOREIGN: [&str; 1] = ["passkeys"];

static BUILT: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Builds the example and returns its binary. `cargo test -p test-examples` alone would use an old one.
pub fn binary(name: &str) -> PathBuf {
    let profile = profile();
    let package = format!("example-{}", name.replace('_', "-"));
    let (manifest, target) = (format!("examples/{name}/Cargo.toml"), profile.parent().unwrap().join(name));
    let (arguments, binary) = if FOREIGN.contains(&name) {
        let folder = target.join(profile.file_name().unwrap());
        (vec!["--manifest-path", &manifest, "--target-dir", target.to_str().unwrap()], folder.join(&package))
    } else if OWN.contains(&name) {
        (vec!["--example", name, "--features", "redis"], profile.join("examples").join(name))
    } else {
        (vec!["-p", &package], profile.join(&package))
    };
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if !built.iter().any(|other| other == name) {
        build(&arguments);
        built.push(name.to_owned());
    }
    binary
}

/// The server as `cargo run --example server` builds it.
pub fn server_without_redis() -> PathBuf {
    let examples = profile().join("examples");
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    build(&["--example", "server"]);
    // It has replaced the binary with Redis.
    built.retain(|name| name != "server");
    let binary = examples.join("server-without-redis");
    std::fs::copy(examples.join("server"), &binary).unwrap();
    binary
}

/// The folder that this test was built in.
fn profile() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned()
}

fn build(arguments: &[&str]) {
    let profile = profile();
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--locked"])
        .args(if profile.ends_with("release") { &["--release"][..] } else { &[] })
        .env("CARGO_TARGET_DIR", profile.parent().unwrap())
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

impl Example {
    pub fn start(name: &str, variables: &[(&str, &str)]) -> Self {
        Self::start_with(name, variables).unwrap_or_else(|log| panic!("{name} did not start: {log}"))
    }

    /// Starts on a free port. The error is what it wrote to stderr before it exited.
    pub fn start_with(name: &str, variables: &[(&str, &str)]) -> Result<Self, String> {
        Self::start_binary(&binary(name), variables)
    }

    pub fn start_binary(binary: &Path, variables: &[(&str, &str)]) -> Result<Self, String> {
        let mut child = Command::new(binary)
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

    /// Waits up to `limit` for the process to exit. Returns its exit code, if there is one.
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

    /// Returns the log when it contains one of these texts. The log is read with a small delay.
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

    /// Everything logged so far.
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
