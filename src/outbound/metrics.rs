//! What is counted of the way out. No label names an endpoint: there may be
//! any number of them.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Limit;

/// Connections to endpoints.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(super) open: Gauge<i64, AtomicI64>,
    pub(super) idle: Gauge<i64, AtomicI64>,
    connects: Family<ConnectLabels, Counter>,
    handshakes: Family<HandshakeLabels, Counter>,
    pub(super) stale: Counter,
    waits: Family<WaitLabels, Counter>,
    proxy_failures: Family<ProxyLabels, Counter>,
    pub(super) waiting: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectLabels {
    outcome: Connected,
}

/// What came of an attempt to open a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Connected {
    Established,
    NameNotResolved,
    AddressForbidden,
    ConnectionFailed,
    TlsFailed,
    DestinationFull,
    Abandoned,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WaitLabels {
    limit: Limit,
    of: Of,
}

/// Whose limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Of {
    Host,
    Address,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProxyLabels {
    reason: ProxyFailed,
}

/// Why there was no connection through the egress proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum ProxyFailed {
    Unreachable,
    CredentialsUnreadable,
    CredentialsRefused,
    Refused,
    Failed,
    NotHttp,
    Closed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandshakeLabels {
    kind: Handshake,
}

/// How a TLS session came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Handshake {
    Full,
    Resumed,
}

impl Metrics {
    /// Adds the families to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "herald_outbound_open_connections",
            "Connections to endpoints that are open, in use or idle",
            self.open.clone(),
        );
        registry.register(
            "herald_outbound_idle_connections",
            "Open connections to endpoints that wait for a request",
            self.idle.clone(),
        );
        registry.register(
            "herald_outbound_connects",
            "Attempts to open a connection to an endpoint, by outcome; Abandoned is out of time, DestinationFull was not tried",
            self.connects.clone(),
        );
        registry.register(
            "herald_outbound_tls_handshakes",
            "TLS sessions with endpoints, full handshakes and resumed ones",
            self.handshakes.clone(),
        );
        registry.register(
            "herald_outbound_stale_connections",
            "Idle connections that the endpoint had closed when they were to be used again",
            self.stale.clone(),
        );
        registry.register(
            "herald_outbound_destination_waits",
            "Times that a request waited since its host or address had as much of something as one destination may",
            self.waits.clone(),
        );
        registry.register(
            "herald_outbound_destination_waiting",
            "Webhooks and challenges that wait for that now",
            self.waiting.clone(),
        );
        registry.register(
            "herald_outbound_proxy_failures",
            "Connections that the egress proxy did not open, by reason",
            self.proxy_failures.clone(),
        );
    }

    pub(super) fn connected(&self, outcome: Connected) {
        self.connects.get_or_create(&ConnectLabels { outcome }).inc();
    }

    /// How many wait for a destination now.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> i64 {
        self.waiting.get()
    }

    /// The counter of those who wait for this.
    pub(super) fn waits(&self, limit: Limit, of: Of) -> Counter {
        self.waits.get_or_create(&WaitLabels { limit, of }).clone()
    }

    pub(super) fn proxy_failed(&self, reason: ProxyFailed) {
        self.proxy_failures.get_or_create(&ProxyLabels { reason }).inc();
    }

    pub(super) fn handshake(&self, kind: Handshake) {
        self.handshakes.get_or_create(&HandshakeLabels { kind }).inc();
    }
}
