//! What a delivery costs as the webhooks grow, while their number a second and
//! the connections of the bare client stay what they are: each event matches
//! one webhook, and all webhooks have their turn.

use std::time::{Duration, Instant};

use super::figures::{Pair, Table, median};
use super::group::Group;
use super::load::Posted;
use super::program::Herald;
use super::server::Bench;
use super::settings;

const COUNTS: [usize; 4] = [1, 100, 1_000, 10_000];
/// Deliveries a second.
const RATE: f64 = 2_000.0;
/// How long the rate is held.
const SECONDS: f64 = 15.0;
/// Deliveries when it goes as fast as it can.
const FAST: u64 = 100_000;
const ROUNDS: usize = 3;
const LIMIT: Duration = Duration::from_mins(5);

/// One webhook, a hundred, a thousand, ten thousand.
pub async fn webhooks(bench: &Bench, table: &mut Table) {
    let mut first = None;
    for count in COUNTS.into_iter().filter(|&count| count <= settings::most_webhooks()) {
        let group = Group::make(bench, count).await;
        let herald = Herald::start_with(bench, "growth", &[]);
        group.settle(bench, herald.port).await;
        let (mut fast, mut steady) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            fast.push(self::fast(&group, bench, &herald));
            steady.push(self::steady(&group, bench, &herald));
        }
        let of =
            |pairs: &[Pair], value: fn(&Pair) -> f64| median(&pairs.iter().map(value).collect::<Vec<_>>());
        let ratios =
            [of(&fast, |pair| pair.herald / pair.bare), of(&steady, |pair| pair.bare / pair.cpu_micros)];
        let base = *first.get_or_insert(ratios);
        let ratio = |at: usize| format!("{:.3}; {:.2} of one webhook's", ratios[at], ratios[at] / base[at]);
        let figure = format!(
            "{:.0} deliveries/s; bare client with as many connections {:.0}/s",
            of(&fast, |pair| pair.herald),
            of(&fast, |pair| pair.bare)
        );
        table.row(&format!("{count} webhooks, at full speed"), figure, ratio(0), "0.80 of one webhook's");
        let figure = format!(
            "{:.0} deliveries/s, {:.0} us CPU each; bare client {:.0} us",
            of(&steady, |pair| pair.herald),
            of(&steady, |pair| pair.cpu_micros),
            of(&steady, |pair| pair.bare)
        );
        table.row(&format!("{count} webhooks, at {RATE}/s"), figure, ratio(1), "0.80 of one webhook's");
        group.clear().await;
        herald.end(bench, "growth").await;
    }
}

/// As many as go.
fn fast(group: &Group, bench: &Bench, herald: &Herald) -> Pair {
    let bare = bench.bare(group.webhooks, 6.0);
    let before = bench.sink.seen().deliveries;
    let (begun, cpu) = (Instant::now(), herald.process.cpu_micros());
    group.load(bench, herald.port, &["closed", &FAST.to_string()]).line();
    bench.wait_for(before + FAST, LIMIT);
    let cpu_micros = (herald.process.cpu_micros() - cpu) / FAST as f64;
    Pair { herald: FAST as f64 / begun.elapsed().as_secs_f64(), bare, cpu_micros }
}

/// At the steady rate: `bare` is what a request of the bare client costs.
fn steady(group: &Group, bench: &Bench, herald: &Herald) -> Pair {
    let bare = bench.bare_at(group.webhooks, SECONDS, RATE).cpu_micros;
    let before = bench.sink.seen().deliveries;
    let (begun, cpu) = (Instant::now(), herald.process.cpu_micros());
    let posted: Posted =
        group.load(bench, herald.port, &["open", &RATE.to_string(), &SECONDS.to_string()]).result();
    bench.wait_for(before + posted.events, LIMIT);
    let count = posted.events as f64;
    let cpu_micros = (herald.process.cpu_micros() - cpu) / count;
    Pair { herald: count / begun.elapsed().as_secs_f64(), bare, cpu_micros }
}
