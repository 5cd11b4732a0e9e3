//! Ten thousand Webhooks in one process.

use std::time::{Duration, Instant};

use kube::ResourceExt as _;
use kube::runtime::wait::await_condition;

use herald::api::Webhook;

use super::figures::{Table, median};
use super::program::Herald;
use super::server::Bench;
use super::webhooks::DEFAULT_IN_FLIGHT;

const WEBHOOKS: usize = 10_000;
const IDLE: Duration = Duration::from_mins(1);
const SINGLES: usize = 20;

pub async fn ten_thousand(bench: &Bench, table: &mut Table) {
    let herald = Herald::start(bench, "scale");
    let begun = Instant::now();
    bench.cluster.webhooks("scale", WEBHOOKS, DEFAULT_IN_FLIGHT, bench.sink.port).await;
    bench.cluster.all_have("Ready", "True").await;
    let figure = format!("{:.0} s from the first apply to the last proof", begun.elapsed().as_secs_f64());
    table.row("10,000 Webhooks applied and verified", figure, String::new(), "");
    // The dispatcher writes its conditions twenty a second.
    bench.cluster.all_have("Delivering", "True").await;
    herald.stop();

    let challenges = bench.sink.seen().challenges;
    let herald = Herald::start(bench, "scale");
    let ready = format!("{:.1} s", herald.ready_after.as_secs_f64());
    table.row("10,000 Webhooks: start to ready", ready, String::new(), "10 s");
    let cpu = herald.process.cpu_micros();
    tokio::time::sleep(IDLE).await;
    let share = (herald.process.cpu_micros() - cpu) / IDLE.as_secs_f64() / 10_000.0;
    table.row("10,000 Webhooks: idle", format!("{share:.2} % of a core"), String::new(), "1 %");
    table.memory("10,000 Webhooks: memory", herald.process.memory_mb(), "250 MB");
    let sent = bench.sink.seen().challenges - challenges;
    table.row("10,000 Webhooks: challenges at start", sent.to_string(), String::new(), "0");

    let mut millis = Vec::new();
    for number in 0..SINGLES {
        let begun = Instant::now();
        bench.cluster.webhooks(&format!("single-{number}"), 1, DEFAULT_IN_FLIGHT, bench.sink.port).await;
        let name = format!("single-{number}-0");
        let proved = |webhook: Option<&Webhook>| {
            webhook.is_some_and(|webhook| {
                let status = webhook.status.as_ref();
                webhook.name_any() == name && status.is_some_and(|status| status.verification.is_some())
            })
        };
        await_condition(bench.cluster.api(), &name, proved).await.unwrap();
        millis.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    let worst = millis.iter().copied().fold(0.0, f64::max);
    let figure = format!("p50 {:.0} ms, worst {worst:.0} ms from apply to proof", median(&millis));
    table.row("10,000 Webhooks: one more", figure, String::new(), "200 ms");
    bench.cluster.clear().await;
    herald.stop();
}
