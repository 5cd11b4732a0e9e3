//! Accepting, draining, both at once, and how long one event takes.

use std::time::{Duration, Instant};

use super::figures::{Pair, Table, median, ratio};
use super::process::Process;
use super::program::Herald;
use super::server::Bench;
use super::support::machine::quantile;
use super::webhooks::DEFAULT_IN_FLIGHT;

/// Interleaved pairs of Herald and the bare client.
const PAIRS: usize = 5;
/// As many as the bare client of the published figures has.
const CONNECTIONS: usize = 64;
/// Of producers that send one event a request: with fewer, all of them wait at
/// times for the disk, and the processors for them.
const PRODUCERS: usize = 128;
/// How long a wait may be that should be short.
const LIMIT: Duration = Duration::from_mins(5);

/// Accept, each event matched to one webhook that is held.
pub async fn accept(bench: &Bench, table: &mut Table) {
    let herald = Herald::start(bench, "accept");
    bench.cluster.webhooks("accept", 1, CONNECTIONS, bench.sink.port).await;
    bench.cluster.all_have("Delivering", "True").await;
    bench.cluster.secret(false).await;
    bench.cluster.all_have("Delivering", "False").await;
    for (what, batch, count, target) in [
        ("accept, one event a request, 64 connections", 1, 300_000_u64, "15,000 events/s"),
        ("accept, batches of 100, 64 connections", 100, 1_500_000, "60,000 events/s"),
    ] {
        let cpu = herald.process.cpu_micros();
        let posted = bench.post(&herald, CONNECTIONS, batch, &["closed", &count.to_string()]);
        let cpu = (herald.process.cpu_micros() - cpu) / posted.events as f64;
        let rate = posted.events as f64 / posted.seconds;
        let figure = format!(
            "{rate:.0} events/s, {cpu:.1} us CPU each; a request p50 {:.2} ms, p99 {:.2} ms",
            posted.p50_ms, posted.p99_ms
        );
        table.row(what, figure, String::new(), target);
    }
    herald.end(bench, "accept").await;
    bench.cluster.secret(true).await;
}

/// A backlog that another process stored, to one healthy endpoint.
pub async fn drain(bench: &Bench, table: &mut Table) {
    let window = Duration::from_secs(10);
    let herald = Herald::start(bench, "drain");
    bench.cluster.webhooks("drain", 1, CONNECTIONS, bench.sink.port).await;
    bench.cluster.all_have("Delivering", "True").await;
    bench.cluster.secret(false).await;
    bench.cluster.all_have("Delivering", "False").await;
    bench.post(&herald, 16, 100, &["closed", "3000000"]);
    herald.stop();

    let herald = Herald::start(bench, "drain");
    let mut pairs = Vec::new();
    for _ in 0..PAIRS {
        let bare = bench.bare(CONNECTIONS, window.as_secs_f64() / 2.0);
        let before = bench.sink.seen().deliveries;
        bench.cluster.secret(true).await;
        let first = bench.wait_for(before + 1, LIMIT);
        let (begun, cpu) = (Instant::now(), herald.process.cpu_micros());
        tokio::time::sleep(window).await;
        let delivered = (bench.sink.seen().deliveries - first) as f64;
        let cpu = herald.process.cpu_micros() - cpu;
        pairs.push(Pair {
            herald: delivered / begun.elapsed().as_secs_f64(),
            bare,
            cpu_micros: cpu / delivered,
        });
        bench.cluster.secret(false).await;
        bench.sink.wait_for_silence();
    }
    ratio(table, "drain a stored backlog to one endpoint", "deliveries", &pairs, "0.60");
    table.memory("memory after that", herald.process.memory_mb(), "60 MB");
    herald.end(bench, "drain").await;
    bench.cluster.secret(true).await;
}

/// From the first request to the last delivery, all on one machine.
pub async fn accept_to_delivered(bench: &Bench, table: &mut Table) {
    let herald = Herald::start(bench, "through");
    bench.cluster.webhooks("through", 1, CONNECTIONS, bench.sink.port).await;
    bench.cluster.all_have("Delivering", "True").await;
    for (what, connections, batch, count, target) in [
        ("accept to delivered, one event a request", PRODUCERS, 1, 120_000_u64, "0.25"),
        ("accept to delivered, batches of 100", CONNECTIONS, 100, 200_000, "0.40"),
    ] {
        let load = Load { port: herald.port, connections, batch, count, copies: 1 };
        let pairs: Vec<Pair> = (0..PAIRS).map(|_| pair(bench, &herald.process, &load, CONNECTIONS)).collect();
        ratio(table, what, "deliveries", &pairs, target);
    }
    table.memory("memory at full load, one webhook", herald.process.memory_mb(), "60 MB");
    herald.end(bench, "through").await;
}

