//! Where NATS is, and the journal's limits there.

use std::path::PathBuf;
use std::time::Duration;

use super::durability::Monitoring;
use crate::journal::limits::Limits;

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

/// Whether the servers are asked if they have on their disks what they acknowledge.
#[derive(Clone, Debug)]
pub enum Durability {
    /// They are not.
    Unchecked,
    /// At their monitoring endpoints, at the start and from then on.
    Checked(Monitoring),
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
    /// Whether the servers are asked how they sync.
    pub durability: Durability,
    /// Streams are only checked, not made or changed.
    pub existing: bool,
    /// What this process is called in the log; it is made unique.
    pub instance: String,
    /// What it takes and keeps.
    pub limits: Limits,
    /// Deliveries that wait, in memory of every dispatcher at about 100 bytes; beyond them
    /// appends are refused.
    pub max_deliveries: u64,
    /// After so many messages of the log a snapshot is written, and what has ended is removed.
    pub snapshot_every: u64,
    /// How often it is looked whether it is time.
    pub sweep: Duration,
    /// Memory for events that were stored or read last, in bytes.
    pub recent_bytes: usize,
}

impl Config {
    /// On these servers, which nobody asks how they sync, with the default limits.
    pub fn new(servers: impl Into<String>) -> Self {
        Self {
            servers: servers.into(),
            credentials: Credentials::default(),
            tls: Tls::default(),
            prefix: "herald".to_owned(),
            replicas: 3,
            durability: Durability::Unchecked,
            existing: false,
            instance: "herald".to_owned(),
            limits: Limits::default(),
            max_deliveries: 5_000_000,
            snapshot_every: 10_000,
            sweep: Duration::from_secs(5),
            recent_bytes: 64 << 20,
        }
    }
}
