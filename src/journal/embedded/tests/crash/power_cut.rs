//! A power cut under load, around a change of the log, and after a disk that failed.

use super::super::disk::Disk;
use super::super::disk::log::{self, Op};
use super::super::number;
use super::ledger::Promised;
use super::load::{CHILD, EVENTS, FAULTY, LARGE};
use super::survivors::look;
use super::{SEED, STATES, run};

#[tokio::test]
async fn a_power_cut_at_any_moment_loses_nothing_that_was_acknowledged() {
    let seed = number(SEED, rand::random_range(0..1_000_000));
    let states: usize = number(STATES, 120);
    let disk = Disk::new();
    let text = seed.to_string();
    run(&disk, CHILD, &[(SEED, &text), (EVENTS, "400")]);
    let ops = log::read(&std::fs::read(disk.log()).expect("a log"));
    let count = |choose: fn(&Op) -> bool| ops.iter().filter(|op| choose(op)).count();
    let syncs = count(|op| matches!(op, Op::Sync { .. }));
    let names = count(|op| matches!(op, Op::Rename { .. } | Op::Unlink { .. }));
    assert!(names > 50, "{names} renames and removals: there were no flushes and compactions");
    let looked = look(&disk, &ops, states, seed, |op, i| {
        let around = |op: &Op| {
            matches!(op, Op::Sync { .. } | Op::Rename { .. } | Op::Unlink { .. } | Op::Mkdir { .. })
        };
        around(op) || i.checked_sub(1).and_then(|i| ops.get(i)).is_some_and(around)
    })
    .await;
    println!(
        "seed {seed}: {} operations ({syncs} syncs, {names} renames and removals), {looked} states, nothing lost",
        ops.len()
    );
}

#[tokio::test]
#[ignore = "it takes a minute; `make test-crash` runs it"]
async fn a_power_cut_around_a_change_of_the_log_loses_nothing_that_was_acknowledged() {
    let seed = number(SEED, rand::random_range(0..1_000_000));
    let states: usize = number(STATES, 120) / 60;
    let disk = Disk::new();
    let text = seed.to_string();
    // The library takes a new log after 64 MB.
    run(&disk, CHILD, &[(SEED, &text), (EVENTS, "1500"), (LARGE, "1400")]);
    let ops = log::read(&std::fs::read(disk.log()).expect("a log"));
    let made: Vec<_> = ops
        .iter()
        .enumerate()
        .filter(|(_, op)| matches!(op, Op::Open { path, created: true, .. } if path.ends_with("/1.jnl")))
        .map(|(i, _)| i)
        .collect();
    assert!(!made.is_empty(), "the log was not changed");
    let looked =
        look(&disk, &ops, states, seed, |_, i| made.iter().any(|at| (at - 20..at + 60).contains(&i))).await;
    println!(
        "seed {seed}: {} operations, the log changed at {made:?}, {looked} states, nothing lost",
        ops.len()
    );
}

#[tokio::test]
async fn what_was_acknowledged_after_a_disk_that_failed_survives_a_power_cut() {
    let seed = number(SEED, rand::random_range(0..1_000_000));
    let states: usize = number(STATES, 120) / 2;
    let disk = Disk::new();
    let text = seed.to_string();
    let environment = [(SEED, text.as_str()), (EVENTS, "400"), (FAULTY, "1")];
    run(&disk, CHILD, &environment);
    let ledger = std::fs::read_to_string(disk.root().join("LEDGER")).expect("a ledger");
    let reopened = Promised::read(&ledger).reopened;
    assert!(reopened > 0, "seed {seed}: no fault was met");
    let ops = log::read(&std::fs::read(disk.log()).expect("a log"));
    let failed = ops.iter().filter(|op| matches!(op, Op::Sync { failed: true, .. })).count();
    let looked =
        look(&disk, &ops, states, seed, |op, _| matches!(op, Op::Sync { .. } | Op::Rename { .. })).await;
    println!(
        "seed {seed}: {} operations, {failed} syncs failed, opened again {reopened} times, {looked} states, nothing lost",
        ops.len()
    );
}
