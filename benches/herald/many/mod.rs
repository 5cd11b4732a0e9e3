//! Several dispatchers that share one journal on three servers of NATS.
//!
//! ```text
//! load ──> dispatchers 1, 2, 4 ──> sink          plain publishes ──> NATS
//!               └── three servers ──┘               the limit, in the same run
//! ```
//!
//! All of them share the processors of one machine, so more dispatchers do not
//! deliver more here: what counts is what a delivery costs of dispatchers and
//! servers, and its part of what NATS alone gives in the same minute.

mod alone;
mod takeover;

use std::process::Command;
use std::time::{Duration, Instant};

use super::figures::{Table, median};
use super::group::Group;
use super::program::{HERALD, Herald};
use super::server::Bench;
use super::settings;
use super::support::machine::processor_time;
use alone::Alone;
use nats::Cluster;

#[path = "../../../tests/nats/mod.rs"]
mod nats;

pub use takeover::takeover;

const DISPATCHERS: [usize; 3] = [1, 2, 4];
const WEBHOOKS: [usize; 2] = [1_000, 5_000];
/// Webhooks while the dispatchers are more and more.
const FEW: usize = 100;
/// Deliveries when it goes as fast as it can.
const FAST: u64 = 30_000;
const ROUNDS: usize = 3;
const IDLE: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_mins(5);

/// More and more dispatchers, and more and more webhooks.
pub async fn scale(bench: &Bench, table: &mut Table) {
    for count in DISPATCHERS {
        let many = Many::start(bench, count, FEW).await;
        let rounds = many.rounds(bench).await;
        row(table, &format!("NATS, {count} dispatchers, {FEW} webhooks, at full speed"), &rounds);
        many.end().await;
    }
    for webhooks in WEBHOOKS.into_iter().filter(|&count| count <= settings::most_webhooks()) {
        let many = Many::start(bench, 2, webhooks).await;
        let rounds = many.rounds(bench).await;
        row(table, &format!("NATS, 2 dispatchers, {webhooks} webhooks, at full speed"), &rounds);
        many.idle(table, webhooks).await;
        many.end().await;
    }
}

/// Dispatchers, their servers, and webhooks.
struct Many {
    cluster: Cluster,
    controller: Herald,
    dispatchers: Vec<Herald>,
    group: Group,
    alone: Alone,
}

/// One measurement, and the limit just before it.
struct Round {
    alone: f64,
    rate: f64,
    /// Processor time of all dispatchers for a delivery, in microseconds.
    dispatchers: f64,
    /// The same of all servers.
    servers: f64,
}

/// The flags of a dispatcher on these servers.
fn flags(cluster: &Cluster) -> Vec<String> {
    let monitoring: Vec<String> = cluster.servers.iter().map(nats::Server::monitoring).collect();
    ["--journal-nats", &cluster.urls(), "--nats-monitoring", &monitoring.join(",")].map(str::to_owned).into()
}

fn dispatcher(bench: &Bench, cluster: &Cluster, number: usize, more: &[&str]) -> Herald {
    let flags = flags(cluster);
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
    Herald::dispatcher(Command::new(HERALD), bench, &format!("dispatcher-{number}"), &flags)
}

impl Many {
    async fn start(bench: &Bench, dispatchers: usize, webhooks: usize) -> Self {
        let cluster = Cluster::start();
        let alone = Alone::prepare(&cluster.urls()).await;
        let controller = Herald::controller(bench, "controller", &[]);
        let group = Group::make(bench, webhooks).await;
        let dispatchers: Vec<Herald> =
            (0..dispatchers).map(|number| dispatcher(bench, &cluster, number, &[])).collect();
        for herald in &dispatchers {
            group.settle(bench, herald.port).await;
        }
        Self { cluster, controller, dispatchers, group, alone }
    }

    async fn rounds(&self, bench: &Bench) -> Vec<Round> {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let alone = self.alone.rate().await;
            rounds.push(self.fast(bench, alone));
        }
        rounds
    }

    /// As many as go, sent to all dispatchers alike.
    fn fast(&self, bench: &Bench, alone: f64) -> Round {
        let each = FAST / self.dispatchers.len() as u64;
        let count = each * self.dispatchers.len() as u64;
        let before = bench.sink.seen().deliveries;
        let (begun, dispatchers, servers) =
            (Instant::now(), self.cpu_of_dispatchers(), self.cpu_of_servers());
        let how = ["closed", &each.to_string()];
        let producers: Vec<_> =
            self.dispatchers.iter().map(|herald| self.group.load(bench, herald.port, &how)).collect();
        for mut producer in producers {
            producer.line();
        }
        bench.wait_for(before + count, LIMIT);
        let count = count as f64;
        Round {
            alone,
            rate: count / begun.elapsed().as_secs_f64(),
            dispatchers: (self.cpu_of_dispatchers() - dispatchers) / count,
            servers: (self.cpu_of_servers() - servers) / count,
        }
    }

    /// What it costs while nothing comes.
    async fn idle(&self, table: &mut Table, webhooks: usize) {
        // Connections close and the log is shortened after a load.
        tokio::time::sleep(2 * IDLE).await;
        let (dispatchers, servers) = (self.cpu_of_dispatchers(), self.cpu_of_servers());
        tokio::time::sleep(IDLE).await;
        let share = |micros: f64| micros / IDLE.as_secs_f64() / 10_000.0;
        let figure = format!(
            "{:.2} % of a core each dispatcher, {:.2} % all three servers",
            share(self.cpu_of_dispatchers() - dispatchers) / self.dispatchers.len() as f64,
            share(self.cpu_of_servers() - servers),
        );
        table.row(&format!("NATS, 2 dispatchers, {webhooks} webhooks, idle"), figure, String::new(), "");
        let memory: Vec<f64> = self.dispatchers.iter().map(|herald| herald.process.memory_mb()).collect();
        table.memory(&format!("NATS, {webhooks} webhooks, memory of a dispatcher"), median(&memory), "");
    }

    /// In microseconds, to a hundredth of a second.
    fn cpu_of_dispatchers(&self) -> f64 {
        self.dispatchers.iter().map(|herald| herald.process.cpu_micros()).sum()
    }

    fn cpu_of_servers(&self) -> f64 {
        let servers = self.cluster.servers.iter().filter_map(nats::Server::process_id);
        servers.map(|process| processor_time(process).as_secs_f64() * 1e6).sum()
    }

    async fn end(self) {
        self.group.clear().await;
        for herald in self.dispatchers {
            herald.stop();
        }
        self.controller.stop();
    }
}

fn row(table: &mut Table, what: &str, rounds: &[Round]) {
    let of = |value: fn(&Round) -> f64| median(&rounds.iter().map(value).collect::<Vec<_>>());
    let figure = format!(
        "{:.0} deliveries/s, CPU each {:.0} us of the dispatchers, {:.0} us of the servers; NATS alone {:.0} publishes/s",
        of(|round| round.rate),
        of(|round| round.dispatchers),
        of(|round| round.servers),
        of(|round| round.alone),
    );
    table.row(what, figure, format!("{:.2}", of(|round| round.rate / round.alone)), "");
}
