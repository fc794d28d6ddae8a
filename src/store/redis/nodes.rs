//! The servers that the stores share: one Redis, or the nodes of a cluster.
//!
//! In a cluster, each key has an owner, and any other node says which it is: `MOVED`, which is remembered, or `ASK` while the
//! key is being moved. A node without a connection is forgotten, so that others are asked, which know its successor.

use std::collections::BTreeMap;
use std::{sync::Arc, time::Instant};

use redis::{FromRedisValue, RedisError, ToRedisArgs};

use super::{connection::Connection, scripts::Decision, server::Server};
use crate::error::BoxError;
use crate::sync::{Mutex, lock};

/// A call that is sent to more nodes than this asks while the cluster changes its mind.
const MOST_NODES: usize = 6;

#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) seeds: Vec<Arc<Connection>>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The owners of slots, as far as they are known. A slot and the next known one below mostly have the same.
    owners: BTreeMap<u16, Arc<Connection>>,
    /// All nodes that ever owned one. Each remembers when it failed.
    nodes: Vec<Arc<Connection>>,
}

impl Nodes {
    pub(super) fn new(seeds: impl IntoIterator<Item = Server>) -> Self {
        let seeds = seeds.into_iter().map(|server| Arc::new(Connection::new(server))).collect();
        Self { seeds, known: Mutex::default() }
    }

    /// Runs a script where its key is. `arguments` follow the deadline.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        decision: &Decision,
        key: &str,
        arguments: impl ToRedisArgs,
        deadline: Instant,
    ) -> Result<T, BoxError> {
        let (mut node, mut unreachable) = (self.owner(key)?, None);
        for _ in 0..MOST_NODES {
            // Nothing was sent to a node without a connection: another one may know its successor.
            if let Err(error) = node.reach(deadline).await {
                self.forget(&node);
                let other = self.owner(key)?;
                if unreachable.is_some() || Arc::ptr_eq(&node, &other) {
                    return Err(unreachable.unwrap_or(error));
                }
                (node, unreachable) = (other, Some(error));
                continue;
            }
            let result = node.run(decision, key, &arguments, deadline).await;
            let error = result.as_ref().err().and_then(|error| error.downcast_ref::<RedisError>());
            let Some((address, slot)) = error.and_then(RedisError::redirect_node) else {
                self.forget(&node);
                return result;
            };
            let asking = error.and_then(RedisError::code) == Some("ASK");
            let server = node.server.at(address, asking).ok_or("a node of Redis Cluster has no port")?;
            let mut known = lock(&self.known);
            let mut nodes = known.nodes.iter().filter(|known| !asking && known.server.address() == server.address());
            let old = nodes.next().cloned();
            node = old.clone().unwrap_or_else(|| Arc::new(Connection::new(server)));
            if !asking {
                known.owners.insert(slot, node.clone());
                known.nodes.extend(old.is_none().then(|| node.clone()));
            }
        }
        Err("the nodes of Redis Cluster do not agree on the owner of the key".into())
    }

    /// Forgets what a node owns, if it has no connection any more.
    fn forget(&self, node: &Arc<Connection>) {
        if !node.is_connected() {
            lock(&self.known).owners.retain(|_, owner| !Arc::ptr_eq(owner, node));
        }
    }

    /// The node that probably has the key. If it has not, it knows which one has.
    pub(super) fn owner(&self, key: &str) -> Result<Arc<Connection>, BoxError> {
        let Known { owners, nodes } = &mut *lock(&self.known);
        if owners.is_empty() {
            owners.extend((0..).zip(self.seeds.iter().cloned()));
            nodes.clone_from(&self.seeds);
        }
        let owner = owners.range(..=slot(key)).next_back().or(owners.first_key_value());
        owner.map(|(_, owner)| owner.clone()).ok_or_else(|| "no Redis server is known".into())
    }
}

/// The slot of a key: CRC-16/XMODEM of what is in the first braces, or of the whole key.
fn slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let tag = tag.filter(|tag| !tag.is_empty()).unwrap_or(key);
    let shift = |crc: u16, _| (crc << 1) ^ if crc >> 15 == 1 { 0x1021 } else { 0 };
    tag.bytes().fold(0, |crc, byte| (0..8).fold(crc ^ (u16::from(byte) << 8), shift)) % 16_384
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis_cluster() {
        // By `CLUSTER KEYSLOT`. The first is the check value of CRC-16/XMODEM.
        let slots = [("123456789", 0x31c3), ("oauth2:deny", 2_208), ("{oauth2}:deny", 2_044), ("oauth2", 2_044)];
        for (key, expected) in slots.into_iter().chain([("a{}b", 13_694), ("{", 4_092)]) {
            assert_eq!(slot(key), expected, "{key}");
        }
    }
}
