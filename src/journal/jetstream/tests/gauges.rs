//! What is scraped of it tells who runs what, and what has gone wrong.

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::nats::Server;
use super::{SOON, dispatcher, soon, store, webhook};
use crate::journal::Journal as _;
use crate::journal::jetstream::JetStream;

/// The lines of a metric as they are scraped.
pub(super) fn scraped(journal: &JetStream, metric: &str) -> Vec<String> {
    let mut registry = Registry::default();
    journal.metrics().nats.register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).expect("text");
    text.lines().filter(|line| line.starts_with(metric)).map(str::to_owned).collect()
}

/// The value of a metric that has one, without what comes after the point.
fn value(journal: &JetStream, metric: &str) -> u64 {
    let lines = scraped(journal, &format!("herald_journal_nats_{metric} "));
    let [line] = &lines[..] else { panic!("{metric}: {lines:?}") };
    let whole = line.rsplit(' ').next().and_then(|value| value.split('.').next());
    whole.and_then(|value| value.parse().ok()).expect("a number")
}

/// Waits until they say so.
async fn until(says: &str, so: impl Fn() -> bool) {
    let told = async {
        // They are looked at by a scrape, whenever it comes.
        while !so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, told).await.is_ok(), "{says}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_runs_what_is_told_and_a_part_that_was_taken_from_who_crashed_is_counted() {
    let server = Server::start();
    let first = dispatcher(&server.url(), 1).await;
    until("one runs all", || value(&first, "partitions") >= 32).await;
    let second = dispatcher(&server.url(), 1).await;
    let both = [&first, &second];
    until("each runs half", || both.iter().all(|journal| value(journal, "partitions") == 16)).await;
    for journal in both {
        until("each has an owner", || value(journal, "partitions_without_owner") == 0).await;
        until("there are two", || value(journal, "dispatchers") == 2).await;
        assert_eq!(value(journal, "open"), 1);
        assert!(value(journal, "lease_age_seconds") < 8);
        // They were given in order, or nobody had them.
        assert_eq!((value(journal, "takeovers_total"), value(journal, "partitions_lost_total")), (0, 0));
    }
    store(&first, 0..3, &[webhook(1)]).await;
    assert!(value(&first, "append_duration_seconds_count") >= 1);
    drop(second);
    until("one runs all again", || value(&first, "partitions") == 32).await;
    until("none is without", || value(&first, "partitions_without_owner") == 0).await;
    assert_eq!((value(&first, "takeovers_total"), value(&first, "dispatchers")), (16, 1));
    // What a dispatcher gives back is none.
    let third = dispatcher(&server.url(), 1).await;
    until("it runs half", || value(&third, "partitions") == 16).await;
    soon(first.close()).await.expect("closed");
    assert_eq!(value(&first, "open"), 0);
    until("it runs all", || value(&third, "partitions") == 32).await;
    assert_eq!(value(&third, "takeovers_total"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dispatcher_that_nats_has_left_says_so() {
    let mut server = Server::start();
    let journal = dispatcher(&server.url(), 1).await;
    until("it runs all", || value(&journal, "partitions") == 32).await;
    server.kill();
    until("it is not open", || value(&journal, "open") == 0).await;
    until("its lease is over", || value(&journal, "lease_age_seconds") >= 8).await;
    until("it runs nothing", || value(&journal, "partitions") == 0).await;
    until("nobody does", || value(&journal, "partitions_without_owner") == 32).await;
    server.restart();
    until("it is open", || value(&journal, "open") == 1).await;
    until("its lease is good", || value(&journal, "lease_age_seconds") < 8).await;
    until("it runs all", || value(&journal, "partitions") == 32).await;
    until("none is without", || value(&journal, "partitions_without_owner") == 0).await;
    assert_eq!(value(&journal, "partitions_lost_total"), 0);
}
