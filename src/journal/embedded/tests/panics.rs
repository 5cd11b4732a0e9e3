//! What a bug in the writer costs.

use std::sync::atomic::Ordering;

use super::{Bench, append, claim, ids, soon, webhook};
use crate::journal::{Appended, Journal, Lane};

#[tokio::test]
async fn a_writer_that_panics_answers_unknown_and_goes_on_with_what_is_durable() {
    let bench = Bench::new();
    let journal = bench.open();
    assert_eq!(soon(journal.append(vec![append("before", &[1])])).await, [Appended::Stored]);
    let mut lane = claim(&journal, 1).await;
    journal.0.core.panics.store(true, Ordering::Relaxed);
    assert_eq!(soon(journal.append(vec![append("during", &[1])])).await, [Appended::Unknown]);
    soon(async {
        while journal.metrics().volume.reopened.get() == 0 || !journal.is_open() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(journal.is_alive());
    assert!(soon(lane.next(1)).await.is_err(), "what was claimed before is lost, as after any failure");
    drop(lane);
    assert_eq!(soon(journal.append(vec![append("after", &[1])])).await, [Appended::Stored]);
    assert_eq!(soon(journal.depth(webhook(1))).await.expect("open").pending, 2);
    let mut lane = claim(&journal, 1).await;
    assert_eq!(ids(&mut lane, 2).await, ["before", "after"]);
}
