//! The example `fastapi_tutorial` gives the answers that were recorded of FastAPI.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::SystemTime,
};

const SECRET_KEY: &str = "5f2b0c9d7e614a38b1c6d0f94e7a2358c4d91e06fb7a3285d0e9c1b74f6a8230";

/// The example server; it ends with the test.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start() -> Self {
        let mut process = Command::new(example())
            .env("ADDR", "127.0.0.1:0")
            .env("SECRET_KEY", SECRET_KEY)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let server = Self { process, url: line.trim().trim_start_matches("listening on ").to_owned() };
        assert!(server.url.starts_with("http://127.0.0.1:"), "the example printed {line:?} instead of its address");
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The example's program, built first where cargo did not: `cargo test --test fastapi` builds no examples.
fn example() -> PathBuf {
    let folder = env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned();
    let program = folder.join("examples").join(format!("fastapi_tutorial{}", env::consts::EXE_SUFFIX));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let changed = newest(&root.join("src")).max(newest(&root.join("examples/fastapi_tutorial.rs")));
    if !program.metadata().and_then(|found| found.modified()).is_ok_and(|built| built >= changed) {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--example", "fastapi_tutorial"]).current_dir(root);
        if folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "cargo build --example fastapi_tutorial failed");
    }
    program
}

/// When anything at `path` was last changed.
fn newest(path: &Path) -> SystemTime {
    let changed = path.metadata().unwrap().modified().unwrap();
    let Ok(entries) = path.read_dir() else { return changed };
    entries.map(|entry| newest(&entry.unwrap().path())).fold(changed, SystemTime::max)
}

#[test]
fn answers_are_those_of_fastapi() {
    let server = Server::start();
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fastapi/run");
    let replay = Command::new(run)
        .args([&server.url, SECRET_KEY])
        .output()
        .expect("tests/fastapi/run starts: install bash and python3 with venv");
    let printed = String::from_utf8_lossy(&replay.stdout);
    let failed: Vec<_> = printed.lines().filter(|line| !line.starts_with("ok ")).collect();
    assert!(replay.status.success(), "{}\n{}", failed.join("\n"), String::from_utf8_lossy(&replay.stderr));
}
