//! What is counted of callers.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// A clone counts into the same numbers.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    authentications: Family<AuthenticationLabel, Counter>,
}

/// How the verdict on a caller was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Authentication {
    /// In the cache.
    Hit,
    /// By asking the API server, or by waiting for one who asked.
    Miss,
    /// Not asked about: the token says itself that it is not for this Herald.
    Unfit,
    /// Not at all: the API server did not answer.
    Unavailable,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AuthenticationLabel {
    result: &'static str,
}

impl Metrics {
    /// Makes them visible.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "herald_authentications",
            "Verdicts on callers by how they were found",
            self.authentications.clone(),
        );
    }

    pub(super) fn authentication(&self, result: Authentication) {
        let result = match result {
            Authentication::Hit => "hit",
            Authentication::Miss => "miss",
            Authentication::Unfit => "unfit",
            Authentication::Unavailable => "unavailable",
        };
        self.authentications.get_or_create(&AuthenticationLabel { result }).inc();
    }
}
