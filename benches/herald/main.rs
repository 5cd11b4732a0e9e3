//! The figures that README quotes: the whole product as a process, on a real
//! API server and the disk at hand, beside the limits of the same machine in
//! the same run.
//!
//! ```text
//! load ──TLS──> herald run ──TLS──> sink        bare ──TLS──> sink        fdatasync
//! ```
//!
//! Load, sink and bare client are children of this process, each its own
//! program, so that the processor time of each can be told. A ratio is the
//! median of interleaved pairs: on machines that others use too, ratios hold
//! where seconds do not.
//!
//! `make bench` runs it; `make bench ONLY=drain,latency` runs some of it. `make
//! soak` and `make faults` run other things on the same ground: see `soak` and `faults`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark ends by a panic, prints its figures, and rounds them"
)]

mod amplification;
mod bare;
mod cluster;
mod cores;
mod disk;
mod endpoint;
mod faults;
mod figures;
mod group;
mod growth;
mod isolation;
mod ledger;
mod load;
mod many;
mod process;
mod producer;
mod program;
mod recovery;
mod relay;
mod scale;
mod server;
mod settings;
mod sink;
mod soak;
#[path = "../support/mod.rs"]
mod support;
mod throughput;
mod webhooks;

use figures::Table;
use tokio::runtime::Builder;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["sink", rest @ ..] => block_on(sink::run(rest)),
        ["bare", rest @ ..] => block_on(bare::run(rest)),
        ["relay", rest @ ..] => block_on(relay::run(rest)),
        // On one thread: a producer on a machine of its own would cost Herald nothing, so this one
        // is to cost little.
        ["load", rest @ ..] => {
            Builder::new_current_thread().enable_all().build().unwrap().block_on(load::run(rest));
        }
        ["soak"] => block_on(soak::run()),
        ["faults", only @ ..] => block_on(faults::run(only)),
        // What Cargo passes when it only checks that benchmarks run.
        ["--test", ..] => {}
        only => block_on(all(only)),
    }
}

fn block_on(work: impl Future<Output = ()>) {
    Builder::new_multi_thread().enable_all().build().unwrap().block_on(work);
}

/// Everything, or what `only` names.
async fn all(only: &[&str]) {
    let wanted = |name: &str| only.is_empty() || only.iter().any(|word| word.split(',').any(|w| w == name));
    let mut table = Table::default();
    let bench = server::Bench::start().await;
    disk::measure(bench.directory(), &mut table);
    if wanted("accept") {
        throughput::accept(&bench, &mut table).await;
    }
    if wanted("drain") {
        throughput::drain(&bench, &mut table).await;
    }
    if wanted("through") {
        throughput::relay(&bench, &mut table);
        throughput::accept_to_delivered(&bench, &mut table).await;
    }
    if wanted("latency") {
        throughput::latency(&bench, &mut table).await;
    }
    if wanted("fanout") {
        throughput::fan_out(&bench, &mut table).await;
    }
    if wanted("isolation") {
        isolation::all(&bench, &mut table).await;
    }
    if wanted("recovery") {
        recovery::after_a_crash(&bench, &mut table).await;
    }
    if wanted("amplification") {
        amplification::of_the_journal(&bench, &mut table).await;
    }
    if wanted("webhooks") {
        growth::webhooks(&bench, &mut table).await;
    }
    if wanted("scale") {
        scale::ten_thousand(&bench, &mut table).await;
    }
    if wanted("nats") {
        many::scale(&bench, &mut table).await;
        many::takeover(&bench, &mut table).await;
    }
    disk::measure(bench.directory(), &mut table);
    println!("\n{table}");
}
