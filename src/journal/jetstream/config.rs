//! Where NATS is, and the journal's limits there.

use std::path::PathBuf;
use std::time::Duration;

use crate::journal::limits::{Bounds, Window};

/// Who this process is to NATS.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// A file of NATS with a JWT and the seed that signs for it.
    pub file: Option<PathBuf>,
    /// A file with the seed of an NKey.
    pub nkey: Option<PathBuf>,
}

/// How the connection is secured.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// TLS, whatever the server offers. A `tls://` address says the same.
    pub required: bool,
    /// Authorities (PEM) of the servers' certificates, besides the system's.
    pub authorities: Option<PathBuf>,
    /// Our certificate chain and its key (PEM).
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// Where the journal is, and its limits.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses of the servers, separated by commas: `nats://a:4222,nats://b:4222`.
    pub servers: String,
    /// Who this process is to them.
    pub credentials: Credentials,
    /// How the connection is secured.
    pub tls: Tls,
    /// What all streams and subjects begin with.
    pub prefix: String,
    /// How many servers keep each message.
    pub replicas: usize,
    /// Streams are only checked, not made or changed.
    pub existing: bool,
    /// What this process is called in the log; it is made unique.
    pub instance: String,
    /// Bytes of events that wait for delivery; beyond them appends are refused.
    pub max_bytes: u64,
    /// Deliveries that wait, in memory of every dispatcher at about 100 bytes; beyond them
    /// appends are refused.
    pub max_deliveries: u64,
    /// Deliveries that may wait for one webhook; beyond them they are dead letters.
    pub backlog: u64,
    /// How long after its acceptance an event is still delivered.
    pub retention: Duration,
    /// Bytes of the dead letters of one webhook; beyond them the oldest are evicted.
    pub dead_bytes: u64,
    /// How long a dead letter is kept.
    pub dead_age: Duration,
    /// How long a repeat is told from a new event.
    pub window: Window,
    /// How many of the last attempts are kept for people to look at.
    pub attempts: Bounds,
    /// How many of the last events are kept to be replayed, whatever became of them.
    pub events: Bounds,
    /// After so many messages of the log a snapshot is written, and what has ended is removed.
    pub snapshot_every: u64,
    /// How often it is looked whether it is time.
    pub sweep: Duration,
    /// Memory for events that were stored or read last, in bytes.
    pub recent_bytes: usize,
}

impl Config {
    /// On these servers, with the default limits.
    pub fn new(servers: impl Into<String>) -> Self {
        Self {
            servers: servers.into(),
            credentials: Credentials::default(),
            tls: Tls::default(),
            prefix: "herald".to_owned(),
            replicas: 3,
            existing: false,
            instance: "herald".to_owned(),
            max_bytes: 8 << 30,
            max_deliveries: 5_000_000,
            backlog: 1_000_000,
            retention: Duration::from_hours(72),
            dead_bytes: 64 << 20,
            dead_age: Duration::from_hours(14 * 24),
            window: Window { age: Duration::from_hours(24), ids: 1_000_000 },
            attempts: Bounds { bytes: 128 << 20, age: Duration::from_hours(7 * 24) },
            events: Bounds { bytes: 512 << 20, age: Duration::from_hours(72) },
            snapshot_every: 10_000,
            sweep: Duration::from_secs(5),
            recent_bytes: 64 << 20,
        }
    }
}
