//! What only a journal on NATS counts.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// A server of NATS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct ServerLabel {
    server: String,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Nats {
    /// Whether it takes and gives anything.
    pub open: Gauge,
    /// How long it took until a message of events was acknowledged.
    pub append: Histogram,
    /// Partitions whose lanes may be run here now.
    pub partitions: Gauge,
    /// Partitions that no dispatcher has of which anything was heard.
    pub without_owner: Gauge,
    /// Dispatchers of which something was heard, with this one.
    pub dispatchers: Gauge,
    /// Seconds since the last renewal of the lease that was stored.
    pub lease_age: Gauge<f64, AtomicU64>,
    /// Partitions that were taken from a dispatcher that had not given them back.
    pub takeovers: Counter,
    /// Partitions that another took from this one.
    pub lost: Counter,
    synced: Family<ServerLabel, Gauge>,
    /// The servers that it has.
    servers: Arc<Mutex<BTreeSet<ServerLabel>>>,
}

impl Default for Nats {
    fn default() -> Self {
        Self {
            open: Gauge::default(),
            append: Histogram::new(exponential_buckets(0.0005, 2.0, 15)),
            partitions: Gauge::default(),
            without_owner: Gauge::default(),
            dispatchers: Gauge::default(),
            lease_age: Gauge::default(),
            takeovers: Counter::default(),
            lost: Counter::default(),
            synced: Family::default(),
            servers: Arc::default(),
        }
    }
}

impl Nats {
    /// Says which servers were heard, and whether each syncs each write.
    pub fn synced<'s>(&self, heard: impl IntoIterator<Item = (&'s str, bool)>) {
        let mut now = BTreeSet::new();
        for (server, always) in heard {
            let label = ServerLabel { server: server.to_owned() };
            self.synced.get_or_create(&label).set(always.into());
            now.insert(label);
        }
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in servers.difference(&now) {
            self.synced.remove(gone);
        }
        *servers = now;
    }

    /// Makes them part of what is scraped.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "herald_journal_nats_open",
            "Whether the journal takes and gives anything: the log was read, and NATS is there",
            self.open.clone(),
        );
        registry.register_with_unit(
            "herald_journal_nats_append_duration",
            "How long it took until NATS acknowledged a message of events",
            Unit::Seconds,
            self.append.clone(),
        );
        registry.register(
            "herald_journal_nats_partitions",
            "How many of the 32 parts of the webhooks are run by this dispatcher",
            self.partitions.clone(),
        );
        registry.register(
            "herald_journal_nats_partitions_without_owner",
            "How many of the 32 parts no dispatcher runs of which this one hears anything",
            self.without_owner.clone(),
        );
        registry.register(
            "herald_journal_nats_dispatchers",
            "How many dispatchers there are, as far as this one hears of them",
            self.dispatchers.clone(),
        );
        registry.register_with_unit(
            "herald_journal_nats_lease_age",
            "How long ago this dispatcher last renewed its lease; beyond 8 s it delivers nothing",
            Unit::Seconds,
            self.lease_age.clone(),
        );
        registry.register(
            "herald_journal_nats_takeovers",
            "Parts that this dispatcher took from one that was gone without giving them back",
            self.takeovers.clone(),
        );
        registry.register(
            "herald_journal_nats_partitions_lost",
            "Parts that another dispatcher took from this one, which was silent for too long",
            self.lost.clone(),
        );
        registry.register(
            "herald_journal_nats_sync_always",
            "Whether a server of NATS has on its disk what it acknowledges, as it said last",
            self.synced.clone(),
        );
    }
}
