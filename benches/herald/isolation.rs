//! How long an event of a healthy webhook takes, alone and beside others.
//!
//! ```text
//! round: others held, healthy measured ── others let go, healthy measured
//! ```
//!
//! The others are held by taking their Secret away, so that each round compares
//! one process with itself. A ratio is the median of the rounds.

use std::time::Duration;

use super::figures::{Table, median};
use super::load::Posted;
use super::program::Herald;
use super::server::Bench;
use super::settings;
use super::sink::HANG;
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

/// Beside a hundred endpoints that hang, with the circuits kept closed.
pub async fn hanging(bench: &Bench, table: &mut Table) {
    let herald = with_others(bench, HANGING, HANG).await;
    queue(bench, &herald, EACH);
    let mut rounds = Vec::new();
    let mut least = u64::MAX;
    for _ in 0..ROUNDS {
        wait(bench, |bench| bench.seen().hanging == 0);
        let alone = p99(bench, &herald);
        bench.cluster.secret_of(OTHERS, true).await;
        wait(bench, |bench| bench.seen().hanging >= HANGING as u64);
        let beside = p99(bench, &herald);
        least = least.min(bench.seen().hanging);
        bench.cluster.secret_of(OTHERS, false).await;
        rounds.push(Round { alone, beside });
    }
    assert!(least >= HANGING as u64, "only {least} attempts hung at the end of a round");
    let what = format!("a healthy webhook beside {HANGING} that hang ({least} attempts)");
    row(table, &what, &rounds, "1.2 times + 2 ms");
    herald.end(bench, "isolation").await;
}

/// Beside one webhook that drains its backlog, and beside a bare client that
/// posts as fast as it can: what sharing the processors costs by itself.
pub async fn draining(bench: &Bench, table: &mut Table) {
    let pending = settings::pending();
    let herald = with_others(bench, 1, "/others").await;
    let (first, mut queued) = (bench.seen().others, 0);
    let mut rounds = Vec::new();
    let mut drained = Vec::new();
    for _ in 0..ROUNDS {
        still(bench);
        let before = bench.seen().others;
        // Each round begins with all of it.
        let waits = queued - (before - first);
        queued += queue(bench, &herald, pending.saturating_sub(waits));
        let alone = p99(bench, &herald);
        bench.cluster.secret_of(OTHERS, true).await;
        wait(bench, |bench| bench.seen().others > before);
        let beside = p99(bench, &herald);
        drained.push((bench.seen().others - before) as f64);
        bench.cluster.secret_of(OTHERS, false).await;
        rounds.push(Round { alone, beside });
    }
    let what = format!("a healthy webhook beside one that drains ({:.0} of {pending})", median(&drained));
    row(table, &what, &rounds, "2 times");

    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        still(bench);
        let alone = p99(bench, &herald);
        let seconds: f64 = WINDOW.parse().unwrap();
        let bare = bench.start_bare(DEFAULT_IN_FLIGHT, seconds + 2.0, 0.0);
        let beside = p99(bench, &herald);
        bare.result();
        rounds.push(Round { alone, beside });
    }
    row(table, "for comparison, beside a bare client at full speed", &rounds, "");
    herald.end(bench, "isolation").await;
}

/// A healthy webhook, and others that are held.
async fn with_others(bench: &Bench, count: usize, path: &'static str) -> Herald {
    let cluster = &bench.cluster;
    let flags = ["--namespace", &cluster.namespace, "--circuit-threshold", "0"];
    let herald = Herald::start_with(bench, "isolation", &flags);
    cluster.secret_of(OTHERS, true).await;
    cluster.webhooks("healthy", 1, DEFAULT_IN_FLIGHT, bench.sink_port).await;
    let healthy = Alike::healthy("other", count, DEFAULT_IN_FLIGHT, bench.sink_port);
    cluster.make(&Alike { path, events: &["User updated"], secret: OTHERS, ..healthy }).await;
    cluster.all_have("Delivering", "True").await;
    cluster.secret_of(OTHERS, false).await;
    // What comes first pays for connections, tokens and sessions.
    bench.post(&herald, 8, 1, &["open", RATE, "5"]);
    bench.wait_for_silence();
    herald
}

/// Queues so many events for each of the others, which are held; how many
/// whole batches made of it.
fn queue(bench: &Bench, herald: &Herald, events: u64) -> u64 {
    if events == 0 {
        return 0;
    }
    let (namespace, batch, count) = (&bench.cluster.namespace, events.min(100), events.to_string());
    let mut load = bench.load_to(namespace, "user.updated", herald.port, 16, batch, &["closed", &count]);
    let posted: Posted = serde_json::from_str(&load.line()).unwrap();
    posted.events
}

fn p99(bench: &Bench, herald: &Herald) -> f64 {
    bench.time_arrivals();
    bench.post(herald, 8, 1, &["open", RATE, WINDOW]);
    bench.wait_for_silence();
    quantile(&bench.take_latencies(), 0.99)
}

/// Waits until nothing arrives at the others.
fn still(bench: &Bench) {
    let mut before = u64::MAX;
    wait(bench, |bench| {
        std::thread::sleep(Duration::from_millis(300));
        let now = bench.seen().others;
        std::mem::replace(&mut before, now) == now
    });
}

fn wait(bench: &Bench, mut there: impl FnMut(&Bench) -> bool) {
    let begun = std::time::Instant::now();
    while !there(bench) {
        assert!(begun.elapsed() < LIMIT, "{:?} after {LIMIT:?}", bench.seen());
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
