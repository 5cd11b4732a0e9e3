//! How soon a process is there again after a crash with a long backlog.

use std::time::{Duration, Instant};

use super::figures::Table;
use super::program::Herald;
use super::server::Bench;
use super::settings;
use super::webhooks::DEFAULT_IN_FLIGHT;

/// Crashes of each; the worst counts.
const CRASHES: usize = 3;
const LIMIT: Duration = Duration::from_mins(2);

/// With all of it pending for one webhook, and for a thousand.
pub async fn after_a_crash(bench: &Bench, table: &mut Table) {
    for (webhooks, batch) in [(1_u64, 100), (1_000, 1)] {
        crashes(bench, table, webhooks, batch).await;
    }
}

async fn crashes(bench: &Bench, table: &mut Table, webhooks: u64, batch: u64) {
    let mut herald = Herald::start(bench, "recovery");
    let count = usize::try_from(webhooks).unwrap();
    bench.cluster.webhooks("recovery", count, DEFAULT_IN_FLIGHT, bench.sink.port).await;
    bench.cluster.all_have("Delivering", "True").await;
    bench.cluster.secret(false).await;
    bench.cluster.all_have("Delivering", "False").await;
    let events = settings::pending() / webhooks;
    let posted = bench.post(&herald, 16, batch, &["closed", &events.to_string()]);
    let pending = posted.events * webhooks;
    bench.sink.wait_for_silence();
    herald.kill();
    // Nothing of it goes out before the process is there again.
    bench.cluster.secret(true).await;

    let (mut ready, mut first) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..CRASHES {
        let before = bench.sink.seen().deliveries;
        herald = Herald::start(bench, "recovery");
        let begun = Instant::now();
        bench.wait_for(before + 1, LIMIT);
        (ready, first) = (ready.max(herald.ready_after), first.max(begun.elapsed()));
        herald.kill();
        // What was in flight arrives, and counts for none of them.
        bench.sink.wait_for_silence();
    }
    let what =
        format!("kill -9 with {pending} pending of {webhooks} webhooks: start to ready, worst of {CRASHES}");
    table.row(&what, format!("{:.2} s", ready.as_secs_f64()), String::new(), "3 s");
    let figure = format!("{:.2} s", first.as_secs_f64());
    table.row("from there to the first delivery, worst", figure, String::new(), "1 s");
    Herald::start(bench, "recovery").end(bench, "recovery").await;
}
