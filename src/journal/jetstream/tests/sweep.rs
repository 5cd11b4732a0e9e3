//! The log stays short, and nothing is lost by it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::nats::Server;
use super::{Arrived, deliver, opened, soon, store, webhook};
use crate::journal::jetstream::{Config, JetStream, snapshot};
use crate::journal::limits::{Bounds, Limits};
use crate::journal::{Inspect, Journal};
use crate::model::Ordering;

/// Of a dispatcher that sweeps all the time, and keeps nothing for people.
fn config(server: &Server) -> Config {
    Config {
        replicas: 1,
        snapshot_every: 100,
        sweep: Duration::from_millis(50),
        limits: Limits { events: Bounds { bytes: 0, age: Duration::ZERO }, ..Limits::default() },
        ..Config::new(server.url())
    }
}

async fn first(journal: &JetStream) -> u64 {
    journal.0.core.log.first().await.expect("it answers")
}

/// Waits until the log begins after a message.
async fn shortened(journal: &JetStream, beyond: u64) {
    let shortened = async {
        while first(journal).await <= beyond {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(shortened).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_ended_goes_and_what_waits_is_there_for_who_begins_later() {
    let server = Server::start();
    let first_one = opened(config(&server)).await;
    let (held, busy) = (webhook(1), webhook(2));
    // Nobody delivers to the first, and everything that comes after it is delivered.
    store(&first_one, 0..30, &[held]).await;
    let after = first_one.0.core.lock().position;
    let arrived = Arrived::default();
    let mut tasks = tokio::task::JoinSet::new();
    let only = move |webhook| webhook == busy;
    tasks.spawn(deliver(first_one.clone(), Ordering::None, arrived.clone(), only));
    for number in 30..700 {
        store(&first_one, number..number + 1, &[busy]).await;
    }
    arrived.all(&[busy], 670).await;
    shortened(&first_one, after).await;
    let second = opened(config(&server)).await;
    for journal in [&first_one, &second] {
        assert_eq!(soon(journal.depth(held)).await.expect("open").pending, 30);
        let page = soon(journal.pending(held, None, 100)).await.expect("open");
        let ids: BTreeSet<_> = page.items.iter().map(|pending| pending.event.id.clone()).collect();
        assert_eq!(ids, (0..30).map(|number| format!("{number:06}")).collect::<BTreeSet<_>>());
    }
    // Repeats are told all the same, by one that never read the events.
    store(&second, 100..101, &[busy]).await;
    tasks.shutdown().await;
    soon(first_one.close()).await.expect("closed");
    drop(first_one);
    tasks.spawn(deliver(second.clone(), Ordering::PerUser, arrived.clone(), |_| true));
    arrived.all(&[held], 30).await;
    arrived.assert_order(held);
    assert_eq!((arrived.ids(busy).len(), arrived.repeated()), (670, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_stay_owners_while_the_messages_that_say_so_go() {
    let server = Server::start();
    let journal = opened(config(&server)).await;
    let webhooks: Vec<_> = (0..8).map(webhook).collect();
    let arrived = Arrived::default();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(deliver(journal.clone(), Ordering::None, arrived.clone(), |_| true));
    for round in 0..30 {
        store(&journal, round * 10..(round + 1) * 10, &webhooks).await;
        arrived.all(&webhooks, (round + 1) * 10).await;
    }
    shortened(&journal, 100).await;
    assert_eq!(arrived.repeated(), 0);
}

/// Whoever begins reads the one that counts, whatever stands between its pieces.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_snapshots_that_are_written_at_one_time_one_counts_and_is_read() {
    let server = Server::start();
    let one = opened(Config { replicas: 1, ..Config::new(server.url()) }).await;
    let other = opened(Config { replicas: 1, ..Config::new(server.url()) }).await;
    store(&one, 0..50, &[webhook(1)]).await;
    let core = &one.0.core;
    let (position, deliveries, bytes) = {
        let inner = core.lock();
        (inner.position, inner.fold.deliveries(), snapshot::encode(&inner))
    };
    let piece = bytes.len().div_ceil(20);
    let write = |journal: &JetStream| {
        let (journal, bytes) = (journal.clone(), bytes.clone());
        async move { snapshot::store(&journal.0.core, position, &bytes, piece).await }
    };
    let (first, second) = soon(async { tokio::join!(write(&one), write(&other)) }).await;
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    let read = snapshot::read(&core.snapshots, &core.names.snapshot_end(), core.config.limits.window).await;
    let read = read.expect("it is whole").expect("there is one");
    assert_eq!((read.position, read.fold.deliveries()), (position, deliveries));
}
