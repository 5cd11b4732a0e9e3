//! Logs that are read without what is in tables as well.

use std::path::Path;

use super::{Bench, append, contents, flush, logs, soon};
use crate::journal::Journal;

const EVENTS: usize = 500;

fn bytes(journal: &Path) -> u64 {
    logs(journal).iter().map(|log| log.metadata().expect("readable").len()).sum()
}

/// A journal that is closed, with events for two webhooks of which some keyspaces are in tables;
/// then it is opened. How many hundredths of its log are left.
async fn opened_after(choose: fn(&str) -> bool) -> u64 {
    let bench = Bench::new();
    let home = bench.config().path;
    let journal = bench.open();
    for commit in 0..EVENTS / 10 {
        let ids = (commit * 10..).take(10);
        let of = |i: usize| append(&format!("e{i}"), if i.is_multiple_of(2) { &[1, 2] } else { &[1] });
        soon(journal.append(ids.map(of).collect())).await;
    }
    flush(&journal, choose);
    soon(journal.append(vec![append("last", &[1, 2])])).await;
    let before = contents::found(&journal);
    assert_eq!(before[&1].len(), EVENTS + 1);
    soon(journal.close()).await.expect("closed");
    drop(journal);
    // The library takes room ahead.
    let used = std::fs::read(logs(&home).pop().expect("a log")).expect("readable");
    let used = used.iter().rposition(|byte| *byte != 0).expect("not empty") as u64 + 1;
    let journal = bench.open();
    let left = bytes(&home);
    assert_eq!(contents::found(&journal), before, "nothing else is missing");
    soon(journal.close()).await.expect("closed");
    drop(journal);
    assert_eq!(contents::found(&bench.open()), before, "nor after another time");
    left * 100 / used
}

#[tokio::test]
async fn a_log_is_read_without_what_tables_have() {
    let left = opened_after(|_| true).await;
    assert!(left < 5, "{left} % of the log is left, for one event of {EVENTS}");
}

#[tokio::test]
async fn a_log_keeps_of_each_commit_what_no_table_has() {
    let left = opened_after(|keyspace| keyspace == "ready" || keyspace == "lanes").await;
    assert!((10..90).contains(&left), "{left} % of the log is left, for eight keyspaces of ten");
}

#[tokio::test]
async fn a_log_of_which_tables_have_nothing_is_left_as_it_is() {
    let left = opened_after(|_| false).await;
    assert!(left >= 100, "{left} % of the log is left");
}
