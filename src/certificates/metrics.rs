//! What is counted of the certificates.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::model::Timestamp;

/// The metrics of the certificates. Clones count into the same.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    expiry: Family<Labels, Gauge<i64, AtomicI64>>,
    issued: Family<Labels, Counter>,
    failures: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    certificate: &'static str,
}

/// Which certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Ca,
    Serving,
}

impl From<Which> for Labels {
    fn from(which: Which) -> Self {
        let certificate = match which {
            Which::Ca => "ca",
            Which::Serving => "serving",
        };
        Self { certificate }
    }
}

impl Metrics {
    /// Adds the families to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "herald_controller_certificate_expiry_timestamp_seconds",
            "When the CA that signs and the serving certificate end, since the epoch; only the leader knows",
            self.expiry.clone(),
        );
        registry.register(
            "herald_controller_certificates_issued",
            "Certificates that were made",
            self.issued.clone(),
        );
        registry.register(
            "herald_controller_certificate_failures",
            "Times that certificates and bundles could not all be brought up to date",
            self.failures.clone(),
        );
    }

    pub(super) fn ends(&self, which: Which, end: Timestamp) {
        let seconds = i64::try_from(end.as_secs()).unwrap_or(i64::MAX);
        self.expiry.get_or_create(&which.into()).set(seconds);
    }

    pub(super) fn issued(&self, which: Which) {
        self.issued.get_or_create(&which.into()).inc();
    }

    pub(super) fn failed(&self) {
        self.failures.inc();
    }

    /// Who leads no more does not know what is in use.
    pub(super) fn forget(&self) {
        self.expiry.clear();
    }
}
