//! What is counted of Replays.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A clone counts into the same numbers.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    running: Gauge,
    events: Family<ResultLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

impl Metrics {
    /// Makes them visible.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("herald_replays_running", "Replays that send events", self.running.clone());
        registry.register(
            "herald_replay_events",
            "Events of Replays by what became of them: replayed or failed",
            self.events.clone(),
        );
    }

    pub(super) fn ended(&self, replayed: bool) {
        let result = if replayed { "replayed" } else { "failed" };
        self.events.get_or_create(&ResultLabel { result }).inc();
    }

    pub(super) fn running(&self) -> Running {
        self.running.inc();
        Running(self.running.clone())
    }
}

/// Counts a Replay for as long as it runs, also when its task is ended.
pub(super) struct Running(Gauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}
