//! From a host to an established connection.
//!
//! ```text
//! resolve ─> guard each address ─> TCP, a second address after 250 ms ─> TLS ─> HTTP/1.1
//! ```

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use rustls::HandshakeKind;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::connection::Connection;
use super::error::find;
use super::exchange::Progress;
use super::metrics::{Connected, Handshake};
use super::quota::Metered;
use super::{Cause, ExchangeError, Guard, Metrics, Resolver, Step, tls};

/// After this time without a connection the next address is tried as well (RFC 8305).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// No more addresses of an answer are tried.
const MAX_ADDRESSES: usize = 8;

/// Where a channel's connections go, and what opening them needs.
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    /// `None` if the host cannot be one of a certificate.
    pub(super) server_name: Option<ServerName<'static>>,
    pub(super) tls: TlsConnector,
    pub(super) shared: Arc<Shared>,
}

/// What all channels share.
pub(super) struct Shared {
    pub(super) resolver: Resolver,
    pub(super) guard: Guard,
    pub(super) metrics: Metrics,
}

impl Target {
    pub(super) async fn connect(&self, progress: &mut Progress) -> Result<Box<Connection>, ExchangeError> {
        let mut counted = Counted { metrics: &self.shared.metrics, outcome: Connected::Abandoned };
        let connected = self.establish(progress).await;
        counted.outcome = match &connected {
            Ok(_) => Connected::Established,
            Err(ExchangeError::NameNotResolved { .. }) => Connected::NameNotResolved,
            Err(ExchangeError::AddressForbidden(_)) => Connected::AddressForbidden,
            Err(ExchangeError::TlsFailed(_)) => Connected::TlsFailed,
            Err(
                ExchangeError::ConnectionFailed(_)
                | ExchangeError::TimedOut(_)
                | ExchangeError::MalformedAnswer(_),
            ) => Connected::ConnectionFailed,
        };
        connected
    }

    async fn establish(&self, progress: &mut Progress) -> Result<Box<Connection>, ExchangeError> {
        progress.begin(Step::Resolve);
        let addresses = self.addresses().await?;
        progress.begin(Step::Connect);
        let tcp = connect_any(&addresses, self.port).await.map_err(|(address, error)| {
            ExchangeError::ConnectionFailed(Cause::new(explain_connect(address, &error), error))
        })?;
        progress.begin(Step::Tls);
        let tls = self.handshake(tcp).await?;
        Connection::open(tls, &self.shared.metrics.open).await.map_err(super::error::broken)
    }

    async fn addresses(&self) -> Result<Vec<IpAddr>, ExchangeError> {
        let guard = &self.shared.guard;
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(guard.select(&self.host, vec![address])?);
        }
        guard.check_host(&self.host)?;
        let found = self.shared.resolver.lookup(&self.host).await;
        let found =
            found.map_err(|message| ExchangeError::NameNotResolved { host: self.host.clone(), message })?;
        Ok(guard.select(&self.host, found)?)
    }

    async fn handshake(&self, tcp: TcpStream) -> Result<TlsStream<Metered<TcpStream>>, ExchangeError> {
        let Some(name) = self.server_name.clone() else {
            let message = "the host is not one that a certificate can name".to_owned();
            return Err(ExchangeError::TlsFailed(message.into()));
        };
        let stream = self.tls.connect(name, Metered::new(tcp)).await.map_err(|error| {
            let message = match find::<rustls::Error>(&error) {
                Some(cause) => tls::explain(cause),
                None => format!("the connection broke during the TLS handshake: {error}"),
            };
            ExchangeError::TlsFailed(Cause::new(message, error))
        })?;
        let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        self.shared.metrics.handshake(if resumed { Handshake::Resumed } else { Handshake::Full });
        Ok(stream)
    }
}

/// Counts the outcome, also when the deadline drops the future.
struct Counted<'a> {
    metrics: &'a Metrics,
    outcome: Connected,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.metrics.connected(self.outcome);
    }
}

/// The first connection that comes about; else the first address and why it failed.
async fn connect_any(addresses: &[IpAddr], port: u16) -> Result<TcpStream, (SocketAddr, io::Error)> {
    let mut waiting = addresses.iter().take(MAX_ADDRESSES).map(|&address| SocketAddr::new(address, port));
    let mut attempts = FuturesUnordered::new();
    let mut first_failure = None;
    loop {
        let next = waiting.next();
        let more = next.is_some();
        attempts.extend(next.map(|address| async move { (address, connect(address).await) }));
        let ended = if more {
            tokio::time::timeout(NEXT_ADDRESS_AFTER, attempts.next()).await
        } else {
            Ok(attempts.next().await)
        };
        match ended {
            Ok(Some((_, Ok(stream)))) => return Ok(stream),
            Ok(Some((address, Err(error)))) => first_failure = first_failure.or(Some((address, error))),
            Ok(None) => {
                return Err(first_failure.unwrap_or_else(|| {
                    (SocketAddr::from(([0, 0, 0, 0], port)), io::ErrorKind::AddrNotAvailable.into())
                }));
            }
            // Slow: let it go on, beside the next one.
            Err(_elapsed) => {}
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn explain_connect(address: SocketAddr, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        format!("nothing listens on {address}: connection refused")
    } else {
        format!("cannot connect to {address}: {error}")
    }
}
