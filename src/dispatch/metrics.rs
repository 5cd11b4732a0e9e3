//! What the dispatcher counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The labels of what is counted by reason: one of a fixed set of words.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    reason: &'static str,
}

/// The labels of what is told of one webhook.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WebhookLabel {
    pub(super) namespace: String,
    pub(super) webhook: String,
}

/// The most webhooks that have a series of their own: those with the most
/// queued. Names come from tenants, so their number must not be theirs to choose.
pub(super) const MOST_WEBHOOKS: usize = 200;

/// What the dispatcher counts. Clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) delivered: Counter,
    failed: Family<ReasonLabel, Counter>,
    pub(super) retried: Counter,
    dead: Family<ReasonLabel, Counter>,
    pub(super) in_flight: Gauge,
    pub(super) lanes: Gauge,
    pub(super) circuits_opened: Counter,
    pub(super) circuits_open: Gauge,
    pub(super) attempt_seconds: Histogram,
    pub(super) latency_seconds: Histogram,
    pub(super) queue_depth: Family<WebhookLabel, Gauge>,
    pub(super) queue_age_seconds: Family<WebhookLabel, Gauge>,
    pub(super) view_age_seconds: Gauge,
    pub(super) status_writes: Counter,
    pub(super) status_write_errors: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            delivered: Counter::default(),
            failed: Family::default(),
            retried: Counter::default(),
            dead: Family::default(),
            in_flight: Gauge::default(),
            lanes: Gauge::default(),
            circuits_opened: Counter::default(),
            circuits_open: Gauge::default(),
            attempt_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            latency_seconds: Histogram::new(exponential_buckets(0.001, 4.0, 14)),
            queue_depth: Family::default(),
            queue_age_seconds: Family::default(),
            view_age_seconds: Gauge::default(),
            status_writes: Counter::default(),
            status_write_errors: Counter::default(),
        }
    }
}

impl Metrics {
    /// Puts the metrics on show.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("herald");
        registry.register(
            "deliveries_delivered",
            "Deliveries that the endpoint took",
            self.delivered.clone(),
        );
        registry.register("delivery_attempts_failed", "Attempts that failed, by reason", self.failed.clone());
        registry.register(
            "deliveries_retried",
            "Deliveries put back for another attempt",
            self.retried.clone(),
        );
        registry.register(
            "dead_letters",
            "Deliveries given up, by the reason of the last attempt",
            self.dead.clone(),
        );
        registry.register("delivery_attempts_in_flight", "Attempts that are running", self.in_flight.clone());
        registry.register(
            "lanes",
            "Webhooks that are being delivered to, or held with something queued",
            self.lanes.clone(),
        );
        registry.register(
            "circuits_opened",
            "Times that a webhook's circuit opened since so many events failed in a row",
            self.circuits_opened.clone(),
        );
        registry.register(
            "circuits_open",
            "Webhooks whose circuit is open: their events are held, but for probes",
            self.circuits_open.clone(),
        );
        registry.register_with_unit(
            "delivery_attempt_duration",
            "How long an attempt took, whatever its end",
            Unit::Seconds,
            self.attempt_seconds.clone(),
        );
        registry.register_with_unit(
            "delivery_latency",
            "From the acceptance of an event to its delivery",
            Unit::Seconds,
            self.latency_seconds.clone(),
        );
        registry.register(
            "webhook_queue_depth",
            "Deliveries that have not ended, for the 200 webhooks with the most",
            self.queue_depth.clone(),
        );
        registry.register_with_unit(
            "webhook_queue_oldest_age",
            "Age of the oldest delivery that has not ended, for the same webhooks",
            Unit::Seconds,
            self.queue_age_seconds.clone(),
        );
        registry.register_with_unit(
            "view_age",
            "How long ago the API server last confirmed the watch that it has been silent on for longest",
            Unit::Seconds,
            self.view_age_seconds.clone(),
        );
        registry.register("status_writes", "Writes of a Webhook's status", self.status_writes.clone());
        registry.register("status_write_errors", "Such writes that failed", self.status_write_errors.clone());
    }

    pub(super) fn failed(&self, reason: &'static str) {
        self.failed.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(super) fn dead(&self, reason: &'static str) {
        self.dead.get_or_create(&ReasonLabel { reason }).inc();
    }
}
