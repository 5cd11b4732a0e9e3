//! A power cut while a journal is opened whose logs are written again without what tables have.

use super::super::disk::Disk;
use super::super::disk::log::{self, Op};
use super::super::{append, flush, number, soon};
use super::survivors::look;
use super::{Child, SEED, STATES, run};
use crate::journal::embedded::Embedded;
use crate::journal::{Appended, Journal};
use crate::model::Clock;

/// Whether the journal was closed in order before.
const CLOSED: &str = "HERALD_TEST_CRASH_CLOSED";

/// Opens a journal that has something in tables and something not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(child) = Child::new() else { return };
    let store = async |journal: &Embedded, from: u32, to: u32| {
        for i in from..to {
            let id = format!("e{i}");
            let (webhooks, text): (&[u8], _) = if i % 2 == 0 { (&[1, 2], "1,2") } else { (&[1], "1") };
            assert_eq!(soon(journal.append(vec![append(&id, webhooks)])).await, [Appended::Stored]);
            child.ledger.say(&format!("STORED {id} {text}"));
        }
    };
    let journal = Embedded::open(child.config(), Clock::default()).expect("it opens");
    store(&journal, 0, 20).await;
    flush(&journal, |_| true);
    store(&journal, 20, 40).await;
    flush(&journal, |keyspace| matches!(keyspace, "ready" | "seen" | "lanes"));
    store(&journal, 40, 45).await;
    soon(journal.close()).await.expect("closed");
    drop(journal);
    if std::env::var_os(CLOSED).is_none() {
        std::fs::remove_file(child.config().path.join("CLEAN")).expect("it was closed in order");
    }
    let journal = Embedded::open(child.config(), Clock::default()).expect("it opens");
    store(&journal, 45, 50).await;
    soon(journal.close()).await.expect("closed");
}

/// Cuts the power around where the logs of a journal that is opened again are put in place.
async fn cut(environment: &[(&str, &str)]) {
    let seed = number(SEED, rand::random_range(0..1_000_000));
    let states = number(STATES, 120);
    let disk = Disk::new();
    run(&disk, "journal::embedded::tests::crash::opening::child", environment);
    let ops = log::read(&std::fs::read(disk.log()).expect("a log"));
    // Who opens it takes this away first.
    let clean = |op: &Op| matches!(op, Op::Unlink { path } if path.ends_with("/CLEAN"));
    let opened = ops.iter().rposition(clean).expect("it was opened again");
    let renamed = |op: &Op| matches!(op, Op::Rename { to, .. } if to == "journal/store/0.jnl");
    let written: Vec<_> = (opened..ops.len()).filter(|i| ops.get(*i).is_some_and(renamed)).collect();
    let (first, last) = written.first().zip(written.last()).expect("a log is written again");
    let looked = look(&disk, &ops, states, seed, |_, i| (first - 20..last + 30).contains(&i)).await;
    println!("seed {seed}: {looked} moments of opening, nothing lost");
}

#[tokio::test]
async fn a_power_cut_while_a_journal_is_opened_that_was_closed_loses_nothing() {
    cut(&[(CLOSED, "1")]).await;
}

#[tokio::test]
async fn a_power_cut_while_a_journal_is_opened_that_was_not_closed_loses_nothing() {
    cut(&[]).await;
}