/// The same by a relay that looks into nothing and stores nothing: what two
/// exchanges cost, whoever makes them.
pub fn relay(bench: &Bench, table: &mut Table) {
    let (process, port) = bench.relay(CONNECTIONS);
    let load = Load { port, connections: CONNECTIONS, batch: 1, count: 240_000, copies: 1 };
    let pairs: Vec<Pair> = (0..PAIRS).map(|_| pair(bench, &process, &load, CONNECTIONS)).collect();
    ratio(table, "for comparison, a relay that stores nothing", "deliveries", &pairs, "");
}

/// One event to ten webhooks, and to a thousand; the bare client has as many
/// connections as there are webhooks, if that is more than it has else.
pub async fn fan_out(bench: &Bench, table: &mut Table) {
    for (webhooks, batch, count) in [(10, 10, 20_000), (1_000, 2, 400)] {
        let herald = Herald::start(bench, "fanout");
        bench.cluster.webhooks("fanout", webhooks, DEFAULT_IN_FLIGHT, bench.sink.port).await;
        bench.cluster.all_have("Delivering", "True").await;
        let (port, copies) = (herald.port, webhooks as u64);
        let load = Load { port, connections: CONNECTIONS, batch, count, copies };
        let limit = CONNECTIONS.max(webhooks);
        let pairs: Vec<Pair> = (0..PAIRS).map(|_| pair(bench, &herald.process, &load, limit)).collect();
        let what = format!("fan-out of one event to {webhooks} webhooks");
        ratio(table, &what, "deliveries", &pairs, "0.50");
        herald.end(bench, "fanout").await;
    }
}

/// What a producer sends.
struct Load {
    /// To whom.
    port: u16,
    connections: usize,
    /// Events in a request.
    batch: u64,
    /// Events in all.
    count: u64,
    /// Deliveries of each.
    copies: u64,
}

/// The bare client with so many connections, then a load until all of it is
/// delivered; `process` is the one between producer and sink.
fn pair(bench: &Bench, process: &Process, load: &Load, limit: usize) -> Pair {
    let bare = bench.bare(limit, 6.0);
    let before = bench.sink.seen().deliveries;
    let (begun, cpu) = (Instant::now(), process.cpu_micros());
    let Load { port, connections, batch, count, copies } = *load;
    bench.load(port, connections, batch, &["closed", &count.to_string()]).line();
    bench.wait_for(before + count * copies, LIMIT);
    let seconds = begun.elapsed().as_secs_f64();
    let deliveries = (count * copies) as f64;
    let cpu = process.cpu_micros() - cpu;
    Pair { herald: deliveries / seconds, bare, cpu_micros: cpu / deliveries }
}

/// Accept to arrival at a steady 300 events a second.
pub async fn latency(bench: &Bench, table: &mut Table) {
    let herald = Herald::start(bench, "latency");
    bench.cluster.webhooks("latency", 1, CONNECTIONS, bench.sink.port).await;
    bench.cluster.all_have("Delivering", "True").await;
    // What comes first pays for connections, tokens and sessions.
    bench.post(&herald, 8, 1, &["open", "300", "5"]);
    bench.sink.wait_for_silence();
    bench.sink.time_arrivals();
    let posted = bench.post(&herald, 8, 1, &["open", "300", "60"]);
    bench.sink.wait_for_silence();
    let millis = bench.sink.take_latencies();
    let figure = format!(
        "p50 {:.2} ms, p99 {:.2} ms, over {} events; accepted p50 {:.2} ms, p99 {:.2} ms",
        median(&millis),
        quantile(&millis, 0.99),
        millis.len(),
        posted.p50_ms,
        posted.p99_ms
    );
    table.row("sent to arrived at 300 events/s", figure, String::new(), "p50 1.5 ms, p99 5 ms");
    herald.end(bench, "latency").await;
}
