//! One server of Redis: its address, our credentials, and TLS.

use std::sync::Arc;

use redis::aio::{MultiplexedConnection, PubSub, PubSubStream};
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, RedisError};

use super::tls::{self, Stream, Tls};
use crate::error::InvalidConfig;

const MALFORMED: &str = "the Redis URL is malformed: write redis[s]://[user:password@]host[:port][/db]";

#[derive(Clone)]
pub(super) struct Server {
    pub(super) client: Client,
    pub(super) tls: Option<Tls>,
    /// For one call, to a key that is being moved there.
    pub(super) asking: bool,
    /// This is a Sentinel, and the stores are in the primary that has this name there.
    pub(super) primary: Option<Arc<str>>,
}

impl Server {
    pub(super) fn parse(url: &str) -> Result<Self, InvalidConfig> {
        // The crate `redis` never sees that it is TLS: it would take rustls's provider from the process, or set it.
        let secure = url.split_once("s://").filter(|(scheme, _)| ["redis", "valkey"].contains(scheme));
        let tls = secure.map(|_| tls::of_system()).transpose()?;
        let plain = secure.map(|(_, rest)| format!("redis://{rest}"));
        let client = Client::open(plain.as_deref().unwrap_or(url)).map_err(|_| InvalidConfig::new(MALFORMED))?;
        Ok(Self { client, tls, asking: false, primary: None })
    }

    /// Another node of the same cluster.
    pub(super) fn at(&self, address: &str, asking: bool) -> Option<Self> {
        let (host, port) = address.rsplit_once(':')?;
        let address = ConnectionAddr::Tcp(host.to_owned(), port.parse().ok()?);
        let client = Client::open(self.client.get_connection_info().clone().set_addr(address)).ok()?;
        Some(Self { client, asking, ..self.clone() })
    }

    pub(super) fn has_database(&self) -> bool {
        self.client.get_connection_info().redis_settings().db() != 0
    }

    pub(super) fn address(&self) -> &ConnectionAddr {
        self.client.get_connection_info().addr()
    }

    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        self.found().await?.open().await
    }

    /// This server, or the one that this Sentinel names.
    async fn found(&self) -> Result<Self, RedisError> {
        let Some(name) = &self.primary else { return Ok(self.clone()) };
        let mut ask = redis::cmd("SENTINEL");
        let ask = ask.arg("get-master-addr-by-name").arg(&**name);
        let found: Option<(String, String)> = ask.query_async(&mut self.open().await?).await?;
        let found = found.and_then(|(host, port)| self.at(&format!("{host}:{port}"), false));
        found.ok_or_else(|| (ErrorKind::InvalidClientConfig, "the Sentinel knows no primary of this name").into())
    }

    async fn open(&self) -> Result<MultiplexedConnection, RedisError> {
        let (redis, config) = (self.client.get_connection_info().redis_settings(), AsyncConnectionConfig::new());
        let config = config.set_connection_timeout(None).set_response_timeout(None);
        let Some(stream) = self.secured().await? else {
            return self.client.get_multiplexed_async_connection_with_config(&config).await;
        };
        let (connection, driver) = MultiplexedConnection::new_with_config(redis, stream, config).await?;
        tokio::spawn(driver);
        Ok(connection)
    }

    pub(super) async fn subscribe(&self, channel: &str) -> Result<PubSubStream, RedisError> {
        let server = self.found().await?;
        let mut subscription = match server.secured().await? {
            Some(stream) => PubSub::new(server.client.get_connection_info().redis_settings(), stream).await?,
            None => server.client.get_async_pubsub().await?,
        };
        subscription.subscribe(channel).await?;
        Ok(subscription.into_on_message())
    }

    /// A connection that TLS protects, if the URL asks for it.
    async fn secured(&self) -> Result<Option<Stream>, RedisError> {
        match (&self.tls, self.address()) {
            (Some(tls), ConnectionAddr::Tcp(host, port)) => Ok(Some(tls::connect(tls, host, *port).await?)),
            _ => Ok(None),
        }
    }
}
