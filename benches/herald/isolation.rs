//! How long an event of a healthy webhook takes, alone and beside others.
//!
//! ```text
//! round: others held, healthy measured ── others let go, healthy measured
//! ```
//!
//! The others are held by taking their Secret away, so that each round compares
//! one process with itself. A ratio is the median of the rounds. The healthy
//! endpoint and the others are processes of their own, apart from Herald.

use std::time::Duration;

use herald::model::EventType;

use super::cores::Apart;
use super::figures::{Table, median};
use super::load::Posted;
use super::program::Herald;
use super::server::{Bench, Sink};
use super::settings;
use super::sink::{HANG, Seen};
use super::support::machine::quantile;
use super::webhooks::{Alike, DEFAULT_IN_FLIGHT};

const ROUNDS: usize = 3;
/// How long a measurement takes, in seconds.
const WINDOW: &str = "12";
const RATE: &str = "300";
const HANGING: usize = 100;
/// Of each that hangs: more than all of them can try while they are looked at.
const EACH: u64 = 1_000;
/// The Secret of the others.
const OTHERS: &str = "others";
const LIMIT: Duration = Duration::from_mins(2);

/// The healthy webhook's p99, alone and beside others, in milliseconds.
struct Round {
    alone: f64,
    beside: f64,
}

/// What a round works with.
struct Scene<'a> {
    bench: &'a Bench,
    herald: Herald,
    healthy: Sink,
    others: Sink,
}

/// Beside a hundred endpoints that hang, with the circuits kept closed, and beside one that drains.
pub async fn all(bench: &Bench, table: &mut Table) {
    let apart = Apart::begin();
    hanging(bench, apart.as_ref(), table).await;
    draining(bench, apart.as_ref(), table).await;
}

async fn hanging(bench: &Bench, apart: Option<&Apart>, table: &mut Table) {
    let scene = Scene::new(bench, apart, HANGING, HANG).await;
    scene.queue(EACH);
    let mut rounds = Vec::new();
    let mut least = u64::MAX;
    for _ in 0..ROUNDS {
        wait(&scene.others, |seen| seen.hanging == 0);
        let alone = scene.p99();
        bench.cluster.secret_of(OTHERS, true).await;
        wait(&scene.others, |seen| seen.hanging >= HANGING as u64);
        let beside = scene.p99();
        least = least.min(scene.others.seen().hanging);
        bench.cluster.secret_of(OTHERS, false).await;
        rounds.push(Round { alone, beside });
    }
    assert!(least >= HANGING as u64, "only {least} attempts hung at the end of a round");
    let what = format!("a healthy webhook beside {HANGING} that hang ({least} attempts)");
    row(table, &what, &rounds, "1.2 times + 2 ms");
    scene.herald.end(bench, "isolation").await;
}

/// Beside one webhook that drains its backlog, and beside a bare client that
/// posts as fast as it can: what sharing the processors costs by itself.
async fn draining(bench: &Bench, apart: Option<&Apart>, table: &mut Table) {
    let pending = settings::pending();
    let scene = Scene::new(bench, apart, 1, "/others").await;
    let others = || scene.others.seen().others;
    let (first, mut queued) = (others(), 0);
    let mut rounds = Vec::new();
    let mut drained = Vec::new();
    for _ in 0..ROUNDS {
        scene.others_rest();
        let before = others();
        // Each round begins with all of it.
        let waits = queued - (before - first);
        queued += scene.queue(pending.saturating_sub(waits));
        let alone = scene.p99();
        bench.cluster.secret_of(OTHERS, true).await;
        wait(&scene.others, |seen| seen.others > before);
        let beside = scene.p99();
        drained.push((others() - before) as f64);
        bench.cluster.secret_of(OTHERS, false).await;
        rounds.push(Round { alone, beside });
    }
    let what = format!("a healthy webhook beside one that drains ({:.0} of {pending})", median(&drained));
    row(table, &what, &rounds, "2 times");

    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        scene.others_rest();
        let alone = scene.p99();
        let seconds: f64 = WINDOW.parse().unwrap();
        // Where Herald is, for it is in Herald's place.
        let bare = Apart::to_herald(apart, || {
            bench.start_bare(scene.others.port, DEFAULT_IN_FLIGHT, seconds + 2.0, 0.0)
        });
        let beside = scene.p99();
        bare.result();
        rounds.push(Round { alone, beside });
    }
    row(table, "for comparison, beside a bare client at full speed", &rounds, "");
    scene.herald.end(bench, "isolation").await;
}

impl<'a> Scene<'a> {
    /// A healthy webhook, and others that are held.
    async fn new(bench: &'a Bench, apart: Option<&Apart>, count: usize, path: &'static str) -> Self {
        let cluster = &bench.cluster;
        let (healthy, others) = (Sink::start(bench.directory()), Sink::start(bench.directory()));
        let flags = ["--namespace", &cluster.namespace, "--circuit-threshold", "0"];
        let herald = Herald::start_apart(apart, bench, "isolation", &flags);
        cluster.secret_of(OTHERS, true).await;
        cluster.webhooks("healthy", 1, DEFAULT_IN_FLIGHT, healthy.port).await;
        let other = Alike::healthy("other", count, DEFAULT_IN_FLIGHT, others.port);
        cluster.make(&Alike { path, events: &[EventType::UserUpdated], secret: OTHERS, ..other }).await;
        cluster.all_have("Delivering", "True").await;
        cluster.secret_of(OTHERS, false).await;
        let scene = Self { bench, herald, healthy, others };
        // What comes first pays for connections, tokens and sessions.
        bench.post(&scene.herald, 8, 1, &["open", RATE, "5"]);
        scene.healthy.wait_for_silence();
        scene
    }

    /// Queues so many events for each of the others, which are held; how many
    /// whole batches made of it.
    fn queue(&self, events: u64) -> u64 {
        if events == 0 {
            return 0;
        }
        let (namespace, batch, count) = (&self.bench.cluster.namespace, events.min(100), events.to_string());
        let (of, how) = (EventType::UserUpdated.wire_name(), ["closed", &count]);
        let posted: Posted = self.bench.load_to(namespace, of, self.herald.port, 16, batch, &how).result();
        posted.events
    }

    fn p99(&self) -> f64 {
        self.healthy.time_arrivals();
        self.bench.post(&self.herald, 8, 1, &["open", RATE, WINDOW]);
        self.healthy.wait_for_silence();
        quantile(&self.healthy.take_latencies(), 0.99)
    }

    /// Waits until nothing arrives at the others.
    fn others_rest(&self) {
        let mut before = u64::MAX;
        wait(&self.others, |seen| {
            std::thread::sleep(Duration::from_millis(300));
            std::mem::replace(&mut before, seen.others) == seen.others
        });
    }
}

fn wait(sink: &Sink, mut there: impl FnMut(&Seen) -> bool) {
    let begun = std::time::Instant::now();
    while !there(&sink.seen()) {
        assert!(begun.elapsed() < LIMIT, "{:?} after {LIMIT:?}", sink.seen());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn row(table: &mut Table, what: &str, rounds: &[Round], target: &str) {
    let of = |value: fn(&Round) -> f64| median(&rounds.iter().map(value).collect::<Vec<_>>());
    let (alone, beside) = (of(|round| round.alone), of(|round| round.beside));
    let ratio = of(|round| round.beside / round.alone);
    let figure = format!("p99 {beside:.2} ms; alone {alone:.2} ms");
    table.row(what, figure, format!("{ratio:.2}"), target);
}
