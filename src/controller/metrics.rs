//! What is counted of the controller's work.

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::decide::Fault;
use crate::api::Reason;

/// The controller's metrics. Clones count into the same.
#[derive(Clone, Debug)]
pub struct Metrics {
    reconciles: Family<OutcomeLabels, Counter>,
    duration: Histogram,
    challenges: Family<ResultLabels, Counter>,
    webhooks: Family<ReasonLabels, Gauge<i64, AtomicI64>>,
    leading: Gauge<i64, AtomicI64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: Reconciled,
}

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Reconciled {
    /// Nothing was to be stored.
    Unchanged,
    /// A status was stored.
    Stored,
    /// The object went away.
    Gone,
    /// The API server did not take it; it is tried again.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
        Self {
            reconciles: Family::default(),
            duration: Histogram::new(seconds),
            challenges: Family::default(),
            webhooks: Family::default(),
            leading: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Adds the families to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "herald_controller_reconciles",
            "Times that a Webhook was decided on, by what came of it",
            self.reconciles.clone(),
        );
        registry.register(
            "herald_controller_reconcile_duration_seconds",
            "How long that took, without the challenge",
            self.duration.clone(),
        );
        registry.register(
            "herald_controller_challenges",
            "Challenges that ended, by result: Verified, or why the endpoint was not",
            self.challenges.clone(),
        );
        registry.register(
            "herald_controller_webhooks",
            "Webhooks by the reason of their Ready condition; only the leader counts",
            self.webhooks.clone(),
        );
        registry.register("herald_controller_leading", "1 while this process leads", self.leading.clone());
    }

    pub(super) fn reconciled(&self, outcome: Reconciled, took: Duration) {
        self.reconciles.get_or_create(&OutcomeLabels { outcome }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    pub(super) fn challenged(&self, verdict: &Result<(), Fault>) {
        let result = verdict.as_ref().err().map_or(Reason::Verified, |fault| fault.reason).as_str();
        self.challenges.get_or_create(&ResultLabels { result }).inc();
    }

    /// A webhook's reason was `before` and is `now`; `None` where there is no webhook.
    pub(super) fn ready(&self, before: Option<Reason>, now: Option<Reason>) {
        if before == now {
            return;
        }
        for (reason, change) in [(before, -1), (now, 1)] {
            if let Some(reason) = reason {
                self.webhooks.get_or_create(&ReasonLabels { reason: reason.as_str() }).inc_by(change);
            }
        }
    }

    pub(super) fn leading(&self, leading: bool) {
        self.leading.set(i64::from(leading));
    }
}
