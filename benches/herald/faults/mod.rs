//! Three dispatchers on three servers of NATS under a steady load, and one fault after the other.
//!
//! ```text
//!            ┌─> dispatcher 0 ─┐        ┌─ server 0, disk 0
//! producer ──┼─> dispatcher 1 ─┼─ cut? ─┼─ server 1, disk 1     endpoints ──> ledger, order, silence
//!            └─> dispatcher 2 ─┘        └─ server 2, disk 2
//! ```
//!
//! It stands on what `tools/fault-ground` made. After each fault everything has to go on by itself:
//! but that what ended is started again, as a kubelet would, nothing is done.
//!
//! **Guarantees.** It fails if an acknowledged event is neither received nor a dead letter, for any
//! webhook, or if a webhook with an order per user gets one before another that was acknowledged
//! before it was sent.

mod acts;
mod clocks;
mod dispatchers;
mod ground;
mod order;
mod servers;

use std::time::{Duration, Instant};

use serde_json::json;

use super::endpoint::{Endpoint, Mood};
use super::ledger::{Ledger, dead_letters};
use super::producer::{Post, Producer, Sent};
use super::program::Herald;
use super::server::Bench;
use super::settings;
use super::webhooks::{Alike, DEFAULT_IN_FLIGHT};

use self::acts::Fault;
use self::dispatchers::Dispatchers;
use self::ground::Ground;
use self::order::out_of_order;
use self::servers::Servers;

/// How long the load runs before a fault, and after it.
const CALM: Duration = Duration::from_secs(5);
/// How long what was acknowledged may take to arrive at endpoints that are well.
const LIMIT: Duration = Duration::from_mins(2);
/// Webhooks of each kind: the order, how the endpoint is, and how many. So many that each dispatcher
/// has some of each.
const WEBHOOKS: [(&str, Mood, usize); 4] = [
    ("None", Mood::Takes, 9),
    ("PerUser", Mood::Takes, 9),
    ("None", Mood::Hangs, 1),
    ("None", Mood::Fails, 1),
];

/// The order of each webhook, and how its endpoint is.
fn webhooks() -> impl Iterator<Item = (&'static str, Mood)> {
    WEBHOOKS.into_iter().flat_map(|(order, mood, count)| std::iter::repeat_n((order, mood), count))
}

/// All that a fault may strike.
struct World {
    ground: Ground,
    servers: Servers,
    dispatchers: Dispatchers,
    bench: Bench,
    endpoints: Vec<Endpoint>,
    /// While there is load.
    producer: Option<Producer>,
    run: String,
    next: u64,
    posts: Vec<Post>,
}

/// Goes through the faults whose names have one of these words, or all; prints the table, and
/// panics if it is not good.
pub async fn run(only: &[&str]) {
    let (mut world, controller) = World::start().await;
    let mut rows = Vec::new();
    let chosen =
        |fault: &Fault| only.is_empty() || only.iter().any(|word| format!("{fault:?}").contains(word));
    for fault in Fault::ALL.into_iter().filter(chosen) {
        let row = world.through(fault).await;
        println!("{row}");
        rows.push(row);
    }
    let ledger = world.close().await;
    let reordered = world.reordered();
    println!("\n{}", Row::HEAD);
    for row in &rows {
        println!("{row}");
    }
    println!("\n{ledger}| out of their user's order | {reordered} |");
    controller.stop();
    let missing: usize = rows.iter().map(|row| row.missing).sum();
    assert!(ledger.lost == 0 && missing == 0 && reordered == 0, "see the tables");
}

impl World {
    async fn start() -> (Self, Herald) {
        let bench = Bench::start().await;
        let ground = Ground::here();
        let servers = Servers::start(&ground).await;
        let mut endpoints = Vec::new();
        for (number, (order, _)) in webhooks().enumerate() {
            let endpoint = Endpoint::start(&bench.files).await;
            let healthy = Alike::healthy(&format!("soak-{number}"), 1, DEFAULT_IN_FLIGHT, endpoint.port);
            let backoff = json!({ "initial": "1s", "max": "5s" });
            let delivery =
                json!({ "timeout": "1s", "maxAttempts": 5, "ordering": order, "backoff": backoff });
            bench.cluster.make(&Alike { delivery, ..healthy }).await;
            endpoints.push(endpoint);
        }
        let controller = Herald::controller(&bench, "controller", &["--namespace", &bench.cluster.namespace]);
        let dispatchers = Dispatchers::start(&bench, &ground);
        bench.cluster.all_have("Delivering", "True").await;
        for (endpoint, (_, mood)) in endpoints.iter().zip(webhooks()) {
            endpoint.be(mood);
        }
        let run = uuid::Uuid::new_v4().simple().to_string();
        let (producer, posts) = (None, Vec::new());
        (Self { ground, servers, dispatchers, bench, endpoints, producer, run, next: 0, posts }, controller)
    }

