//! The load on a journal whose power is cut: a child process that appends, delivers, compacts and drops.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::disk::{self, Dice};
use super::super::{event, number, webhook};
use super::ledger::Ledger;
use super::{Child, SEED};
use crate::journal::embedded::Embedded;
use crate::journal::{Append, Appended, DeathNote, Journal, Lane, Lease, Outcome};
use crate::model::{Clock, Event, Ordering};

/// The name of [`child`], for whoever starts it.
pub(super) const CHILD: &str = "journal::embedded::tests::crash::load::child";

/// How many events the child appends, and how large the last ones are.
pub(super) const EVENTS: &str = "HERALD_TEST_CRASH_EVENTS";
pub(super) const LARGE: &str = "HERALD_TEST_CRASH_LARGE";

/// Whether the disk fails now and then.
pub(super) const FAULTY: &str = "HERALD_TEST_CRASH_FAULTY";

/// The child.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(child) = Child::new() else { return };
    let journal = Embedded::open(child.config(), Clock::default()).expect("it opens");
    let Child { ledger, faults, .. } = child;
    let deliveries: Vec<_> =
        [1, 2, 4].map(|n| tokio::spawn(deliver(journal.clone(), ledger.clone(), n))).into_iter().collect();
    let mut dice = Dice(number(SEED, 1));
    let (events, large) = (number(EVENTS, 1), number(LARGE, 0));
    let fails = std::env::var_os(FAULTY).is_some();
    let mut at = 0;
    while at < events {
        let mut batch = Vec::new();
        let mut lines = Vec::new();
        for _ in 0..=dice.below(4) {
            let mut webhooks: Vec<u8> = (1..=5).filter(|_| dice.below(2) == 0).collect();
            if webhooks.is_empty() {
                webhooks.push(5);
            }
            let bytes = if at + large >= events { 60_000 } else { 50 + dice.below(1500) };
            let id = format!("e{at}");
            let list: Vec<_> = webhooks.iter().map(u8::to_string).collect();
            ledger.say(&format!("TRYING {id} {}", list.join(",")));
            lines.push(format!("STORED {id} {}", list.join(",")));
            let event = random_event(&mut dice, &id, bytes);
            batch.push(Append { event, webhooks: webhooks.into_iter().map(webhook).collect() });
            at += 1;
        }
        if fails && dice.below(30) == 0 {
            let nth = 1 + dice.below(3);
            disk::fail(&faults, &format!("{} EIO {nth}", ["fsync", "dirsync", "write"][dice.below(3)]));
        }
        if fails && at >= events && journal.metrics().volume.reopened.get() == 0 {
            // Chance has met none; each append is fsynced.
            disk::fail(&faults, "fsync EIO 1");
        }
        store_until_answered(&journal, batch).await;
        for line in &lines {
            ledger.say(line);
        }
        let store = journal.0.core.store().filter(|_| dice.below(100) == 0);
        if let Some(store) = store {
            let compacted = tokio::task::spawn_blocking(move || store.compact()).await.expect("no panic");
            assert!(fails || compacted.is_ok(), "{compacted:?}");
        }
        if at > events / 2 && dice.below(40) == 0 {
            ledger.say("DROPPING 3");
            let dropped = journal.drop_webhook(webhook(3)).await;
            assert!(fails || dropped.is_ok(), "{dropped:?}");
        }
    }
    for task in deliveries {
        task.abort();
    }
    if fails {
        disk::fail(&faults, "");
        ledger.say(&format!("REOPENED {}", journal.metrics().volume.reopened.get()));
        while !journal.is_open() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    // What failed behind the writer's back may be met only now.
    let closed = journal.close().await;
    assert!(fails || closed.is_ok(), "{closed:?}");
}

pub(super) fn random_event(dice: &mut Dice, id: &str, bytes: usize) -> Arc<Event> {
    let mut event = (*event(id, &format!("u{}", dice.below(20)))).clone();
    let noise: Vec<u8> =
        std::iter::repeat_with(|| dice.roll().to_ne_bytes()).take(bytes / 8).flatten().collect();
    event.data = Bytes::from(noise);
    Arc::new(event)
}

/// Webhook 1 delivers, 2 does in order and retries, 3 is dropped, 4 has dead letters, 5 waits.
pub(super) async fn deliver(journal: Embedded, ledger: Ledger, number: u8) {
    let ordering = if number == 2 { Ordering::PerUser } else { Ordering::None };
    let mut dice = Dice(u64::from(number));
    loop {
        let Ok(mut lane) = journal.claim(webhook(number), ordering).await else {
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        };
        while let Ok(leases) = lane.next(8).await {
            for lease in leases {
                let id = lease.delivery().event.id.clone();
                let outcome = match (number, dice.below(3)) {
                    (2, 0) => Outcome::Retry { after: Duration::from_millis(5) },
                    (4, 0 | 1) => Outcome::Dead(DeathNote {
                        reason: "Test".to_owned(),
                        message: "it said so".to_owned(),
                    }),
                    _ => {
                        ledger.say(&format!("SETTLING {number} {id}"));
                        Outcome::Done
                    }
                };
                lease.settle(outcome).await;
            }
        }
    }
}

/// As a producer does: the same again, until it is known to be stored.
pub(super) async fn store_until_answered(journal: &Embedded, batch: Vec<Append>) {
    loop {
        let answers = journal.append(batch.clone()).await;
        if answers.iter().all(|answer| matches!(answer, Appended::Stored | Appended::Duplicate)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
