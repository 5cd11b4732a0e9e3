//! What a delivery costs as the webhooks grow, while their number a second and
//! the connections of the bare client stay what they are: each event matches
//! one webhook, and all webhooks have their turn.
//!
//! An event is matched by namespace and type, so ten webhooks share a namespace
//! and each takes a type of its own.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use herald::model::EventType;

use super::cluster::Cluster;
use super::figures::{Pair, Table, median};
use super::load::Posted;
use super::process::Process;
use super::program::Herald;
use super::server::Bench;
use super::settings;
use super::webhooks::{Alike, DEFAULT_IN_FLIGHT};

const COUNTS: [usize; 4] = [1, 100, 1_000, 10_000];
/// Deliveries a second.
const RATE: f64 = 2_000.0;
/// How long the rate is held.
const SECONDS: f64 = 15.0;
/// Deliveries when it goes as fast as it can.
const FAST: u64 = 100_000;
const ROUNDS: usize = 3;
const CONNECTIONS: usize = 64;
const LIMIT: Duration = Duration::from_mins(5);

/// Webhooks of a namespace at most, each with a type of its own.
const TYPES: usize = 10;

/// One webhook, a hundred, a thousand, ten thousand.
pub async fn webhooks(bench: &Bench, table: &mut Table) {
    let mut first = None;
    for count in COUNTS.into_iter().filter(|&count| count <= settings::most_webhooks()) {
        let group = Group::make(bench, count).await;
        let herald = Herald::start_with(bench, "growth", &[]);
        group.settle(bench, &herald).await;
        let (mut fast, mut steady) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            fast.push(group.fast(bench, &herald));
            steady.push(group.steady(bench, &herald));
        }
        let of =
            |pairs: &[Pair], value: fn(&Pair) -> f64| median(&pairs.iter().map(value).collect::<Vec<_>>());
        let ratios =
            [of(&fast, |pair| pair.herald / pair.bare), of(&steady, |pair| pair.bare / pair.cpu_micros)];
        let base = *first.get_or_insert(ratios);
        let ratio = |at: usize| format!("{:.3}; {:.2} of one webhook's", ratios[at], ratios[at] / base[at]);
        let figure = format!(
            "{:.0} deliveries/s; bare client with as many connections {:.0}/s",
            of(&fast, |pair| pair.herald),
            of(&fast, |pair| pair.bare)
        );
        table.row(&format!("{count} webhooks, at full speed"), figure, ratio(0), "0.80 of one webhook's");
        let figure = format!(
            "{:.0} deliveries/s, {:.0} us CPU each; bare client {:.0} us",
            of(&steady, |pair| pair.herald),
            of(&steady, |pair| pair.cpu_micros),
            of(&steady, |pair| pair.bare)
        );
        table.row(&format!("{count} webhooks, at {RATE}/s"), figure, ratio(1), "0.80 of one webhook's");
        group.clear().await;
        herald.end(bench, "growth").await;
    }
}

/// Webhooks, spread over namespaces.
struct Group {
    webhooks: usize,
    clusters: Vec<Cluster>,
    namespaces: String,
    types: String,
}

impl Group {
    async fn make(bench: &Bench, webhooks: usize) -> Self {
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
    async fn settle(&self, bench: &Bench, herald: &Herald) {
        for cluster in &self.clusters {
            cluster.all_have("Ready", "True").await;
        }
        let count = (self.webhooks as u64).max(1_000);
        loop {
            let before = bench.sink.seen().deliveries;
            self.load(bench, herald, &["closed", &count.to_string()]).line();
            bench.sink.wait_for_silence();
            if bench.sink.seen().deliveries == before + count {
                return;
            }
        }
    }

    fn load(&self, bench: &Bench, herald: &Herald, how: &[&str]) -> Process {
        bench.load_to(&self.namespaces, &self.types, herald.port, CONNECTIONS, 1, how)
    }

    /// As many as go.
    fn fast(&self, bench: &Bench, herald: &Herald) -> Pair {
        let bare = bench.bare(self.webhooks, 6.0);
        let before = bench.sink.seen().deliveries;
        let (begun, cpu) = (Instant::now(), herald.process.cpu_micros());
        self.load(bench, herald, &["closed", &FAST.to_string()]).line();
        bench.wait_for(before + FAST, LIMIT);
        let cpu_micros = (herald.process.cpu_micros() - cpu) / FAST as f64;
        Pair { herald: FAST as f64 / begun.elapsed().as_secs_f64(), bare, cpu_micros }
    }

    /// At the steady rate: `bare` is what a request of the bare client costs.
    fn steady(&self, bench: &Bench, herald: &Herald) -> Pair {
        let bare = bench.bare_at(self.webhooks, SECONDS, RATE).cpu_micros;
        let before = bench.sink.seen().deliveries;
        let (begun, cpu) = (Instant::now(), herald.process.cpu_micros());
        let posted: Posted =
            self.load(bench, herald, &["open", &RATE.to_string(), &SECONDS.to_string()]).result();
        bench.wait_for(before + posted.events, LIMIT);
        let count = posted.events as f64;
        let cpu_micros = (herald.process.cpu_micros() - cpu) / count;
        Pair { herald: count / begun.elapsed().as_secs_f64(), bare, cpu_micros }
    }

    async fn clear(&self) {
        stream::iter(&self.clusters).for_each_concurrent(8, Cluster::clear).await;
    }
}
