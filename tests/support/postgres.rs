//! The test's own Postgres server.

use std::{
    fs,
    os::unix::{fs::MetadataExt, fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::port::free_port;

pub struct Postgres {
    child: Child,
    port: u16,
    dir: PathBuf,
    user: Option<(u32, u32)>,
}

impl Postgres {
    pub fn start() -> Self {
        let port = free_port();
        let dir = std::env::temp_dir().join(format!("tower-oauth2-postgres-{}-{port}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        // Postgres refuses to run as root.
        let user = (fs::metadata(&dir).unwrap().uid() == 0).then(postgres_user);
        if let Some((uid, gid)) = user {
            chown(&dir, Some(uid), Some(gid)).unwrap();
        }
        let output = command("initdb", &dir, user)
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(dir.join("data"))
            .output()
            .unwrap();
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        let child = launch(port, &dir, user);
        Self { child, port, dir, user }
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops all its processes where they are.
    pub fn pause(&self) {
        self.signal_all("-STOP");
    }

    pub fn resume(&self) {
        self.signal_all("-CONT");
    }

    fn signal_all(&self, signal: &str) {
        let server = self.child.id().to_string();
        // The parent is the second field after the name in parentheses.
        let is_child = |pid: &String| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)) == Some(&server)
        };
        let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let children = pids.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).filter(is_child);
        // A process that has ended meanwhile is no error.
        let mut kill = Command::new("kill");
        kill.arg(signal).arg(&server).args(children).stderr(Stdio::null()).status().unwrap();
    }

    /// Stops the server and closes every connection to it.
    pub fn stop(&mut self) {
        self.end("-INT");
    }

    pub fn restart(&mut self) {
        self.child = launch(self.port, &self.dir, self.user);
    }

    fn end(&mut self, signal: &str) {
        // Not SIGKILL, which would leave the server's child processes and shared memory behind.
        if self.child.try_wait().unwrap().is_none() {
            Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
            self.child.wait().unwrap();
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end("-QUIT");
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn launch(port: u16, dir: &Path, user: Option<(u32, u32)>) -> Child {
    let log = dir.join("log");
    let mut child = command("postgres", dir, user)
        .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "shared_buffers=16MB", "-p"])
        .args([&port.to_string(), "-k"])
        .arg(dir)
        .arg("-D")
        .arg(dir.join("data"))
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    // As pg_ctl does: the server writes to this file when it accepts connections.
    while !fs::read_to_string(dir.join("data/postmaster.pid")).is_ok_and(|text| text.contains("ready")) {
        let ended = child.try_wait().unwrap().is_some();
        if ended || begun.elapsed() > Duration::from_secs(30) {
            let _ = child.kill();
            let _ = child.wait();
            panic!("postgres did not come up on port {port}: {}", fs::read_to_string(log).unwrap());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

fn command(name: &str, dir: &Path, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(binary(name));
    command.current_dir(dir);
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

/// Debian keeps the server's programs outside `PATH`, in a folder for each version.
fn binary(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut versions: Vec<_> = versions.filter(|dir| dir.join("bin").join(name).exists()).collect();
    versions.sort_by_key(|dir| dir.file_name().and_then(|version| version.to_str()?.parse::<u32>().ok()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = versions.pop().map(|dir| dir.join("bin").join(name));
    installed
        .or_else(|| std::env::split_paths(&path).map(|dir| dir.join(name)).find(|program| program.exists()))
        .unwrap_or_else(|| panic!("postgresql is not installed: apt-get install postgresql"))
}

/// The user and group that the Debian package created.
fn postgres_user() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let ids = users.lines().find_map(|line| {
        let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    ids.unwrap_or_else(|| panic!("there is no user postgres: apt-get install postgresql"))
}
