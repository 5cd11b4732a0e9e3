//! A process that is killed keeps what it has acknowledged.
//!
//! The test starts this very test binary again, as the child that appends and
//! delivers and says what was acknowledged, and kills it: at a moment of
//! chance, or at one of the places in the way of a write.

#![expect(clippy::print_stdout, reason = "figures that the documentation gives")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::Ordering as Atomic;
use std::time::{Duration, Instant};

use super::disk::{self, Dice};
use super::{KILL_AT, SMALL_BUFFERS, append, die_of_any_panic, number, soon, webhook};
use crate::journal::embedded::{Config, Embedded};
use crate::journal::{Appended, Journal, Lane, Lease, OUTCOME_LOSS_WINDOW, Outcome};
use crate::model::{Clock, Ordering};

/// Tells the child where its journal is; nobody else sets it.
const FOLDER: &str = "HERALD_TEST_KILL_FOLDER";

/// How many are killed, and the seed.
const KILLS: &str = "HERALD_TEST_KILLS";
const SEED: &str = "HERALD_TEST_KILL_SEED";

/// Where, and how many times at most the place is passed before.
const PLACES: [(&str, usize); 7] = [
    ("gathered", 300),
    ("committed", 300),
    ("synced", 300),
    ("compacting", 4),
    ("dropping", 3),
    ("rewritten", 3),
    ("opened", 3),
];

/// The deliveries that one lane asks for at a time.
const LEASES: usize = 16;

/// The child: it works until it is killed. Without a folder there is nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    die_of_any_panic();
    let journal = Embedded::open(Config::new(folder), Clock::default()).expect("it opens");
    let deliveries = tokio::spawn(deliver(journal.clone()));
    for number in 0.. {
        let id = format!("e{number}");
        loop {
            let answer = journal.append(vec![append(&id, &[1, 2, 3])]).await;
            if matches!(answer[..], [Appended::Stored | Appended::Duplicate]) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        say("STORED", &id);
        match (number % 100, journal.0.core.store()) {
            (30, Some(store)) => {
                let _ = tokio::task::spawn_blocking(move || store.compact()).await;
            }
            (60, Some(store)) => store.fail_sync.store(true, Atomic::Relaxed),
            (90, Some(_)) => drop(journal.drop_webhook(webhook(3)).await),
            _ => {}
        }
    }
    deliveries.await.expect("never");
}

async fn deliver(journal: Embedded) {
    loop {
        let Ok(mut lane) = journal.claim(webhook(1), Ordering::None).await else {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        while let Ok(leases) = lane.next(LEASES).await {
            for lease in leases {
                say("DELIVERED", &lease.delivery().event.id);
                lease.settle(Outcome::Done).await;
            }
        }
    }
}

/// One write, so that no other thread's comes between.
fn say(what: &str, id: &str) {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let mut out = std::io::stdout().lock();
    let at = BEGUN.elapsed().as_millis();
    out.write_all(format!("{what} {id} {at} \n").as_bytes()).expect("written");
    out.flush().expect("flushed");
}

/// What a child said until it ended.
#[derive(Default)]
struct Said {
    stored: BTreeSet<String>,
    /// And when, by its clock.
    delivered: BTreeMap<String, Duration>,
    /// When it said something last.
    last: Duration,
}

/// What a child says until it is killed after `enough` events, or dies by itself.
fn run(folder: &Path, at: Option<&str>, enough: usize) -> Said {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command
        .args(["journal::embedded::tests::kill::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(SMALL_BUFFERS, "1")
        .stdout(Stdio::piped());
    if let Some(at) = at {
        command.env(KILL_AT, at);
    }
    let mut child = command.spawn().expect("it starts");
    let mut said = Said::default();
    let mut killed = false;
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        let line = line.expect("readable");
        // The test harness may write into the first line; the last one may be cut.
        for words in line.split_whitespace().collect::<Vec<_>>().windows(3) {
            let [what @ ("STORED" | "DELIVERED"), id, at] = words else { continue };
            let Ok(at) = at.parse().map(Duration::from_millis) else { continue };
            said.last = said.last.max(at);
            match *what {
                "STORED" => drop(said.stored.insert((*id).to_owned())),
                _ => drop(said.delivered.insert((*id).to_owned(), at)),
            }
        }
        if said.stored.len() >= enough && !killed {
            child.kill().expect("killed");
            killed = true;
        }
    }
    let ended = child.wait().expect("gone");
    assert_eq!(ended.code(), None, "it was not killed: {ended}");
    said
}

/// All that is pending for a webhook, up to the event `last`.
async fn pending(journal: &Embedded, number: u8) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let mut lane = soon(journal.claim(webhook(number), Ordering::None)).await.expect("free");
    while !ids.contains("last") {
        for lease in soon(lane.next(64)).await.expect("ours") {
            ids.insert(lease.delivery().event.id.clone());
            soon(lease.settle(Outcome::Done)).await;
        }
    }
    ids
}

#[tokio::test]
async fn a_killed_process_has_lost_nothing_that_it_acknowledged() {
    let kills = number(KILLS, 20);
    let seed: usize = number(SEED, rand::random_range(0..1_000_000));
    let mut dice = Dice(seed as u64);
    let (mut acknowledged, mut repeated, mut silence) = (0, 0, Duration::ZERO);
    for round in 0..kills {
        let folder = disk::folder();
        let (place, most) = PLACES[round / 2 % PLACES.len()];
        let place = format!("{place} {}", 1 + dice.below(most));
        let (at, enough) = if round % 2 == 0 { (None, 50 + dice.below(350)) } else { (Some(&*place), 600) };
        let what = format!("seed {seed}, round {round}, {at:?}, {enough}");
        let Said { stored, delivered, last } = run(folder.path(), at, enough);
        let begun = Instant::now();
        let opened = Embedded::open(Config::new(folder.path()), Clock::default());
        let journal = opened.unwrap_or_else(|cause| panic!("{what}: {cause}"));
        // One more tells where the end is.
        assert_eq!(soon(journal.append(vec![append("last", &[1, 2])])).await, [Appended::Stored], "{what}");
        silence = silence.max(begun.elapsed());
        let (of_first, of_second) = (pending(&journal, 1).await, pending(&journal, 2).await);
        let lost: Vec<_> = stored.difference(&of_second).collect();
        assert!(lost.is_empty(), "{what}: lost for the webhook that had no deliveries: {lost:?}");
        let lost: Vec<_> =
            stored.iter().filter(|id| !of_first.contains(*id) && !delivered.contains_key(*id)).collect();
        assert!(lost.is_empty(), "{what}: neither delivered nor pending: {lost:?}");
        let again: Vec<_> = delivered.iter().filter(|(id, _)| of_first.contains(*id)).collect();
        // What was in flight, and as much of which the outcome was on its way to the writer.
        let old = again.iter().filter(|(_, at)| **at + OUTCOME_LOSS_WINDOW < last).count();
        assert!(old <= 2 * LEASES, "{what}: {old} of {} old ones are delivered again", delivered.len());
        acknowledged += stored.len();
        repeated += again.len();
    }
    println!(
        "seed {seed}: {kills} kills, {acknowledged} acknowledged, 0 lost, {repeated} repeated, at most {} ms until \
         the next was stored",
        silence.as_millis()
    );
}
