//! What each source has said, and the sum of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicI64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::outbound::ClusterNetworks;

/// Where ranges are known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelValue)]
pub(super) enum Source {
    Nodes,
    Services,
    ApiServer,
    /// The client's own configuration.
    Client,
}

impl Source {
    pub(super) const ALL: [Self; 4] = [Self::Nodes, Self::Services, Self::ApiServer, Self::Client];

    /// What an administrator has to forbid where this is not known.
    pub(super) const fn instead(self) -> &'static str {
        match self {
            Self::Nodes => "--outbound-forbid with the ranges of pods and of nodes, external addresses too",
            Self::Services => "--outbound-forbid with the range of services",
            Self::ApiServer | Self::Client => "--outbound-forbid with the addresses of the API server",
        }
    }
}

/// How much of the cluster's networks is known.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    ranges: Family<Labels, Gauge<i64, AtomicI64>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    source: Source,
}

impl Metrics {
    /// Adds the family to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "herald_outbound_cluster_ranges",
            "Ranges and addresses of the cluster that were found out and are not called; 0 is what could not be found out",
            self.ranges.clone(),
        );
    }
}

/// Puts what the sources say together.
#[derive(Debug)]
pub(super) struct Board {
    sources: &'static [Source],
    networks: ClusterNetworks,
    metrics: Metrics,
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    ranges: BTreeMap<Source, Vec<IpNet>>,
    settled: BTreeSet<Source>,
}

impl Board {
    /// What is known is settled when each of `sources` is.
    pub(super) fn new(sources: &'static [Source], networks: ClusterNetworks, metrics: Metrics) -> Self {
        for source in Source::ALL {
            metrics.ranges.get_or_create(&Labels { source }).set(0);
        }
        Self { sources, networks, metrics, said: Mutex::default() }
    }

    /// These are all the ranges of `source`.
    pub(super) fn publish(&self, source: Source, ranges: Vec<IpNet>) {
        let count = i64::try_from(ranges.len()).unwrap_or(i64::MAX);
        self.metrics.ranges.get_or_create(&Labels { source }).set(count);
        let mut said = self.said();
        said.ranges.insert(source, ranges);
        let all: Vec<_> = said.ranges.values().flatten().copied().collect();
        self.networks.publish(&all);
    }

    /// There is nothing to wait for from `source`.
    pub(super) fn settle(&self, source: Source) {
        let mut said = self.said();
        said.settled.insert(source);
        if self.sources.iter().all(|source| said.settled.contains(source)) {
            self.networks.settle();
        }
    }

    /// Waits for as long as connections do, and tells whom there was nothing final from by then.
    pub(super) async fn late(&self) -> Vec<Source> {
        self.networks.settled().await;
        let said = self.said();
        self.sources.iter().copied().filter(|source| !said.settled.contains(source)).collect()
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_has_not_said_all_when_connections_wait_no_longer_is_late() {
        let start = Instant::now();
        let board = |seconds| {
            let networks = ClusterNetworks::awaited(start + Duration::from_secs(seconds));
            Board::new(&[Source::Nodes, Source::Services, Source::Client], networks, Metrics::default())
        };
        let some = board(10);
        some.settle(Source::Client);
        some.publish(Source::Services, Vec::new());
        assert_eq!(some.late().await, [Source::Nodes, Source::Services]);
        assert_eq!(start.elapsed().as_secs(), 10);
        let all = board(20);
        all.sources.iter().for_each(|source| all.settle(*source));
        assert_eq!(all.late().await, []);
        assert_eq!(start.elapsed().as_secs(), 10, "there is nothing to wait for");
    }
}
