//! TLS to Redis, by rustls with aws-lc-rs, whatever provider the process has or lacks.

use std::{io, sync::Arc};

use rustls_native_certs::load_native_certs;
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs::default_provider};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::error::InvalidConfig;

const NONE_IN_SYSTEM: &str = "the system has no root certificates, which rediss:// needs: install the package \
                              ca-certificates, or set SSL_CERT_FILE to a PEM file";
const NONE_IN_TEXT: &str = "no root certificate is in the PEM text: it has to begin with -----BEGIN CERTIFICATE-----";

pub(super) type Tls = TlsConnector;
pub(super) type Stream = TlsStream<TcpStream>;

/// Trusts what the system trusts.
pub(super) fn of_system() -> Result<Tls, InvalidConfig> {
    trusting(load_native_certs().certs, NONE_IN_SYSTEM)
}

/// Trusts these alone.
pub(super) fn of_pem(pem: &[u8]) -> Result<Tls, InvalidConfig> {
    trusting(CertificateDer::pem_slice_iter(pem).flatten().collect(), NONE_IN_TEXT)
}

fn trusting(certificates: Vec<CertificateDer<'static>>, none: &str) -> Result<Tls, InvalidConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    let config =
        ClientConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions();
    let config = config.ok().filter(|_| !roots.is_empty()).ok_or_else(|| InvalidConfig::new(none))?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()).into())
}

pub(super) async fn connect(tls: &Tls, host: &str, port: u16) -> io::Result<Stream> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    tls.connect(name, stream).await
}
