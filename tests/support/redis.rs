//! The test's own redis-server.

use std::{
    fs,
    io::{self, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{certificates::make_certificates, port::free_port};

const PATIENCE: Duration = Duration::from_secs(30);

pub struct Redis {
    child: Child,
    port: u16,
    dir: PathBuf,
    settings: Vec<&'static str>,
}

impl Redis {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Writes to disk before it replies, so that a kill loses nothing that it confirmed.
    pub fn durable() -> Self {
        Self::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// Starts redis-server with these options. If a setting appears twice, the last one counts.
    pub fn start_with(settings: &[&'static str]) -> Self {
        // Another process may take the port first.
        for _ in 0..10 {
            let port = free_port();
            let dir = std::env::temp_dir().join(format!("tower-oauth2-redis-{}-{port}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            if let Some(child) = launch(port, &dir, settings) {
                return Self { child, port, dir, settings: settings.to_vec() };
            }
            fs::remove_dir_all(&dir).unwrap();
        }
        panic!("redis-server ended at each of ten starts");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn pause(&self) {
        self.signal("-STOP");
    }

    pub fn resume(&self) {
        self.signal("-CONT");
    }

    /// Sends one inline command. The reply must begin with `+OK`.
    pub fn command(&self, line: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        let mut answer = [0; 3];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"+OK", "{line}");
    }

    /// Also listens with TLS. Returns that port, and the root certificate of the CA that only this server has.
    pub fn secure(&self) -> (u16, Vec<u8>) {
        let (port, dir) = (free_port(), self.dir.display());
        let root = make_certificates(&self.dir);
        self.command(&format!(
            "CONFIG SET tls-cert-file {dir}/tls.pem tls-key-file {dir}/tls.key tls-ca-cert-file {dir}/ca.pem \
             tls-auth-clients no tls-port {port}"
        ));
        (port, root)
    }

    pub fn kill9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn restart(&mut self) {
        let begun = Instant::now();
        self.child = loop {
            if let Some(child) = launch(self.port, &self.dir, &self.settings) {
                break child;
            }
            assert!(begun.elapsed() < PATIENCE, "redis-server cannot start again on port {}", self.port);
        };
    }

    /// All keys and values, as raw bytes.
    #[cfg(feature = "redis")]
    pub async fn contents(&self) -> Vec<u8> {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
        let mut contents = Vec::new();
        for key in keys {
            let kind: String = redis::cmd("TYPE").arg(&key).query_async(&mut connection).await.unwrap();
            let read = match kind.as_str() {
                "hash" => redis::cmd("HGETALL").arg(&key).to_owned(),
                "zset" => redis::cmd("ZRANGE").arg(&key).arg(0).arg(-1).to_owned(),
                "string" => redis::cmd("GET").arg(&key).to_owned(),
                other => panic!("nobody looks into a {other}"),
            };
            let values: Vec<Vec<u8>> = match kind.as_str() {
                "string" => vec![read.query_async(&mut connection).await.unwrap()],
                _ => read.query_async(&mut connection).await.unwrap(),
            };
            contents.push(key);
            contents.extend(values);
        }
        contents.join(&b"\n"[..])
    }

    /// The contents of all files that it wrote.
    pub fn files(&self) -> Vec<u8> {
        let (mut contents, mut dirs) = (Vec::new(), vec![self.dir.clone()]);
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { dirs.push(path) } else { contents.extend(fs::read(path).unwrap()) }
            }
        }
        contents
    }

    /// Restarts without waiting until it listens.
    pub fn begin_restart(&mut self) {
        self.child = spawn(self.port, &self.dir, &self.settings);
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The rights that Redis's user needs, from the page of the Redis stores.
pub fn documented_rights() -> String {
    let page = include_str!("../../src/store/redis/mod.rs").replace("\n//!  ", "");
    let (_, rights) = page.split_once("- ACL, for the prefix `oauth2`: `").unwrap();
    rights.split_once('`').unwrap().0.to_owned()
}

/// Whether Redis listens there, and not the end of another connection.
fn answers(port: u16) -> io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"+PONG" || &answer == b"-NOAU")
}

fn spawn(port: u16, dir: &PathBuf, settings: &[&str]) -> Child {
    // Valkey takes the same arguments.
    Command::new(std::env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into()))
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
        .arg(dir)
        .args(settings)
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|_| panic!("redis-server is not installed: apt-get install redis-server"))
}

/// Starts Redis and waits until it replies. `None` if it exits instead.
fn launch(port: u16, dir: &PathBuf, settings: &[&str]) -> Option<Child> {
    let mut child = spawn(port, dir, settings);
    let begun = Instant::now();
    loop {
        let answers = answers(port).is_ok_and(|redis| redis);
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        if answers {
            return Some(child);
        }
        assert!(begun.elapsed() < PATIENCE, "redis-server did not come up on port {port}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
