//! How long webhooks wait whose dispatcher is gone.

use std::time::{Duration, Instant};

use serde_json::json;

use super::super::endpoint::Endpoint;
use super::super::figures::{Table, median};
use super::super::producer::Producer;
use super::super::program::Herald;
use super::super::server::Bench;
use super::super::webhooks::{Alike, DEFAULT_IN_FLIGHT};
use super::dispatcher;
use super::nats::Cluster;

/// Webhooks of each order.
const EACH: usize = 24;
/// Events a second; each goes to all of them.
const RATE: f64 = 20.0;
const DISPATCHERS: usize = 3;
/// How long it is looked on after a dispatcher has gone.
const LONG: Duration = Duration::from_secs(30);
/// Who has had nothing for longer was among those whose dispatcher went.
const NOTICED: Duration = Duration::from_secs(2);
const ORDERS: [&str; 2] = ["None", "PerUser"];

/// By SIGKILL, and by SIGTERM.
pub async fn takeover(bench: &Bench, table: &mut Table) {
    let cluster = Cluster::start();
    let namespace = ["--namespace", &bench.cluster.namespace];
    let controller = Herald::controller(bench, "controller", &namespace);
    let mut endpoints = Vec::new();
    for order in ORDERS {
        for number in 0..EACH {
            let endpoint = Endpoint::start(&bench.files).await;
            let name = format!("takeover-{}-{number}", order.to_lowercase());
            let healthy = Alike::healthy(&name, 1, DEFAULT_IN_FLIGHT, endpoint.port);
            let delivery = json!({ "timeout": "5s", "ordering": order });
            bench.cluster.make(&Alike { delivery, ..healthy }).await;
            endpoints.push((order, endpoint));
        }
    }
    let mut dispatchers: Vec<Herald> =
        (0..DISPATCHERS).map(|number| dispatcher(bench, &cluster, number, &namespace)).collect();
    bench.cluster.all_have("Delivering", "True").await;
    let mut first = 0;
    for how in ["killed", "asked to end"] {
        let ports: Vec<u16> = dispatchers.iter().map(|herald| herald.port).collect();
        // To those that stay: what is accepted is another question.
        let producer = Producer::start(bench, "takeover", ports.get(1..).unwrap_or_default(), first, RATE);
        tokio::time::sleep(Duration::from_secs(3)).await;
        for (_, endpoint) in &endpoints {
            endpoint.take_silence();
        }
        let begun = Instant::now();
        let gone = dispatchers.remove(0);
        if how == "killed" {
            gone.kill();
        } else {
            gone.stop();
        }
        tokio::time::sleep(LONG.saturating_sub(begun.elapsed())).await;
        for order in ORDERS {
            let of_order = endpoints.iter().filter(|(its, _)| *its == order);
            let silences: Vec<f64> = of_order
                .map(|(_, endpoint)| endpoint.take_silence())
                .filter(|silence| how != "killed" || *silence > NOTICED)
                .map(|silence| silence.as_secs_f64())
                .collect();
            let worst = silences.iter().copied().fold(0.0, f64::max);
            let figure = format!(
                "{} of {EACH} webhooks had nothing for {:.1} s (median), {worst:.1} s at most",
                silences.len(),
                if silences.is_empty() { 0.0 } else { median(&silences) }
            );
            table.row(
                &format!("NATS, a dispatcher of {DISPATCHERS} is {how}, order {order}"),
                figure,
                String::new(),
                "",
            );
        }
        first = producer.end().await.accepted;
        dispatchers.push(dispatcher(bench, &cluster, DISPATCHERS, &namespace));
        bench.cluster.all_have("Delivering", "True").await;
    }
    bench.cluster.clear().await;
    dispatchers.into_iter().for_each(Herald::stop);
    controller.stop();
}
