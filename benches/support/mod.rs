//! What several benchmarks have in common.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "no benchmark uses all of it, and each stops at what is wrong"
)]

pub mod certificates;
pub mod machine;
pub mod server;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// One keep-alive connection over TLS, by hyper alone.
pub async fn connect(tls: &Arc<ClientConfig>, address: SocketAddr) -> SendRequest<Full<Bytes>> {
    try_connect(tls, address).await.unwrap()
}

/// The same, where nobody may be listening.
pub async fn try_connect(
    tls: &Arc<ClientConfig>,
    address: SocketAddr,
) -> Result<SendRequest<Full<Bytes>>, Box<dyn Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let tls = TlsConnector::from(Arc::clone(tls));
    let stream = tls.connect(ServerName::try_from("localhost")?, stream).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// A port of this machine.
pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
