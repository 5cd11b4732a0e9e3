//! What the way in counts.

use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::quota::Measure;

/// The metrics of ingestion. A clone counts into the same numbers.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: Family<Code, Counter>,
    /// Of nearly every request, so that it is not looked up.
    accepted_requests: Counter,
    accepted: Counter,
    duplicates: Counter,
    matched: Counter,
    batch: Histogram,
    duration: Histogram,
    over_quota: Family<QuotaLabel, Counter>,
    connections: Gauge,
    certificate_expiry: Gauge,
    certificate_failures: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QuotaLabel {
    quota: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let requests = Family::<Code, Counter>::default();
        let accepted_requests = requests.get_or_create_owned(&Code { code: StatusCode::ACCEPTED.as_u16() });
        Self {
            requests,
            accepted_requests,
            accepted: Counter::default(),
            duplicates: Counter::default(),
            matched: Counter::default(),
            batch: Histogram::new([1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]),
            duration: Histogram::new([
                0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
            ]),
            over_quota: Family::default(),
            connections: Gauge::default(),
            certificate_expiry: Gauge::default(),
            certificate_failures: Counter::default(),
        }
    }
}

impl Metrics {
    /// Makes them visible under names that begin with `herald_ingest_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("herald_ingest");
        registry.register("requests", "Requests by the status of the answer", self.requests.clone());
        registry.register("events_accepted", "Events stored, without repeats", self.accepted.clone());
        registry.register("events_duplicate", "Repeats of events stored before", self.duplicates.clone());
        registry.register(
            "deliveries_matched",
            "Deliveries that events were matched to",
            self.matched.clone(),
        );
        registry.register("batch_events", "Events in one request", self.batch.clone());
        registry.register_with_unit(
            "request_duration",
            "From the header of a request to its answer",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register(
            "over_quota",
            "Requests refused because their namespace was over a quota",
            self.over_quota.clone(),
        );
        registry.register("connections", "Open connections", self.connections.clone());
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "When the certificate in use ends, since the epoch; 0 without one",
            Unit::Seconds,
            self.certificate_expiry.clone(),
        );
        registry.register(
            "certificate_reload_failures",
            "New certificate files that could not be used",
            self.certificate_failures.clone(),
        );
    }

    pub(super) fn answered(&self, status: StatusCode, took: Duration) {
        if status == StatusCode::ACCEPTED {
            self.accepted_requests.inc();
        } else {
            self.requests.get_or_create(&Code { code: status.as_u16() }).inc();
        }
        self.duration.observe(took.as_secs_f64());
    }

    pub(super) fn stored(&self, accepted: u64, duplicates: u64, matched: u64) {
        self.accepted.inc_by(accepted);
        self.duplicates.inc_by(duplicates);
        self.matched.inc_by(matched);
        #[expect(clippy::cast_precision_loss, reason = "a batch has at most a thousand events")]
        self.batch.observe((accepted + duplicates) as f64);
    }

    pub(super) fn over_quota(&self, measure: Measure) {
        self.over_quota.get_or_create(&QuotaLabel { quota: measure.label() }).inc();
    }

    pub(super) fn connection(&self) -> Connected {
        self.connections.inc();
        Connected(self.connections.clone())
    }

    pub(super) fn certificate_in_use(&self, not_after: Option<i64>) {
        self.certificate_expiry.set(not_after.unwrap_or(0));
    }

    pub(super) fn certificate_refused(&self) {
        self.certificate_failures.inc();
    }
}

/// Counts one connection for as long as it lives.
#[derive(Debug)]
pub(super) struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}
