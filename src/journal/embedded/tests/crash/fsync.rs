//! An fsync of the log that fails beside a flush of the library, which syncs the log as well.
//!
//! Each child makes one moment that a busy disk brings about by chance, and its test cuts the
//! power at moments from there until the logs are written again.

use std::sync::atomic::Ordering as Atomic;
use std::time::{Duration, Instant};

use fjall::AbstractTree as _;
use tokio::sync::oneshot;

use super::super::disk::log::{self, Op};
use super::super::disk::{self, Disk};
use super::super::{append, claim, number, soon};
use super::ledger::Ledger;
use super::load::store_until_answered;
use super::survivors::look;
use super::{Child, SEED, STATES, run};
use crate::journal::embedded::Embedded;
use crate::journal::embedded::store::Store;
use crate::journal::{Appended, Journal, Lane, Lease, Outcome};
use crate::model::Clock;

/// Which moment the child is to make.
const MOMENT: &str = "HERALD_TEST_CRASH_MOMENT";

/// The next fsync fails, after so long that others can come in between.
const FAILS: &str = "fsync slow 300\nfsync EIO 1";

/// Makes the moment that is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(child) = Child::new() else { return };
    let journal = Embedded::open(child.config(), Clock::default()).expect("it opens");
    let Child { ledger, faults, .. } = child;
    assert_eq!(soon(journal.append(vec![append("first", &[1, 2])])).await, [Appended::Stored]);
    ledger.say("STORED first 1,2");
    let moment = std::env::var(MOMENT).expect("a moment");
    let mut lane = claim(&journal, 1).await;
    let leases = soon(lane.next(1)).await.expect("the lane is ours");
    disk::fail(&faults, FAILS);
    let (ready, is_ready) = oneshot::channel();
    let beside = std::thread::spawn({
        let (store, moment) = (journal.0.core.store().expect("open"), moment.clone());
        move || match moment.as_str() {
            "append" => flush_during_sync(&store, "seen", ready),
            "retry" => flush_during_sync(&store, "ready", ready),
            "library" => flush_before_sync(&store, "meta", ready),
            other => panic!("{other}"),
        }
    });
    is_ready.await.expect("no panic");
    if moment == "retry" {
        for lease in leases {
            lease.settle(Outcome::Retry { after: Duration::from_hours(1) }).await;
        }
        beside.join().expect("no panic");
        store(&journal, &ledger).await;
    } else {
        store(&journal, &ledger).await;
        beside.join().expect("no panic");
    }
    disk::fail(&faults, "");
    // The failure may be met only by this one.
    soon(store_until_answered(&journal, vec![append("third", &[1, 2])])).await;
    ledger.say("STORED third 1,2");
    ledger.say(&format!("REOPENED {}", journal.metrics().volume.reopened.get()));
    soon(journal.close()).await.expect("closed");
}

async fn store(journal: &Embedded, ledger: &Ledger) {
    ledger.say("TRYING second 1,2");
    soon(store_until_answered(journal, vec![append("second", &[1, 2])])).await;
    ledger.say("STORED second 1,2");
}

/// Has a keyspace flushed while the writer is in its fsync.
fn flush_during_sync(store: &Store, keyspace: &str, ready: oneshot::Sender<()>) {
    let begun = store.syncs_begun.load(Atomic::Relaxed);
    ready.send(()).expect("somebody waits");
    wait_for_sync(store, begun);
    flush_if_it_can_be(store, keyspace);
}

/// Has a keyspace flushed while the writer is about to begin its fsync, which it does while the
/// library is in its own.
fn flush_before_sync(store: &Store, keyspace: &str, ready: oneshot::Sender<()>) {
    let begun = store.syncs_begun.load(Atomic::Relaxed);
    let held = store.slow_sync.lock().expect("free");
    ready.send(()).expect("somebody waits");
    wait_for_sync(store, begun);
    std::thread::scope(|scope| {
        scope.spawn(|| flush_if_it_can_be(store, keyspace));
        std::thread::sleep(Duration::from_millis(100));
        drop(held);
    });
}

/// Waits until the writer has begun one, and is where it waits for the disk.
fn wait_for_sync(store: &Store, begun: u64) {
    while store.syncs_begun.load(Atomic::Relaxed) == begun {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(50));
}

/// Nobody tells of a flush that has failed, so it is not waited for without end.
fn flush_if_it_can_be(store: &Store, name: &str) {
    let begun = Instant::now();
    let all = store.keyspaces();
    let keyspace = all.into_iter().find(|keyspace| **keyspace.name() == *name).expect("a keyspace");
    // It fails where the library knows of the failure.
    let _ = keyspace.rotate_memtable();
    while keyspace.tree.sealed_memtable_count() > 0 && begun.elapsed() < Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Cuts the power at some of the operations from the fsync that fails until the logs are written again.
async fn cut(moment: &str) {
    let seed = number(SEED, rand::random_range(0..1_000_000));
    let disk = Disk::new();
    run(&disk, "journal::embedded::tests::crash::fsync::child", &[(MOMENT, moment)]);
    let ops = log::read(&std::fs::read(disk.log()).expect("a log"));
    let first = ops.iter().position(|op| matches!(op, Op::Sync { failed: true, .. })).expect("one failed");
    let renamed = |op: &Op| matches!(op, Op::Rename { to, .. } if to == "journal/store/0.jnl");
    let last = first + ops[first..].iter().position(renamed).expect("the log is written again");
    let states = number(STATES, 120) / 2;
    let looked = look(&disk, &ops, states, seed, |_, i| (first..=last + 5).contains(&i)).await;
    println!("seed {seed}: {looked} states, nothing lost and nothing there in part");
}

#[tokio::test]
async fn an_fsync_that_failed_leaves_no_part_of_an_append_in_a_table() {
    cut("append").await;
}

#[tokio::test]
async fn an_fsync_that_failed_loses_no_delivery_that_goes_from_one_queue_to_another() {
    cut("retry").await;
}

#[tokio::test]
async fn what_the_library_could_not_make_durable_is_not_acknowledged() {
    cut("library").await;
}