    /// The endpoints that take what comes, and the order of each.
    fn well(&self) -> impl Iterator<Item = (&'static str, &Endpoint)> {
        let all = webhooks().zip(&self.endpoints);
        all.filter(|((_, mood), _)| *mood == Mood::Takes).map(|((order, _), endpoint)| (order, endpoint))
    }

    /// One fault, from calm to calm.
    async fn through(&mut self, fault: Fault) -> Row {
        self.servers.are_whole().await;
        self.dispatchers.are_ready().await;
        let ports = self.dispatchers.ports();
        let (first, repeats) = (self.next, self.repeats());
        for (_, endpoint) in self.well() {
            endpoint.take_silence();
        }
        self.producer = Some(Producer::start(&self.bench, &self.run, &ports, first, settings::rate()));
        tokio::time::sleep(CALM).await;
        self.carry_out(fault).await;
        let over = Instant::now();
        let restarts = self.restart_the_ended_for(CALM).await;
        let sent = self.producer.take().unwrap().end().await;
        let restarts = restarts + self.arrive(&sent, first).await;
        let missing = self.well().map(|(_, endpoint)| endpoint.missing(first..sent.accepted).len()).sum();
        let row = Row {
            fault,
            events: sent.accepted - first,
            again: sent.again,
            longest: sent.longest,
            silence: self.silence("None"),
            silence_of_users: self.silence("PerUser"),
            repeats: self.repeats() - repeats,
            missing,
            restarts,
            after: over.elapsed(),
        };
        self.next = sent.accepted;
        self.posts.extend(sent.posts);
        row
    }

    /// As a kubelet would, and for a while.
    async fn restart_the_ended_for(&mut self, time: Duration) -> usize {
        let (begun, mut count) = (Instant::now(), 0);
        while begun.elapsed() < time {
            let producer = self.producer.as_ref();
            let moved = |number, port| producer.into_iter().for_each(|producer| producer.moved(number, port));
            count += self.dispatchers.restart_the_ended(&self.bench, moved);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        count
    }

    /// Waits until the endpoints that are well have everything, or for as long as that may take.
    async fn arrive(&mut self, sent: &Sent, first: u64) -> usize {
        let (begun, mut restarts) = (Instant::now(), 0);
        let all = |world: &Self| {
            world.well().all(|(_, endpoint)| endpoint.missing(first..sent.accepted).is_empty())
        };
        while !all(self) && begun.elapsed() < LIMIT {
            restarts += self.restart_the_ended_for(Duration::from_millis(100)).await;
        }
        restarts
    }

    /// What came more than once, to those that are well.
    fn repeats(&self) -> u64 {
        self.well().map(|(_, endpoint)| endpoint.taken().1).sum()
    }

    /// The longest that one of those with such an order had nothing; the next one begins now.
    fn silence(&self, order: &str) -> Duration {
        let of = self.well().filter(|(its, _)| *its == order);
        of.map(|(_, endpoint)| endpoint.take_silence()).max().unwrap_or_default()
    }

    /// What came out of its order, at all webhooks with one.
    fn reordered(&self) -> usize {
        let ordered = self.well().filter(|(order, _)| *order == "PerUser");
        ordered.map(|(_, endpoint)| out_of_order(&self.posts, &endpoint.order())).sum()
    }

    /// All endpoints are well; what has come to them and what is a dead letter once nothing waits.
    async fn close(&mut self) -> Ledger {
        self.endpoints.iter().for_each(|endpoint| endpoint.be(Mood::Takes));
        let begun = Instant::now();
        loop {
            let port = self.dispatchers.ports()[0];
            let dead = |number| dead_letters(&self.bench, port, &format!("soak-{number}-0"));
            let ledger = Ledger::close(&self.endpoints, self.next, dead);
            if ledger.lost == 0 || begun.elapsed() > LIMIT {
                return ledger;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }
}

/// What came of a fault.
struct Row {
    fault: Fault,
    events: u64,
    again: u64,
    longest: Duration,
    silence: Duration,
    silence_of_users: Duration,
    repeats: u64,
    missing: usize,
    restarts: usize,
    after: Duration,
}

impl Row {
    const HEAD: &str = "| fault | events | posted again | accepted after at most | silence, no order \
                        | silence, order per user | received again | lost | restarts | all there after |\n\
                        |---|---|---|---|---|---|---|---|---|---|";
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { fault, events, again, repeats, missing, restarts, .. } = self;
        let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
        write!(
            f,
            "| {} | {events} | {again} | {} | {} | {} | {repeats} | {missing} | {restarts} | {} |",
            fault.name(),
            seconds(self.longest),
            seconds(self.silence),
            seconds(self.silence_of_users),
            seconds(self.after),
        )
    }
}
