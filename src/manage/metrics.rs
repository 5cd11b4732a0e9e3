//! What is counted of questions.

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// A clone counts into the same numbers.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    requests: Family<Code, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: u16,
}

impl Metrics {
    /// Makes them visible.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "herald_management_requests",
            "Requests to the management API by the status of the answer",
            self.requests.clone(),
        );
    }

    pub(super) fn answered(&self, status: StatusCode) {
        self.requests.get_or_create(&Code { code: status.as_u16() }).inc();
    }
}
