//! What only a journal in a directory counts.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// See the module.
#[derive(Clone, Debug)]
pub struct Volume {
    /// How long an fsync took.
    pub fsync: Histogram,
    /// Bytes on the disk.
    pub disk: Gauge,
    /// Bytes that are free on the file system and not promised to a log.
    pub free: Gauge,
    /// How long the shortest window of deduplication is.
    pub window: Gauge<f64, AtomicU64>,
    /// Accepted events that are not in the history.
    pub events_not_kept: Counter,
    /// Stores that were opened again after a failure.
    pub reopened: Counter,
}

impl Default for Volume {
    fn default() -> Self {
        Self {
            fsync: Histogram::new(exponential_buckets(0.0001, 2.0, 15)),
            disk: Gauge::default(),
            free: Gauge::default(),
            window: Gauge::default(),
            events_not_kept: Counter::default(),
            reopened: Counter::default(),
        }
    }
}

impl Volume {
    /// Makes them part of what is scraped.
    pub fn register(&self, registry: &mut Registry) {
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
            "herald_journal_deduplication_window",
            "How long a repeated event is recognized now, in the namespace where that is shortest",
            Unit::Seconds,
            self.window.clone(),
        );
        registry.register(
            "herald_journal_events_not_kept",
            "Accepted events that could not be kept for a Replay of everything; they are delivered all the same",
            self.events_not_kept.clone(),
        );
        registry.register(
            "herald_journal_reopened",
            "How many times the journal was opened again after a write or an fsync that failed",
            self.reopened.clone(),
        );
    }
}
