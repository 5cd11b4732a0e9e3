//! Webhooks spread over namespaces, so that each event matches one of them and all have their turn.
//!
//! An event is matched by namespace and type, so ten webhooks share a namespace
//! and each takes a type of its own.

use futures::{StreamExt as _, stream};
use herald::model::EventType;

use super::cluster::Cluster;
use super::process::Process;
use super::server::Bench;
use super::webhooks::{Alike, DEFAULT_IN_FLIGHT};

/// Connections of a producer.
const CONNECTIONS: usize = 64;

/// Webhooks of a namespace at most, each with a type of its own.
const TYPES: usize = 10;

/// Webhooks, spread over namespaces.
pub struct Group {
    pub webhooks: usize,
    clusters: Vec<Cluster>,
    namespaces: String,
    types: String,
}

impl Group {
    /// Makes them.
    pub async fn make(bench: &Bench, webhooks: usize) -> Self {
        let each = webhooks.min(TYPES);
        let run = uuid::Uuid::new_v4().simple().to_string();
        let clusters: Vec<Cluster> = stream::iter(0..webhooks / each)
            .map(|number| bench.cluster.another(format!("bench-{}-{number}", &run[..8])))
            .buffer_unordered(8)
            .collect()
            .await;
        let healthy = Alike::healthy("growth", each, DEFAULT_IN_FLIGHT, bench.sink.port);
        let alike = &Alike { events: &EventType::ALL, ..healthy };
        stream::iter(&clusters).for_each_concurrent(8, |cluster| cluster.make(alike)).await;
        let names: Vec<&str> = clusters.iter().map(|cluster| cluster.namespace.as_str()).collect();
        let types = EventType::ALL[..each].iter().map(|event_type| event_type.wire_name());
        let types = types.collect::<Vec<_>>().join(",");
        Self { webhooks, namespaces: names.join(","), types, clusters }
    }

    /// Waits until each has proved itself and has had an event, which pays for
    /// its connection.
    pub async fn settle(&self, bench: &Bench, port: u16) {
        for cluster in &self.clusters {
            cluster.all_have("Ready", "True").await;
        }
        let count = (self.webhooks as u64).max(1_000);
        loop {
            let before = bench.sink.seen().deliveries;
            self.load(bench, port, &["closed", &count.to_string()]).line();
            bench.sink.wait_for_silence();
            if bench.sink.seen().deliveries == before + count {
                return;
            }
        }
    }

    /// Starts a producer for all of them.
    pub fn load(&self, bench: &Bench, port: u16, how: &[&str]) -> Process {
        bench.load_to(&self.namespaces, &self.types, port, CONNECTIONS, 1, how)
    }

    /// Takes them away.
    pub async fn clear(&self) {
        stream::iter(&self.clusters).for_each_concurrent(8, Cluster::clear).await;
    }
}
