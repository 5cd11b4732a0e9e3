//! From a host to an established connection.
//!
//! ```text
//! resolve ─> guard each address ─> TCP, a second address after 250 ms ─> TLS ─> HTTP/1.1
//!                                   │ only where the address has room
//!                                   └─ through the egress proxy, if there is one
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
use super::destination::{Destinations, Entry, Gate, NoRoom, Permit, Waited, spend};
use super::error::find;
use super::exchange::Progress;
use super::metrics::{Connected, Handshake};
use super::proxy::Proxy;
use super::quota::Metered;
use super::refusals::Refusals;
use super::resolve::canonical;
use super::{Cause, ExchangeError, Forbidden, Guard, Metrics, Resolver, Step, tls};

/// After this time without a connection the next address is tried as well (RFC 8305).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// No more addresses of an answer are tried.
const MAX_ADDRESSES: usize = 8;

/// Where a channel's connections go, and what opening them needs.
pub(super) struct Target {
    /// Of the webhook, for what is allowed there and for the log.
    pub(super) namespace: String,
    pub(super) host: String,
    /// Of the host.
    pub(super) gate: Arc<Gate>,
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
    pub(super) destinations: Destinations,
    pub(super) proxy: Option<Proxy>,
    pub(super) refusals: Refusals,
    pub(super) metrics: Metrics,
}

/// Why there is no connection.
pub(super) enum Unconnected {
    /// None was tried, since no address has room.
    NoRoom(NoRoom),
    /// There is none.
    Failed(ExchangeError),
}

impl From<NoRoom> for Unconnected {
    fn from(full: NoRoom) -> Self {
        Self::NoRoom(full)
    }
}

impl From<ExchangeError> for Unconnected {
    fn from(error: ExchangeError) -> Self {
        Self::Failed(error)
    }
}

/// What opening a connection may use: of its host, and of what was waited for.
pub(super) struct Rights<'a> {
    /// Spent when the first address is tried.
    pub(super) host: Option<Permit>,
    pub(super) waited: &'a mut Waited,
}

/// How a connection may come about. All addresses are ones that the guard allows.
#[derive(Clone, Copy)]
enum Way<'a> {
    Direct(IpAddr),
    /// Through the egress proxy; without an address to the host, wherever the proxy finds it.
    Tunnel(&'a Proxy, Option<IpAddr>),
}

/// A TCP connection, and its place at its address.
struct Opened {
    stream: TcpStream,
    gate: Arc<Gate>,
    entry: Entry,
}

impl Target {
    /// A connection, and a place in flight at its address.
    pub(super) async fn connect(
        &self,
        rights: Rights<'_>,
        progress: &mut Progress,
    ) -> Result<(Box<Connection>, Entry), Unconnected> {
        let mut counted = Counted { metrics: &self.shared.metrics, outcome: Connected::Abandoned };
        let connected = self.establish(rights, progress).await;
        counted.outcome = match &connected {
            Ok(_) => Connected::Established,
            Err(Unconnected::NoRoom(_)) => Connected::DestinationFull,
            Err(Unconnected::Failed(error)) => match error {
                ExchangeError::NameNotResolved { .. } => Connected::NameNotResolved,
                ExchangeError::AddressForbidden(_) => Connected::AddressForbidden,
                ExchangeError::TlsFailed(_) => Connected::TlsFailed,
                ExchangeError::ConnectionFailed(_)
                | ExchangeError::TimedOut(_)
                | ExchangeError::MalformedAnswer(_) => Connected::ConnectionFailed,
            },
        };
        connected
    }

    async fn establish(
        &self,
        rights: Rights<'_>,
        progress: &mut Progress,
    ) -> Result<(Box<Connection>, Entry), Unconnected> {
        progress.begin(Step::Resolve);
        let ways = self.ways().await?;
        progress.begin(Step::Connect);
        let Opened { stream, gate, entry } = self.connect_any(&ways, rights).await?;
        progress.begin(Step::Tls);
        let tls = self.handshake(stream).await?;
        let open = &self.shared.metrics.open;
        let connection = Connection::open(tls, gate, open).await.map_err(super::error::broken)?;
        Ok((connection, entry))
    }

