//! One door to the outside: every request to an endpoint, challenge or
//! delivery, leaves through this guarded HTTPS client.
//!
//! ```text
//! Channel::exchange ── idle connection? ──────────────────────────┐
//!        │ none                                                   v
//!        └─> resolve (absolute name) ─> guard each address ─> connect ─> TLS ─> HTTP/1.1
//!                                                               └─ or CONNECT, through an egress proxy
//! ```
//!
//! **Guarantees.** No connection is made to an address that the [`Guard`]
//! refuses, whatever a name resolves to and when. One deadline covers the whole
//! exchange. At most [`MAX_BODY`] bytes of a body are kept, and an endpoint that
//! makes Herald read more than 1 MiB in one exchange is left. Redirects are not
//! followed and no proxy is taken from the environment. Connections and TLS
//! sessions are never shared by two channels. One host and one address get no more
//! than [`PerDestination`] says, of all channels together.
//!
//! **Assumes.** Somebody runs [`Outbound::run`], which closes idle connections.
//!
//! **Does not do.** It tries nothing again that may have reached the endpoint,
//! and does not limit how many exchanges run in all: that is the dispatcher's.

mod addresses;
mod channel;
mod connect;
mod connection;
mod destination;
mod error;
mod exchange;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod guard;
mod metrics;
mod networks;
mod pool;
mod proxy;
mod quota;
mod ramp;
mod refusals;
mod resolve;
mod signature;
#[cfg(test)]
pub(crate) mod tests;
mod tls;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Uri};
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

pub use addresses::AddressKind;
pub use channel::{Channel, Untried};
pub use destination::{Limit, NoRoom, Pass, PerDestination, Permit};
pub use error::{Cause, ExchangeError, Overdue, Step};
pub use exchange::{Answer, Exchange, Request};
pub(crate) use guard::parse_net;
pub use guard::{Allowance, Destination, Forbidden, Guard, NameKind, Nat64Prefix};
pub use metrics::Metrics;
pub use networks::ClusterNetworks;
pub use proxy::{ProxyConfig, ProxyUrl};
pub use resolve::{Resolver, cluster_domain};
pub use signature::{SigningKeyError, SigningKeys};
pub use tls::{Authorities, ClientCertificate, TlsError, TlsSettings};

use crate::model::EndpointUri;
use connect::{Shared, Target};
use destination::Destinations;
use pool::{Pool, Sweeper};
use proxy::Proxy;
use ramp::Ramp;
use refusals::Refusals;
use tls::Defaults;

/// The most bytes of an answer's body that are read.
pub const MAX_BODY: usize = 64 * 1024;

/// The `User-Agent` of every request.
pub const USER_AGENT: &str = concat!("Herald/", env!("CARGO_PKG_VERSION"));

/// How the door is set up.
#[derive(Clone, Debug)]
pub struct OutboundConfig {
    /// Which hosts and addresses may be called.
    pub guard: Guard,
    /// CA certificates (PEM) that are trusted beside the system's.
    pub extra_roots: Option<Vec<u8>>,
    /// Who resolves names; `None` is the name servers of `/etc/resolv.conf`.
    pub resolver: Option<Resolver>,
    /// How long a connection may be idle.
    pub idle_timeout: Duration,
    /// A connection that is older when its request ends is closed, so that
    /// changes of names and of the guard reach busy endpoints too.
    pub max_connection_age: Duration,
    /// The most connections that are kept while idle, over all channels.
    pub max_idle: usize,
    /// What one host and one address may have, over all channels.
    pub per_destination: PerDestination,
    /// The proxy that every connection goes through.
    pub proxy: Option<ProxyConfig>,
}

impl Default for OutboundConfig {
    fn default() -> Self {
        Self {
            guard: Guard::default(),
            extra_roots: None,
            resolver: None,
            idle_timeout: Duration::from_secs(30),
            max_connection_age: Duration::from_mins(5),
            max_idle: 16_384,
            per_destination: PerDestination::default(),
            proxy: None,
        }
    }
}

/// Why the door cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The trusted roots cannot be loaded.
    #[error("the trusted CA certificates cannot be loaded: {0}")]
    Roots(#[from] TlsError),
    /// The resolver cannot be set up.
    #[error("the name resolver cannot be set up: {0}")]
    Resolver(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Opens channels. Clones are the same door.
#[derive(Clone)]
pub struct Outbound(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    defaults: Defaults,
    sweeper: Arc<Sweeper>,
    ramp: Arc<Ramp>,
    sweep_every: Duration,
}

impl Outbound {
    /// Loads the system's roots and its resolver's configuration.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn new(config: OutboundConfig) -> Result<Self, OutboundError> {
        let metrics = Metrics::default();
        let resolver = match config.resolver {
            Some(resolver) => resolver,
            None => Resolver::system().map_err(|error| OutboundError::Resolver(Box::new(error)))?,
        };
        let sweeper = Sweeper::new(
            metrics.idle.clone(),
            config.idle_timeout,
            config.max_connection_age,
            config.max_idle,
        );
        Ok(Self(Arc::new(Inner {
            shared: Arc::new(Shared {
                resolver,
                guard: config.guard,
                destinations: Destinations::new(config.per_destination, &metrics),
                proxy: config.proxy.map(Proxy::new),
                refusals: Refusals::default(),
                metrics,
            }),
            defaults: Defaults::load(config.extra_roots.as_deref())?,
            sweeper,
            ramp: Arc::new(Ramp::new(Instant::now())),
            sweep_every: (config.idle_timeout / 6).max(Duration::from_millis(1)),
        })))
    }

    /// The way to the endpoint of one webhook of `namespace` under one version of
    /// its TLS settings. It connects only when something is sent.
    ///
    /// # Errors
    /// The TLS settings cannot be used together.
    pub fn channel(
        &self,
        namespace: &str,
        uri: &EndpointUri,
        tls: &TlsSettings,
    ) -> Result<Channel, TlsError> {
        let host = uri.host();
        let name = host.strip_suffix('.').unwrap_or(host);
        let target = Target {
            namespace: namespace.to_owned(),
            host: host.to_owned(),
            gate: self.0.shared.destinations.host(host, namespace),
            port: uri.port(),
            server_name: ServerName::try_from(name).ok().map(|name| name.to_owned()),
            tls: TlsConnector::from(Arc::new(tls.client_config(&self.0.defaults)?)),
            shared: self.0.shared.clone(),
        };
        let host = HeaderValue::from_str(uri.authority().as_str())
            .map_err(|error| TlsError::Client(error.to_string()))?;
        let pool = Pool::new(self.0.sweeper.clone());
        let path = Uri::from(uri.path_and_query().clone());
        Ok(Channel::new(target, path, host, pool, self.0.ramp.clone()))
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.0.shared.metrics
    }

    /// Closes idle connections in time, and forgets destinations, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(self.0.sweep_every)).await.is_some() {
            let now = Instant::now();
            self.0.sweeper.sweep(now);
            self.0.shared.destinations.sweep(now);
        }
    }
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound").finish_non_exhaustive()
    }
}
