//! A disk without room, with a reserve and without.

use std::time::Duration;

use super::super::disk::{self, Dice, Disk};
use super::super::{event, soon, webhook};
use super::ledger::Promised;
use super::load::{deliver, random_event, store_until_answered};
use super::survivors::check;
use super::{Child, run};
use crate::journal::embedded::Embedded;
use crate::journal::{Append, Appended, Journal, RefusedReason};
use crate::model::Clock;

/// Whether the child keeps a reserve.
const RESERVED: &str = "HERALD_TEST_CRASH_RESERVED";

/// Fills the disk under the journal, and makes room again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(child) = Child::new() else { return };
    let mut config = child.config();
    let Child { ledger, faults, .. } = child;
    // Without a reserve every write goes on until there is no room at all.
    let reserved = std::env::var_os(RESERVED).is_some();
    config.reserve_bytes = if reserved { 300_000 } else { 0 };
    let journal = Embedded::open(config, Clock::default()).expect("it opens");
    let deliverer = tokio::spawn(deliver(journal.clone(), ledger.clone(), 1));
    let mut dice = Dice(1);
    // A log is promised 64 MiB.
    disk::fail(&faults, if reserved { "space 68000000" } else { "space 1600000" });
    let (mut refused, mut at) = (0, 0);
    while refused < 20 {
        let id = format!("e{at}");
        let batch = vec![Append {
            event: random_event(&mut dice, &id, 16_000),
            webhooks: vec![webhook(1), webhook(5)],
        }];
        let answer = journal.append(batch).await;
        match answer[..] {
            [Appended::Stored | Appended::Duplicate] => {
                at += 1;
                ledger.say(&format!("STORED {id} 1,5"));
            }
            [Appended::Refused(_) | Appended::Unknown] => {
                refused += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            _ => panic!("{answer:?}"),
        }
        if reserved {
            let full = [Appended::Refused(RefusedReason::DiskFull)];
            assert!(answer == full || refused == 0, "{answer:?} after {at}");
        }
    }
    assert!(at > 5, "{at}");
    if reserved {
        soon(async {
            while journal.depth(webhook(1)).await.expect("open").pending > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
    disk::fail(&faults, "");
    let last = vec![Append { event: event("last", "u"), webhooks: vec![webhook(1), webhook(5)] }];
    soon(store_until_answered(&journal, last)).await;
    ledger.say("STORED last 1,5");
    ledger.say(&format!("REOPENED {}", journal.metrics().volume.reopened.get()));
    deliverer.abort();
    journal.close().await.expect("closed");
}

#[tokio::test]
async fn a_disk_that_is_full_loses_nothing_with_a_reserve_and_without() {
    for reserved in [true, false] {
        let disk = Disk::new();
        let environment: &[(&str, &str)] = if reserved { &[(RESERVED, "1")] } else { &[] };
        run(&disk, "journal::embedded::tests::crash::full_disk::child", environment);
        let ledger = std::fs::read_to_string(disk.root().join("LEDGER")).expect("a ledger");
        let promised = Promised::read(&ledger);
        assert_eq!(promised.reopened > 0, !reserved, "with a reserve nothing fails: {}", promised.reopened);
        check(&disk.root(), &promised, if reserved { "with a reserve" } else { "without" }).await;
    }
}