    /// The first connection that comes about; else why the first way that was tried failed.
    async fn connect_any(&self, ways: &[Way<'_>], rights: Rights<'_>) -> Result<Opened, Unconnected> {
        let Rights { mut host, waited } = rights;
        let mut waiting = ways.iter().take(MAX_ADDRESSES);
        let mut attempts = FuturesUnordered::new();
        let (mut first_failure, mut first_full) = (None, None);
        loop {
            // Those that have no room are passed over.
            let next = waiting.find_map(|&way| {
                let admitted = self.admitted(way, waited);
                admitted.map_err(|full| first_full.get_or_insert(full)).ok()
            });
            let more = next.is_some();
            if more {
                spend(host.take());
            }
            attempts.extend(next.map(|admitted| self.open(admitted)));
            let ended = if more {
                tokio::time::timeout(NEXT_ADDRESS_AFTER, attempts.next()).await
            } else {
                Ok(attempts.next().await)
            };
            match ended {
                Ok(Some(Ok(opened))) => return Ok(opened),
                Ok(Some(Err(error))) => {
                    first_failure.get_or_insert(error);
                }
                Ok(None) => {
                    return Err(match (first_failure, first_full) {
                        (Some(failure), _) => failure.into(),
                        (None, Some(full)) => full.into(),
                        (None, None) => {
                            let message = format!("{} has no address", self.host);
                            ExchangeError::ConnectionFailed(message.into()).into()
                        }
                    });
                }
                // Slow: let it go on, beside the next one.
                Err(_elapsed) => {}
            }
        }
    }

    fn admitted<'a>(&self, way: Way<'a>, waited: &mut Waited) -> Result<Admitted<'a>, NoRoom> {
        let gate = match way {
            Way::Direct(address) | Way::Tunnel(_, Some(address)) => {
                let address = self.shared.guard.leads_to(address);
                self.shared.destinations.address(address, &self.namespace)
            }
            // Which address it is nobody here knows; the host has limits all the same.
            Way::Tunnel(_, None) => Arc::default(),
        };
        let entry = gate.enter(waited)?;
        let connect = gate.connect(waited)?;
        Ok(Admitted { way, gate, entry, connect })
    }

    async fn open(&self, admitted: Admitted<'_>) -> Result<Opened, ExchangeError> {
        let Admitted { way, gate, entry, connect } = admitted;
        spend(connect);
        let failed = ExchangeError::ConnectionFailed;
        let stream = match way {
            Way::Direct(address) => directly(SocketAddr::new(address, self.port)).await.map_err(|error| {
                let message = explain_connect(&self.host, self.port, &error);
                failed(Cause::new(message, error))
            })?,
            Way::Tunnel(proxy, address) => {
                let Shared { resolver, metrics, .. } = &*self.shared;
                let tunnel = proxy.tunnel(&self.destination(address), resolver, metrics).await;
                tunnel.map_err(|error| failed(Cause::new(error.to_string(), error)))?
            }
        };
        Ok(Opened { stream, gate, entry })
    }

    /// As a proxy is told it. A name is without the dot at its end, which rules of a proxy may not expect.
    fn destination(&self, address: Option<IpAddr>) -> String {
        match address {
            Some(address) => SocketAddr::new(address, self.port).to_string(),
            None => format!("{}:{}", canonical(&self.host), self.port),
        }
    }

    /// Where to connect to: all that the guard lets through.
    async fn ways(&self) -> Result<Vec<Way<'_>>, ExchangeError> {
        let Shared { guard, resolver, refusals, proxy, .. } = &*self.shared;
        let to = |address| match proxy {
            Some(proxy) => Way::Tunnel(proxy, Some(address)),
            None => Way::Direct(address),
        };
        let refused = |forbidden| {
            refusals.refused(&self.namespace, &self.host, &forbidden);
            ExchangeError::AddressForbidden(forbidden)
        };
        if let Ok(address) = self.host.parse::<IpAddr>() {
            let checked = guard.check_address(&self.namespace, address);
            checked.map_err(|kind| refused(Forbidden::Literal { address, kind }))?;
            return Ok(vec![to(address)]);
        }
        guard.check_host(&self.namespace, &self.host).map_err(refused)?;
        if let Some(proxy) = proxy.as_ref().filter(|proxy| proxy.resolves()) {
            return Ok(vec![Way::Tunnel(proxy, None)]);
        }
        let found = resolver.lookup(&self.host).await.map_err(|error| {
            refusals.unresolved(&self.namespace, &self.host, &error);
            ExchangeError::NameNotResolved { host: self.host.clone(), message: error.to_string() }
        })?;
        let allowed = guard.select(&self.namespace, &self.host, found).map_err(refused)?;
        Ok(allowed.into_iter().map(to).collect())
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

/// A way that has room for a connection.
struct Admitted<'a> {
    way: Way<'a>,
    gate: Arc<Gate>,
    entry: Entry,
    connect: Option<Permit>,
}

async fn directly(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// For tenants: which addresses a name has is not theirs to learn.
fn explain_connect(host: &str, port: u16, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        format!("nothing listens on port {port} of {host}: connection refused")
    } else {
        format!("cannot connect to port {port} of {host}: {error}")
    }
}
