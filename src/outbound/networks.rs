//! The cluster's own ranges, as far as somebody has found them out.
//!
//! ```text
//! publish(ranges) ─> sorted and merged ─> contains(address), on the way of every connection
//! ```
//!
//! The set is replaced as a whole, so a reader sees one state of it. Connections
//! wait until it is settled, and not for ever: after that time they are checked
//! against what is known by then, be it a part or nothing.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use ipnet::IpNet;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// A set of ranges that grows and shrinks with the cluster. Clones share it.
#[derive(Clone, Debug)]
pub struct ClusterNetworks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ranges: RwLock<Ranges>,
    settled: watch::Sender<bool>,
    /// When nobody waits any longer.
    until: Instant,
}

/// Without overlaps, in order.
#[derive(Debug, Default)]
struct Ranges(Vec<IpNet>);

impl Default for ClusterNetworks {
    /// Empty for good: nobody looks for them.
    fn default() -> Self {
        let it = Self::awaited(Instant::now());
        it.settle();
        it
    }
}

impl ClusterNetworks {
    /// Empty, and somebody is going to say what there is; connections wait for that, until `until` at most.
    pub fn awaited(until: Instant) -> Self {
        Self(Arc::new(Inner { ranges: RwLock::default(), settled: watch::Sender::new(false), until }))
    }

    /// These are all that are known now.
    pub fn publish(&self, ranges: &[IpNet]) {
        let ranges = Ranges::new(ranges);
        *self.0.ranges.write().unwrap_or_else(PoisonError::into_inner) = ranges;
    }

    /// What is known is as good as it gets for now: nobody has to wait.
    pub fn settle(&self) {
        self.0.settled.send_replace(true);
    }

    /// Waits until connections may be made.
    pub(crate) async fn settled(&self) {
        let mut settled = self.0.settled.subscribe();
        // The sender lives in `self`; running out of time is as good.
        drop(timeout_at(self.0.until, settled.wait_for(|settled| *settled)).await);
    }

    /// Whether it is an address of the cluster.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.0.ranges.read().unwrap_or_else(PoisonError::into_inner).contains(address)
    }
}

impl Ranges {
    fn new(ranges: &[IpNet]) -> Self {
        let mut merged = IpNet::aggregate(&ranges.to_vec());
        merged.sort_unstable_by_key(IpNet::network);
        Self(merged)
    }

    fn contains(&self, address: IpAddr) -> bool {
        let after = self.0.partition_point(|range| range.network() <= address);
        after.checked_sub(1).and_then(|last| self.0.get(last)).is_some_and(|range| range.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_address_is_in_the_set_exactly_if_it_is_in_one_of_the_ranges() {
        let networks = ClusterNetworks::default();
        let ranges = [
            "203.1.0.0/16",
            "203.1.7.0/24",
            "9.0.0.8/29",
            "9.0.0.16/32",
            "203.0.0.0/16",
            "2a00:1::/64",
            "2a00:2::1/128",
        ];
        let ranges: Vec<IpNet> = ranges.iter().map(|range| range.parse().unwrap()).collect();
        networks.publish(&ranges);
        let edges = [
            "9.0.0.7",
            "9.0.0.8",
            "9.0.0.15",
            "9.0.0.16",
            "9.0.0.17",
            "202.255.255.255",
            "203.0.0.0",
            "203.1.255.255",
            "203.2.0.0",
            "0.0.0.0",
            "255.255.255.255",
            "2a00::",
            "2a00:1::",
            "2a00:1::ffff",
            "2a00:1:0:1::",
            "2a00:2::",
            "2a00:2::1",
            "2a00:2::2",
            "::",
            "ffff::",
        ];
        for edge in edges {
            let address: IpAddr = edge.parse().unwrap();
            let in_one = ranges.iter().any(|range| range.contains(&address));
            assert_eq!(networks.contains(address), in_one, "{edge}");
        }
        networks.publish(&[]);
        assert!(!networks.contains("203.1.0.1".parse().unwrap()));
    }

    #[tokio::test(start_paused = true)]
    async fn connections_wait_for_the_first_ranges_and_not_for_ever() {
        let start = Instant::now();
        let networks = ClusterNetworks::awaited(start + Duration::from_secs(10));
        let other = networks.clone();
        let first = tokio::spawn(async move {
            other.settled().await;
            start.elapsed()
        });
        tokio::time::sleep(Duration::from_secs(4)).await;
        networks.settle();
        assert_eq!(first.await.unwrap().as_secs(), 4);
        ClusterNetworks::awaited(start + Duration::from_secs(10)).settled().await;
        assert_eq!(start.elapsed().as_secs(), 10);
        ClusterNetworks::default().settled().await;
        assert_eq!(start.elapsed().as_secs(), 10);
    }
}
