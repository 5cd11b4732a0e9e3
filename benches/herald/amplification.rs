//! What the journal costs the disk, and whether its size and its heads stay
//! what they are after millions of settled deliveries.
//!
//! ```text
//! fresh: lone events ── millions settled ── steady load ── lone events ── a backlog
//!        head read                          bytes written   head read     bytes on disk
//! ```
//!
//! What is kept after its delivery has small bounds here, so that they are
//! reached before the steady load begins: else its growth to them is all that is
//! seen.

use std::time::{Duration, Instant};

use herald::model::EventType;

use super::figures::{Table, median};
use super::load::Posted;
use super::program::{Herald, journal_directory};
use super::server::Bench;
use super::settings;
use super::support::machine::disk_bytes;
use super::webhooks::{Alike, DEFAULT_IN_FLIGHT};

/// Bounds of what is kept: events, attempts, ids.
const BOUNDS: [&str; 6] =
    ["--max-kept-bytes", "33554432", "--max-attempt-bytes", "16777216", "--dedupe-ids", "100000"];
/// What the webhook takes that all but a few events are for, and what the other takes.
const USED: EventType = EventType::UserCreated;
const UNUSED: EventType = EventType::UserUpdated;
const ROUNDS: usize = 3;
/// Requests a second of the steady load, each a batch.
const RATE: f64 = 300.0;
const BATCH: u64 = 10;
/// Events of the backlog at the end.
const BACKLOG: u64 = 300_000;
/// How often the size is looked at.
const EVERY: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_mins(5);

pub async fn of_the_journal(bench: &Bench, table: &mut Table) {
    let journal = journal_directory(bench, "amplification");
    let mut flags = vec!["--namespace", &bench.cluster.namespace];
    flags.extend(BOUNDS);
    let herald = Herald::start_with(bench, "amplification", &flags);
    let healthy = Alike::healthy("journal", 1, DEFAULT_IN_FLIGHT, bench.sink.port);
    bench.cluster.make(&healthy).await;
    let prefix = "unused".to_owned();
    bench.cluster.make(&Alike { prefix, events: &[UNUSED], ..healthy }).await;
    bench.cluster.all_have("Delivering", "True").await;
    let fresh = lone(bench, &herald, USED);

    let settled = settings::settled();
    let before = bench.sink.seen().deliveries;
    bench.post(&herald, 16, 100, &["closed", &settled.to_string()]);
    bench.wait_for(before + settled, LIMIT);

    let written = herald.process.written();
    let (posted, sizes) = steady(bench, &herald, || disk_bytes(&journal));
    bench.sink.wait_for_silence();
    let written = (herald.process.written() - written) as f64;
    let figure = format!(
        "{:.1} MB/s for {:.1} MB/s of events, {:.0} s long",
        written / posted.seconds / 1e6,
        posted.bytes as f64 / posted.seconds / 1e6,
        posted.seconds
    );
    let each = format!("{:.2}", written / posted.bytes as f64);
    table.row("bytes written for a byte of events", figure, each, "");
    let (first, last) = sizes.split_at(sizes.len() / 2);
    let (first, last) = (mean(first), mean(last));
    let figure = format!("{:.0} MB on disk in the first half, {:.0} MB in the last", first / 1e6, last / 1e6);
    table.row("steady load: size of the journal", figure, format!("{:.2}", last / first), "0.90 to 1.10");

    let rounds: Vec<[f64; 2]> =
        (0..ROUNDS).map(|_| [USED, UNUSED].map(|of| lone(bench, &herald, of))).collect();
    let of = |value: fn(&[f64; 2]) -> f64| median(&rounds.iter().map(value).collect::<Vec<_>>());
    let (after, unused) = (of(|[used, _]| *used), of(|[_, unused]| *unused));
    let total = settled + posted.events;
    let what = format!("sent to arrived of a lone event, {total} deliveries settled before it");
    let figure = format!(
        "p50 {after:.2} ms; of a webhook that had none {unused:.2} ms, in a fresh journal {fresh:.2} ms"
    );
    table.row(&what, figure, format!("{:.2}", of(|[used, unused]| used / unused)), "1.5");

    bench.cluster.secret(false).await;
    bench.cluster.all_have("Delivering", "False").await;
    let before = disk_bytes(&journal);
    let posted = bench.post(&herald, 16, 100, &["closed", &BACKLOG.to_string()]);
    let more = disk_bytes(&journal).saturating_sub(before) as f64;
    let figure =
        format!("{:.0} MB on disk more for {:.0} MB of events", more / 1e6, posted.bytes as f64 / 1e6);
    let what = "bytes on disk for a byte that waits";
    table.row(what, figure, format!("{:.2}", more / posted.bytes as f64), "");
    bench.cluster.secret(true).await;
    herald.end(bench, "amplification").await;
}

/// From sent to arrived of events of this type that come one at a time: each
/// wakes the lane, which reads its head. The median, in milliseconds.
fn lone(bench: &Bench, herald: &Herald, of: EventType) -> f64 {
    let of = of.wire_name();
    let load = |seconds| {
        bench.load_to(&bench.cluster.namespace, of, herald.port, 1, 1, &["open", "10", seconds]).line();
        bench.sink.wait_for_silence();
    };
    // What comes first pays for connections, tokens and sessions.
    load("2");
    bench.sink.time_arrivals();
    load("10");
    median(&bench.sink.take_latencies())
}

/// The steady load, and what `size` was all along.
fn steady(bench: &Bench, herald: &Herald, size: impl Fn() -> u64) -> (Posted, Vec<f64>) {
    let seconds = settings::steady();
    let how = ["open", &RATE.to_string(), &seconds.as_secs().to_string()];
    let mut load = bench.load(herald.port, 16, BATCH, &how);
    let begun = Instant::now();
    let mut sizes = Vec::new();
    while begun.elapsed() < seconds {
        sizes.push(size() as f64);
        std::thread::sleep(EVERY);
    }
    (load.result(), sizes)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
