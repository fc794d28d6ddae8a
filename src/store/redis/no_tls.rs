//! What stands in for TLS in a build without it.

use std::{convert::Infallible, io};

use crate::error::InvalidConfig;

pub(super) type Tls = Infallible;
pub(super) type Stream = tokio::net::TcpStream;

pub(super) fn of_system() -> Result<Tls, InvalidConfig> {
    Err(InvalidConfig::new("rediss:// needs the feature `redis-tls` of tower-oauth2-password"))
}

pub(super) async fn connect(tls: &Tls, _: &str, _: u16) -> io::Result<Stream> {
    match *tls {}
}
