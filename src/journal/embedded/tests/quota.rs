//! What may wait of a namespace.

use std::sync::Arc;

use bytes::Bytes;

use super::{Bench, claim, event, soon, webhook};
use crate::journal::embedded::{Embedded, record};
use crate::journal::{Append, Appended, DeathNote, Journal, Lane, Lease, Outcome, RefusedReason};

/// An event of a namespace, whose record has this many bytes.
fn sized(namespace: &str, id: &str, bytes: usize, webhooks: &[u8]) -> Append {
    let mut event = Arc::unwrap_or_clone(event(id, "user"));
    namespace.clone_into(&mut event.namespace);
    event.data = Bytes::new();
    event.data = vec![b' '; bytes - record::event_length(&event)].into();
    Append { event: Arc::new(event), webhooks: webhooks.iter().copied().map(webhook).collect() }
}

const OVER: Appended = Appended::Refused(RefusedReason::OverQuota);

async fn appended(journal: &Embedded, batch: Vec<Append>) -> Vec<Appended> {
    soon(journal.append_within(batch, Some(1000))).await
}

fn queued(journal: &Embedded, namespace: &str) -> u64 {
    journal.0.core.spaces.queued(record::short_hash(namespace))
}

/// Waits until so many bytes are counted: outcomes are written a moment after they are given.
async fn until_queued(journal: &Embedded, namespace: &str, bytes: u64) {
    let counted = async {
        while queued(journal, namespace) != bytes {
            tokio::task::yield_now().await;
        }
    };
    soon(counted).await;
}

#[tokio::test]
async fn what_waits_of_a_namespace_is_bounded_and_no_other_is_touched() {
    let bench = Bench::new();
    let journal = bench.open();
    let stored = [Appended::Stored];
    assert_eq!(appended(&journal, vec![sized("a", "1", 600, &[1])]).await, stored);
    assert_eq!(appended(&journal, vec![sized("a", "2", 401, &[1])]).await, [OVER]);
    // Wanted by three, it is stored once.
    assert_eq!(appended(&journal, vec![sized("a", "3", 400, &[1, 2, 3])]).await, stored);
    assert_eq!(queued(&journal, "a"), 1000);
    assert_eq!(appended(&journal, vec![sized("b", "1", 1000, &[4])]).await, stored);
    // Whole or not at all; and what nobody wants does not wait.
    let batch = vec![sized("a", "4", 100, &[]), sized("a", "5", 100, &[1])];
    assert_eq!(appended(&journal, batch).await, [OVER, OVER]);
    assert_eq!(appended(&journal, vec![sized("a", "4", 100, &[])]).await, stored);
    // Who is asked without a bound is not refused.
    assert_eq!(soon(journal.append(vec![sized("a", "6", 100, &[1])])).await, stored);
    assert_eq!(queued(&journal, "a"), 1100);
}

#[tokio::test]
async fn a_repeat_is_told_as_one_though_the_namespace_has_no_room() {
    let bench = Bench::new();
    let journal = bench.open();
    let first = || vec![sized("a", "1", 600, &[1]), sized("a", "2", 400, &[1])];
    assert_eq!(appended(&journal, first()).await, [Appended::Stored, Appended::Stored]);
    assert_eq!(appended(&journal, first()).await, [Appended::Duplicate, Appended::Duplicate]);
    let mut with_new = first();
    with_new.push(sized("a", "3", 100, &[1]));
    assert_eq!(appended(&journal, with_new).await, [OVER, OVER, OVER]);
}

#[tokio::test]
async fn whatever_ends_makes_room_also_after_a_restart() {
    let bench = Bench::new();
    let journal = bench.open();
    let batch = |first: usize| (first..first + 5).map(|i| sized("a", &i.to_string(), 200, &[1])).collect();
    assert!(appended(&journal, batch(0)).await.iter().all(|answer| *answer == Appended::Stored));
    let mut lane = claim(&journal, 1).await;
    let mut leases = Vec::new();
    while leases.len() < 3 {
        leases.extend(soon(lane.next(3 - leases.len())).await.expect("ours"));
    }
    let note = DeathNote { reason: "TimedOut".to_owned(), message: "too slow".to_owned() };
    let again = std::time::Duration::from_secs(1);
    for outcome in [Outcome::Done, Outcome::Dead(note), Outcome::Retry { after: again }] {
        soon(leases.remove(0).settle(outcome)).await;
    }
    until_queued(&journal, "a", 600).await;
    drop(lane);
    soon(journal.close()).await.expect("closed");
    drop(journal);

    let journal = bench.open();
    assert_eq!(queued(&journal, "a"), 600);
    assert_eq!(appended(&journal, vec![sized("a", "5", 401, &[1])]).await, [OVER]);
    assert_eq!(appended(&journal, vec![sized("a", "5", 400, &[1, 2])]).await, [Appended::Stored]);
    soon(journal.drop_webhook(webhook(1))).await.expect("dropped");
    until_queued(&journal, "a", 400).await;
    soon(journal.drop_webhook(webhook(2))).await.expect("dropped");
    until_queued(&journal, "a", 0).await;
}

#[tokio::test]
async fn a_journal_of_a_version_that_did_not_count_is_counted_once() {
    let bench = Bench::new();
    let journal = bench.open();
    soon(journal.append(vec![sized("a", "1", 600, &[1]), sized("a", "2", 300, &[1, 2])])).await;
    soon(journal.append(vec![sized("b", "1", 700, &[3])])).await;
    let lane = claim(&journal, 3).await;
    drop(lane);
    forget_namespaces(&journal).await;
    drop(journal);

    // Opening compares the counts with the records.
    let journal = bench.open();
    assert_eq!((queued(&journal, "a"), queued(&journal, "b")), (900, 700));
    assert_eq!(appended(&journal, vec![sized("a", "3", 101, &[1])]).await, [OVER]);
    assert_eq!(appended(&journal, vec![sized("a", "1", 600, &[1])]).await, [Appended::Duplicate]);
    soon(journal.drop_webhook(webhook(3))).await.expect("dropped");
    until_queued(&journal, "b", 0).await;
}

/// Closes it as a version left it that knew nothing of namespaces: without the last number of
/// each lane and of each namespace.
async fn forget_namespaces(journal: &Embedded) {
    let store = journal.0.core.store().expect("open");
    soon(journal.close()).await.expect("closed");
    let counters = store.counters().expect("readable").expect("some");
    let mut batch = store.batch();
    for (keyspace, bytes) in [(&store.lanes, 64), (&store.spaces, 8)] {
        for guard in keyspace.iter() {
            let (key, value) = guard.into_inner().expect("readable");
            if key.len() != 17 {
                batch.put(keyspace, key, &value[..bytes]);
            }
        }
    }
    store.commit(batch, counters).expect("written");
    store.sync().expect("synced");
}
