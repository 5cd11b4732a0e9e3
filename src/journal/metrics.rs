//! What the journal counts.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The bound that dead letters were beyond.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EvictedLabel {
    beyond: &'static str,
}

/// A server of NATS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct ServerLabel {
    server: String,
}

/// Of one journal; clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Events in a batch that was appended.
    pub batch: Histogram,
    /// How long an fsync took.
    pub fsync: Histogram,
    /// Bytes on the disk.
    pub disk: Gauge,
    /// Bytes that are free on the file system and not promised to a log.
    pub free: Gauge,
    /// Bytes of events that are not delivered to all of their webhooks.
    pub live: Gauge,
    /// How long the shortest window of deduplication is.
    pub window: Gauge<f64, AtomicU64>,
    /// Deliveries that outlived the retention.
    pub expired: Counter,
    /// Deliveries whose event could not be read.
    pub unreadable: Counter,
    evicted: Family<EvictedLabel, Counter>,
    /// Attempts that are not in the history.
    pub attempts_lost: Counter,
    /// Accepted events that are not in the history.
    pub events_not_kept: Counter,
    /// Places in the logs that could not be read.
    pub damaged: Counter,
    /// Stores that were opened again after a failure.
    pub reopened: Counter,
    synced: Family<ServerLabel, Gauge>,
    /// The servers that it has.
    servers: Arc<Mutex<BTreeSet<ServerLabel>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            batch: Histogram::new(exponential_buckets(1.0, 4.0, 6)),
            fsync: Histogram::new(exponential_buckets(0.0001, 2.0, 15)),
            disk: Gauge::default(),
            free: Gauge::default(),
            live: Gauge::default(),
            window: Gauge::default(),
            expired: Counter::default(),
            unreadable: Counter::default(),
            evicted: Family::default(),
            attempts_lost: Counter::default(),
            events_not_kept: Counter::default(),
            damaged: Counter::default(),
            reopened: Counter::default(),
            synced: Family::default(),
            servers: Arc::default(),
        }
    }
}

impl Metrics {
    /// Counts dead letters that were evicted.
    pub fn evicted(&self, beyond: &'static str, count: u64) {
        if count > 0 {
            self.evicted.get_or_create(&EvictedLabel { beyond }).inc_by(count);
        }
    }

    /// Says which servers of NATS were heard, and whether each syncs each write.
    pub fn synced<'s>(&self, heard: impl IntoIterator<Item = (&'s str, bool)>) {
        let mut heard_now = BTreeSet::new();
        for (server, always) in heard {
            let label = ServerLabel { server: server.to_owned() };
            self.synced.get_or_create(&label).set(always.into());
            heard_now.insert(label);
        }
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in servers.difference(&heard_now) {
            self.synced.remove(gone);
        }
        *servers = heard_now;
    }

    /// Makes them part of what is scraped.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "herald_journal_append_batch_events",
            "Events in an appended batch",
            self.batch.clone(),
        );
        registry.register_with_unit(
            "herald_journal_fsync_duration",
            "How long an fsync of the journal took",
            Unit::Seconds,
            self.fsync.clone(),
        );
        registry.register_with_unit(
            "herald_journal_disk",
            "The journal's size on disk",
            Unit::Bytes,
            self.disk.clone(),
        );
        registry.register_with_unit(
            "herald_journal_disk_free",
            "What is free on the journal's file system; below --journal-reserve new events are refused",
            Unit::Bytes,
            self.free.clone(),
        );
        registry.register_with_unit(
            "herald_journal_live",
            "Events that have deliveries that have not ended",
            Unit::Bytes,
            self.live.clone(),
        );
        registry.register_with_unit(
            "herald_journal_deduplication_window",
            "How long a repeated event is recognized now, in the namespace where that is shortest",
            Unit::Seconds,
            self.window.clone(),
        );
        registry.register(
            "herald_journal_expired_deliveries",
            "Deliveries that outlived the retention",
            self.expired.clone(),
        );
        registry.register(
            "herald_journal_unreadable_deliveries",
            "Deliveries that were given up because the record of their event could not be read",
            self.unreadable.clone(),
        );
        registry.register(
            "herald_journal_evicted_dead_letters",
            "Dead letters that are not kept any more, by what they were beyond: age or bytes",
            self.evicted.clone(),
        );
        registry.register(
            "herald_journal_attempts_lost",
            "Attempts that could not be kept for people to look at",
            self.attempts_lost.clone(),
        );
        registry.register(
            "herald_journal_events_not_kept",
            "Accepted events that could not be kept for a Replay of everything; they are delivered all the same",
            self.events_not_kept.clone(),
        );
        registry.register(
            "herald_journal_damages",
            "Places in the journal's logs that were damaged and left out",
            self.damaged.clone(),
        );
        registry.register(
            "herald_journal_reopened",
            "How many times the journal was opened again after a write or an fsync that failed",
            self.reopened.clone(),
        );
        registry.register(
            "herald_journal_nats_sync_always",
            "Whether a server of NATS has on its disk what it acknowledges, as it said last",
            self.synced.clone(),
        );
    }
}
