//! What was written and cannot be read any more.

#![expect(clippy::print_stdout, reason = "figures that the documentation gives")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::disk::{self, Dice};
use super::{Bench, append, flush, logs, number, soon, webhook};
use crate::journal::embedded::logs::{Flushed, prepare};
use crate::journal::embedded::{Config, Embedded, scan};
use crate::journal::metrics::Metrics;
use crate::journal::{Appended, DeathNote, Journal, Lane, Lease, Outcome};
use crate::model::{Clock, Ordering};

const EVENTS: usize = 2000;

/// A closed journal with deliveries, retries and dead letters; all events go to 1, every other to 2 as well.
async fn write(bench: &Bench) {
    let journal = bench.open();
    for batch in 0..EVENTS / 10 {
        let ids = (0..10).map(|i| batch * 10 + i);
        let batch = ids.map(|i| append(&format!("e{i}"), if i % 2 == 0 { &[1, 2] } else { &[1] })).collect();
        assert_eq!(soon(journal.append(batch)).await, vec![Appended::Stored; 10]);
    }
    let mut lane = soon(journal.claim(webhook(2), Ordering::None)).await.expect("free");
    for i in 0..40 {
        for lease in soon(lane.next(4)).await.expect("ours") {
            let note = DeathNote { reason: "Test".to_owned(), message: "it said so".to_owned() };
            let later = Outcome::Retry { after: Duration::from_hours(1) };
            soon(lease.settle(if i % 2 == 0 { later } else { Outcome::Dead(note) })).await;
        }
    }
    drop(lane);
    soon(journal.close()).await.expect("closed");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("readable");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// The ids of webhook 1's deliveries, which are all in the queue. Opening compares the counts.
fn pending(journal: &Embedded) -> BTreeSet<String> {
    super::contents::found(journal).remove(&1).unwrap_or_default()
}

#[tokio::test]
async fn damage_in_a_log_is_reported_and_loses_no_more_than_the_batches_that_it_is_in() {
    let seed = seed();
    let mut dice = Dice(seed);
    let bench = Bench::new();
    write(&bench).await;
    let home = bench.config().path;
    let (mut reported, mut lost) = (0, 0);
    for round in 0..40 {
        let folder = disk::folder();
        let journal = folder.path().join("journal");
        copy(&home, &journal);
        let log = logs(&journal).pop().expect("a log");
        let mut bytes = std::fs::read(&log).expect("readable");
        let used = bytes.iter().rposition(|byte| *byte != 0).expect("not empty") + 1;
        let whole = scan::scan(&bytes, false);
        assert!(whole.damaged.is_empty() && whole.torn == 0, "{whole:?}");
        let flips = 1 + dice.below(3);
        let mut hit = BTreeSet::new();
        for _ in 0..flips {
            let at = dice.below(used);
            bytes[at] ^= 1 << dice.below(8);
            hit.insert(whole.good.iter().position(|range| range.contains(&at)).expect("in a batch"));
        }
        std::fs::write(&log, &bytes).expect("written");
        let opened = Embedded::open(Config::new(&journal), Clock::default());
        let opened = opened.unwrap_or_else(|cause| panic!("seed {seed}, round {round}: {cause}"));
        let found = pending(&opened);
        let missing = EVENTS - found.len();
        // A commit may hold several of our batches of ten, but these came one by one.
        assert!(missing <= 10 * hit.len() * 2, "seed {seed}, round {round}: {missing} lost by {hit:?}");
        let damages = opened.metrics().damaged.get();
        assert!(missing == 0 || damages > 0, "seed {seed}, round {round}: {missing} lost and nothing said");
        assert!(damages == 0 || journal.join("damaged").exists());
        let one = vec![append("more", &[1, 2])];
        assert_eq!(soon(opened.append(one)).await, [Appended::Stored], "seed {seed}, round {round}");
        soon(opened.close()).await.expect("closed");
        drop(opened);
        let again = Embedded::open(Config::new(&journal), Clock::default()).expect("it opens");
        assert_eq!(again.metrics().damaged.get(), 0, "seed {seed}, round {round}: it is whole again");
        assert_eq!(pending(&again).len(), found.len() + 1);
        reported += damages;
        lost += missing;
    }
    assert!(reported > 20, "seed {seed}: {reported}");
    println!(
        "seed {seed}: 40 damaged logs, {reported} damages reported, {lost} of {} events lost",
        40 * EVENTS
    );
}

#[tokio::test]
async fn a_log_cut_short_anywhere_opens_with_what_is_before_the_cut() {
    let seed = seed();
    let mut dice = Dice(seed);
    let bench = Bench::new();
    write(&bench).await;
    for round in 0..20 {
        let folder = disk::folder();
        let journal = folder.path().join("journal");
        copy(&bench.config().path, &journal);
        let log = logs(&journal).pop().expect("a log");
        let bytes = std::fs::read(&log).expect("readable");
        let used = bytes.iter().rposition(|byte| *byte != 0).expect("not empty") + 1;
        let cut = dice.below(used);
        std::fs::write(&log, &bytes[..cut]).expect("written");
        let opened = Embedded::open(Config::new(&journal), Clock::default());
        let opened =
            opened.unwrap_or_else(|cause| panic!("seed {seed}, round {round}, cut at {cut}: {cause}"));
        assert_eq!(opened.metrics().damaged.get(), 0, "an unfinished write is no damage");
        assert_eq!(soon(opened.append(vec![append("more", &[1])])).await, [Appended::Stored]);
    }
}

#[tokio::test]
async fn an_end_between_leaving_out_damage_and_counting_is_made_up_for() {
    let bench = Bench::new();
    write(&bench).await;
    let home = bench.config().path;
    let log = logs(&home).pop().expect("a log");
    let mut bytes = std::fs::read(&log).expect("readable");
    let whole = scan::scan(&bytes, false);
    let middle = whole.good.get(whole.good.len() / 2).expect("many batches");
    bytes[middle.start + 40] ^= 1;
    std::fs::write(&log, bytes).expect("written");
    // The process ends where this has been done.
    let metrics = Metrics::default();
    prepare(&home.join("store"), &Flushed::new(), true, &metrics).expect("readable");
    assert_eq!(metrics.damaged.get(), 1);
    // Opening compares the counts.
    let journal = bench.open();
    assert_eq!(journal.metrics().damaged.get(), 0, "it was left out before");
    assert_eq!(pending(&journal).len(), EVENTS - 10);
    assert!(!home.join("REPAIR").exists());
}

/// A random one, or the one that is to be tried again.
fn seed() -> u64 {
    number("HERALD_TEST_SEED", rand::random_range(0..1_000_000))
}

/// The largest table, which is one of the queue.
fn table(journal: &Path) -> PathBuf {
    let keyspaces = std::fs::read_dir(journal.join("store/keyspaces")).expect("keyspaces");
    let folders = keyspaces.map(|entry| entry.expect("readable").path().join("tables"));
    let tables = folders.flat_map(|folder| std::fs::read_dir(folder).expect("tables"));
    let sized = tables.map(|entry| entry.expect("readable").path());
    sized.max_by_key(|path| path.metadata().expect("readable").len()).expect("a table")
}

/// Delivers to webhook 1 until all is delivered or counted as unreadable.
async fn deliver_all(journal: &Embedded) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let unreadable = || usize::try_from(journal.metrics().unreadable.get()).expect("few");
    while found.len() + unreadable() < EVENTS {
        let Ok(mut lane) = journal.claim(webhook(1), Ordering::None).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        while found.len() + unreadable() < EVENTS {
            let Ok(leases) = lane.next(64).await else { break };
            for lease in leases {
                found.insert(lease.delivery().event.id.clone());
                lease.settle(Outcome::Done).await;
            }
        }
    }
    found
}

