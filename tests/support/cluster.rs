//! The test's own Redis Cluster.

use std::{
    fs,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use super::{certificates::make_certificates, port::free_port, redis::Redis};

const PATIENCE: Duration = Duration::from_secs(60);
pub struct Cluster {
    pub nodes: Vec<Redis>,
}

impl Cluster {
    /// Three primaries, each with so many replicas.
    pub fn start(replicas: usize) -> Self {
        // Short only where a node is going to fail: a busy machine must not look like a failure.
        let timeout = if replicas > 0 { "1500" } else { "15000" };
        let settings =
            ["--cluster-enabled", "yes", "--cluster-node-timeout", timeout, "--repl-diskless-sync-delay", "0"];
        let cluster = Self { nodes: (0..3 * (1 + replicas)).map(|_| Redis::start_with(&settings)).collect() };
        let addresses = cluster.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port()));
        let addresses: Vec<_> = addresses.collect();
        let create = format!("--cluster create {} --cluster-replicas {replicas} --cluster-yes", addresses.join(" "));
        cli(0, &create);
        cluster.wait_until_ready(replicas);
        cluster
    }

    /// Waits until all nodes are up, and each primary has so many replicas.
    pub fn wait_until_ready(&self, replicas: usize) {
        let has_replicas = format!("connected_slaves:{replicas}");
        self.wait_for("the cluster", || {
            (0..self.nodes.len()).all(|node| {
                let role = self.ask(node, "info replication");
                let is_copied = role.contains(&has_replicas) || role.contains("master_link_status:up");
                is_copied && self.ask(node, "cluster info").contains("cluster_state:ok")
            })
        });
    }

    /// The primaries with the most and the fewest keys. Moving slots from one to the other never empties a primary, which would
    /// then become a replica and leave too few to vote for a failover.
    pub fn fullest_and_emptiest(&self) -> (usize, usize) {
        let is_primary = |node: &usize| self.ask(*node, "info replication").contains("role:master");
        let keys = |node: &usize| self.ask(*node, "dbsize").trim().parse::<u64>().unwrap();
        let mut primaries: Vec<_> = (0..self.nodes.len()).filter(is_primary).collect();
        primaries.sort_by_cached_key(keys);
        (*primaries.last().unwrap(), primaries[0])
    }

    /// Three primaries that use TLS among themselves, too, the URLs for that, and the certificate of their CA.
    pub fn start_secure() -> (Self, Vec<String>, Vec<u8>) {
        let ports = [(); 3].map(|()| free_port());
        let dir = std::env::temp_dir().join(format!("tower-oauth2-cluster-{}-{}", std::process::id(), ports[0]));
        fs::create_dir(&dir).unwrap();
        let root = make_certificates(&dir);
        let nodes = ports.map(|port| {
            let settings = format!(
                "--cluster-enabled yes --cluster-node-timeout 15000 --tls-port {port} --tls-cluster yes \
                 --tls-cert-file {0}/tls.pem --tls-key-file {0}/tls.key --tls-ca-cert-file {0}/ca.pem --tls-auth-clients optional",
                dir.display()
            );
            let settings: Vec<&'static str> = settings.leak().split_whitespace().collect();
            Redis::start_with(&settings)
        });
        let cluster = Self { nodes: nodes.into() };
        let [one, two, three] = ports.map(|port| format!("127.0.0.1:{port}"));
        let tls = format!("--tls --cacert {}/ca.pem", dir.display());
        cli(ports[0], &format!("{tls} --cluster create {one} {two} {three} --cluster-yes"));
        fs::remove_dir_all(dir).unwrap();
        cluster.wait_for("the cluster", || {
            (0..3).all(|node| cluster.ask(node, "cluster info").contains("cluster_state:ok"))
        });
        (cluster, ports.map(|port| format!("rediss://localhost:{port}")).into(), root)
    }

    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::url).collect()
    }

    /// What redis-cli prints for this command to a node.
    pub fn ask(&self, node: usize, command: &str) -> String {
        cli(self.nodes[node].port(), command)
    }

    /// Moves so many slots, with their keys, as an operator does.
    pub fn reshard(&self, from: usize, to: usize, slots: u16) {
        let (ids, port) = ([from, to].map(|node| self.id(node)), self.nodes[0].port());
        let [from, to] = ids;
        cli(
            port,
            &format!(
                "--cluster reshard 127.0.0.1:{port} --cluster-from {from} --cluster-to {to} --cluster-slots {slots} --cluster-yes"
            ),
        );
    }

    pub fn id(&self, node: usize) -> String {
        self.ask(node, "cluster myid").trim().to_owned()
    }

    pub fn slot(&self, key: &str) -> u16 {
        self.ask(0, &format!("cluster keyslot {key}")).trim().parse().unwrap()
    }

    /// The primary that has the key.
    pub fn owner(&self, key: &str) -> usize {
        let is_owner = |node: &usize| !self.ask(*node, &format!("ttl {key}")).contains("MOVED");
        (0..self.nodes.len()).find(is_owner).unwrap()
    }

    /// Begins to move the slot of a key. From now on each new key of the slot is at home in the other node.
    pub fn begin_move(&self, key: &str, to: usize) {
        let (slot, from) = (self.slot(key), self.owner(key));
        self.done(to, &format!("cluster setslot {slot} importing {}", self.id(from)));
        self.done(from, &format!("cluster setslot {slot} migrating {}", self.id(to)));
    }

    /// Ends it, with the keys that are still there.
    pub fn end_move(&self, key: &str, to: usize) {
        let (slot, from) = (self.slot(key), self.owner(key));
        for key in self.ask(from, &format!("cluster getkeysinslot {slot} 1000")).lines().filter(|key| !key.is_empty()) {
            self.done(from, &format!("migrate 127.0.0.1 {} {key} 0 5000", self.nodes[to].port()));
        }
        for node in [to, from].into_iter().chain((0..self.nodes.len()).filter(|node| ![to, from].contains(node))) {
            self.done(node, &format!("cluster setslot {slot} node {}", self.id(to)));
        }
    }

    fn done(&self, node: usize, command: &str) {
        let answer = self.ask(node, command);
        assert_eq!(answer.trim(), "OK", "{command}");
    }

    pub fn wait_for(&self, what: &str, done: impl Fn() -> bool) {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
            sleep(Duration::from_millis(50));
        }
    }
}

fn cli(port: u16, arguments: &str) -> String {
    let output = Command::new("redis-cli").args(["-p", &port.to_string()]).args(arguments.split_whitespace()).output();
    let output = output.unwrap_or_else(|_| panic!("redis-cli is not installed: apt-get install redis-tools"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "redis-cli {arguments}: {text}");
    text
}
