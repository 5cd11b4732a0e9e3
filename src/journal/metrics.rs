//! What the journal counts: what every engine does, and what only one has.

mod nats;
mod volume;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

pub use self::nats::Nats;
pub use self::volume::Volume;

/// The bound that dead letters were beyond.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EvictedLabel {
    beyond: &'static str,
}

/// Of one journal; clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Events in a batch that was appended.
    pub batch: Histogram,
    /// Bytes of events that are not delivered to all of their webhooks.
    pub live: Gauge,
    /// Deliveries that outlived the retention.
    pub expired: Counter,
    /// Deliveries whose event could not be read.
    pub unreadable: Counter,
    evicted: Family<EvictedLabel, Counter>,
    /// Attempts that are not in the history.
    pub attempts_lost: Counter,
    /// Places in the logs that could not be read.
    pub damaged: Counter,
    /// Of a journal in a directory.
    pub volume: Volume,
    /// Of a journal on NATS.
    pub nats: Nats,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            batch: Histogram::new(exponential_buckets(1.0, 4.0, 6)),
            live: Gauge::default(),
            expired: Counter::default(),
            unreadable: Counter::default(),
            evicted: Family::default(),
            attempts_lost: Counter::default(),
            damaged: Counter::default(),
            volume: Volume::default(),
            nats: Nats::default(),
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

    /// Makes what every engine has part of what is scraped: not what only one has.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "herald_journal_append_batch_events",
            "Events in an appended batch",
            self.batch.clone(),
        );
        registry.register_with_unit(
            "herald_journal_live",
            "Events that have deliveries that have not ended",
            Unit::Bytes,
            self.live.clone(),
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
            "herald_journal_damages",
            "Places in the journal's logs that were damaged and left out",
            self.damaged.clone(),
        );
    }
}