#[tokio::test]
async fn damage_in_a_table_costs_what_is_in_its_block_and_the_lane_goes_on() {
    let seed = seed();
    let mut dice = Dice(seed);
    let bench = Bench::new();
    write(&bench).await;
    {
        let journal = bench.open();
        flush(&journal, |_| true);
        soon(journal.close()).await.expect("closed");
    }
    let (mut refused, mut salvaged, mut lost) = (0, 0, 0);
    for round in 0..20 {
        let folder = disk::folder();
        let journal = folder.path().join("journal");
        copy(&bench.config().path, &journal);
        let table = table(&journal);
        let mut bytes = std::fs::read(&table).expect("readable");
        let at = dice.below(bytes.len());
        bytes[at] ^= 1 << dice.below(8);
        std::fs::write(&table, &bytes).expect("written");
        let Ok(opened) = Embedded::open(Config::new(&journal), Clock::default()) else {
            // What the library needs to open the table at all.
            refused += 1;
            continue;
        };
        let all = tokio::time::timeout(Duration::from_mins(1), deliver_all(&opened)).await;
        assert!(all.is_ok(), "seed {seed}, round {round}, byte {at}: the lane does not go on");
        let metrics = opened.metrics();
        let unreadable = metrics.unreadable.get();
        assert!(unreadable == 0 || metrics.damaged.get() > 0, "seed {seed}, round {round}: nothing was said");
        // What tells where the blocks are is at the end of a table, which cannot be read without it.
        let of_index = at > bytes.len() - bytes.len() / 20;
        let length = bytes.len();
        assert!(
            unreadable < 300 || of_index,
            "seed {seed}, round {round}: {unreadable} unreadable, by byte {at} of {length}"
        );
        salvaged += u64::from(metrics.volume.reopened.get() > 0);
        lost += unreadable;
        // A compaction may meet the damage as well, and then the store is salvaged once more.
        soon(async {
            while opened.append(vec![append("more", &[1])]).await != [Appended::Stored] {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        soon(opened.close()).await.expect("closed");
    }
    println!(
        "seed {seed}: 20 damaged tables, {salvaged} salvaged with {lost} deliveries lost, {refused} not opened"
    );
    assert!(salvaged > 3, "seed {seed}: {salvaged}");
}
