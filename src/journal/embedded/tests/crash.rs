//! A power cut at any moment loses nothing that was acknowledged.
//!
//! ```text
//! child: journal under load, on a recorded disk; it writes to LEDGER, on the same disk,
//!        what was acknowledged and what it is about to settle
//! test:  for many moments of the log, and for several ways to lose what was not fsynced:
//!        open the journal on what is left, and compare with LEDGER as it was at that moment
//! ```

#![expect(clippy::print_stdout, reason = "figures that the documentation gives")]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::disk::log::{self, Op};
use super::disk::world::{self, Crash, World};
use super::disk::{self, Dice, Disk};
use super::{SMALL_BUFFERS, event, soon, webhook};
use crate::journal::embedded::record::{self, Ticket};
use crate::journal::embedded::{Config, Embedded, keys};
use crate::journal::{Append, Appended, DeathNote, Journal, Lane, Lease, Outcome};
use crate::model::{Clock, Ordering};

/// Tells the child where to work; nobody else sets it.
const FOLDER: &str = "HERALD_TEST_CRASH_FOLDER";

/// How many events the child appends, and how large the last ones are.
const EVENTS: &str = "HERALD_TEST_CRASH_EVENTS";
const LARGE: &str = "HERALD_TEST_CRASH_LARGE";

/// Whether the disk fails now and then.
const FAULTY: &str = "HERALD_TEST_CRASH_FAULTY";

/// States to look at, and the seed; to look longer, or again.
const STATES: &str = "HERALD_TEST_CRASH_STATES";
const SEED: &str = "HERALD_TEST_CRASH_SEED";

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn size(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// What was promised, a line at a time.
#[derive(Clone)]
pub struct Ledger(Arc<Mutex<std::fs::File>>);

impl Ledger {
    /// In the folder that is recorded.
    pub fn new(folder: &Path) -> Self {
        let file = std::fs::File::create(folder.join("LEDGER")).expect("a ledger");
        Self(Arc::new(Mutex::new(file)))
    }

    /// One write.
    pub fn say(&self, line: &str) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(format!("{line}\n").as_bytes()).expect("written");
    }
}

/// What a ledger says must be there.
#[derive(Debug, Default)]
pub struct Promised {
    /// By webhook: acknowledged, and nobody was about to settle it.
    pub pending: BTreeMap<u8, BTreeSet<String>>,
    /// How many times the store was opened again.
    pub reopened: u64,
    /// Acknowledged, the last of them.
    pub last: Option<(String, Vec<u8>)>,
}

impl Promised {
    /// From its lines; the last may be cut short.
    pub fn read(text: &str) -> Self {
        let mut promised = Self::default();
        // A delivery may be out before its event's line is.
        let mut settling: HashSet<(u8, String)> = HashSet::new();
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in complete.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["STORED", id, webhooks] => {
                    let webhooks: Vec<u8> =
                        webhooks.split(',').map(|n| n.parse().expect("a number")).collect();
                    for webhook in webhooks.iter().filter(|n| !settling.contains(&(**n, id.to_owned()))) {
                        promised.pending.entry(*webhook).or_default().insert(id.to_owned());
                    }
                    promised.last = Some((id.to_owned(), webhooks));
                }
                ["SETTLING", webhook, id] => {
                    let webhook = webhook.parse().expect("a number");
                    promised.pending.entry(webhook).or_default().remove(id);
                    settling.insert((webhook, id.to_owned()));
                }
                ["DROPPING", webhook] => drop(promised.pending.remove(&webhook.parse().expect("a number"))),
                ["REOPENED", times] => promised.reopened = times.parse().expect("a number"),
                _ => panic!("{line}"),
            }
        }
        promised
    }
}

fn random_event(dice: &mut Dice, id: &str, bytes: usize) -> Arc<crate::model::Event> {
    let mut event = (*event(id, &format!("u{}", dice.below(20)))).clone();
    let noise: Vec<u8> =
        std::iter::repeat_with(|| dice.roll().to_ne_bytes()).take(bytes / 8).flatten().collect();
    event.data = Bytes::from(noise);
    Arc::new(event)
}

/// Webhook 1 delivers, 2 does in order and retries, 3 is dropped, 4 has dead letters, 5 waits.
async fn deliver(journal: Embedded, ledger: Ledger, number: u8) {
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

/// The child. Without a folder there is nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = PathBuf::from(folder);
    let ledger = Ledger::new(&folder);
    let journal = Embedded::open(Config::new(folder.join("journal")), Clock::default()).expect("it opens");
    let deliveries: Vec<_> =
        [1, 2, 4].map(|n| tokio::spawn(deliver(journal.clone(), ledger.clone(), n))).into_iter().collect();
    let mut dice = Dice(number(SEED, 1));
    let (events, large) = (number(EVENTS, 1), number(LARGE, 0));
    let fails = std::env::var_os(FAULTY).is_some();
    let faults = PathBuf::from(std::env::var_os(disk::FAULTS).expect("a disk that can fail"));
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
            lines.push(format!("STORED {id} {}", list.join(",")));
            let event = random_event(&mut dice, &id, bytes);
            batch.push(Append { event, webhooks: webhooks.into_iter().map(webhook).collect() });
            at += 1;
        }
        if fails && dice.below(30) == 0 {
            let nth = 1 + dice.below(3);
            disk::fail(&faults, &format!("{} EIO {nth}", ["fsync", "dirsync", "write"][dice.below(3)]));
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
        ledger.say(&format!("REOPENED {}", journal.metrics().reopened.get()));
        while !journal.is_open() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    journal.close().await.expect("closed");
}

/// As a producer does: the same again, until it is known to be stored.
async fn store_until_answered(journal: &Embedded, batch: Vec<Append>) {
    loop {
        let answers = journal.append(batch.clone()).await;
        if answers.iter().all(|answer| matches!(answer, Appended::Stored | Appended::Duplicate)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Runs a child of this test binary on the disk.
pub fn run(disk: &Disk, test: &str, environment: &[(&str, &str)]) {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(FOLDER, disk.root());
    command.env(SMALL_BUFFERS, "1").envs(environment.iter().copied()).stdout(Stdio::null());
    disk.watch(&mut command);
    assert!(command.status().expect("it starts").success(), "{test} failed");
}

/// Deliveries and dead letters, by webhook.
pub fn found(journal: &Embedded) -> BTreeMap<u8, BTreeSet<String>> {
    let store = journal.0.core.store().expect("open");
    let mut found: BTreeMap<u8, BTreeSet<String>> = BTreeMap::new();
    let mut add = |key: &[u8], event: crate::model::Event| {
        found.entry(key[0]).or_default().insert(event.id);
    };
    let shared = |seq: u64| {
        let record = store.events.get(keys::seq(seq)).expect("readable").expect("an event");
        record::decode_event(&record).expect("an event")
    };
    for guard in store.ready.iter() {
        let (key, entry) = guard.into_inner().expect("readable");
        let own = record::event_of_entry(&entry);
        let event = if Ticket::decode(&entry).expect("a ticket").shared {
            shared(keys::last(&key).expect("a key"))
        } else {
            record::decode_event(own).expect("an event")
        };
        add(&key, event);
    }
    for guard in store.order.iter() {
        let key = guard.key().expect("readable");
        add(&key, shared(keys::last(&key).expect("a key")));
    }
    for guard in store.dead.iter() {
        let (key, letter) = guard.into_inner().expect("readable");
        add(
            &key,
            (*record::decode_death(&letter, crate::journal::inspect::LetterId::default())
                .expect("a letter")
                .event)
                .clone(),
        );
    }
    found
}

/// Is printed by whatever panics while it is there.
struct Said(String);

impl Drop for Said {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.0);
        }
    }
}

/// Opens what a crash has left, and compares; opening compares the counts.
async fn check(folder: &Path, promised: &Promised, what: &str) {
    let opened = Embedded::open(Config::new(folder.join("journal")), Clock::default());
    let journal = opened.unwrap_or_else(|cause| panic!("{what}: {cause}"));
    let found = found(&journal);
    for (number, ids) in &promised.pending {
        let there = found.get(number).cloned().unwrap_or_default();
        let lost: Vec<_> = ids.difference(&there).collect();
        assert!(lost.is_empty(), "{what}: lost for webhook {number}: {lost:?}");
    }
    if let Some((id, webhooks)) = &promised.last {
        let repeat =
            Append { event: event(id, "u"), webhooks: webhooks.iter().copied().map(webhook).collect() };
        assert_eq!(soon(journal.append(vec![repeat])).await, [Appended::Duplicate], "{what}: {id}");
    }
    soon(journal.close()).await.unwrap_or_else(|cause| panic!("{what}: {cause}"));
}

/// Looks at `states` of the moments that `choose` likes.
async fn look(
    disk: &Disk,
    ops: &[Op],
    states: usize,
    seed: u64,
    choose: impl Fn(&Op, usize) -> bool,
) -> usize {
    let mut dice = Dice(seed);
    let likely: HashSet<usize> =
        ops.iter().enumerate().filter(|(i, op)| choose(op, *i)).map(|(i, _)| i).collect();
    // Where there are more such moments than states, some are left out by chance.
    let share = states * 3 / 4;
    let every = likely.len().div_ceil(share.max(1)).max(1);
    let others = ops.len().div_ceil((states / 4).max(1)).max(1);
    let mut world = World::new();
    let mut looked = 0;
    for (i, op) in ops.iter().enumerate() {
        let before = likely.contains(&i) && dice.below(every) == 0;
        if before || dice.below(others) == 0 {
            let crash = match dice.below(10) {
                0..=3 => Crash::Everything,
                4 => Crash::Names,
                5 => Crash::Bytes,
                6 => Crash::Killed,
                _ => Crash::Chance(dice.roll()),
            };
            let mut left = disk::folder();
            world.write(crash, left.path()).expect("written");
            let promised = Promised::read(&world.text("LEDGER"));
            let what = format!("seed {seed}, before operation {i} of {} ({op:?}), {crash:?}", ops.len());
            let what = what.chars().take(400).collect::<String>();
            // It stays where it is if this fails.
            left.disable_cleanup(true);
            let what = Said(format!("{what}, in {}", left.path().display()));
            check(left.path(), &promised, &what.0).await;
            left.disable_cleanup(false);
            looked += 1;
        }
        world.apply(op);
    }
    let end = disk::folder();
    world.write(Crash::Killed, end.path()).expect("written");
    world::assert_equal(&disk.root(), end.path());
    looked
}

#[tokio::test]
async fn a_power_cut_at_any_moment_loses_nothing_that_was_acknowledged() {
    let seed = number(SEED, rand::random_range(0..1_000_000));
    let states = size(STATES, 120);
    let disk = Disk::new();
    let text = seed.to_string();
    run(&disk, "journal::embedded::tests::crash::child", &[(SEED, &text), (EVENTS, "400")]);
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
    let states = size(STATES, 120) / 60;
    let disk = Disk::new();
    let text = seed.to_string();
    // The library takes a new log after 64 MB.
    run(&disk, "journal::embedded::tests::crash::child", &[(SEED, &text), (EVENTS, "1500"), (LARGE, "1400")]);
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
    let states = size(STATES, 120) / 2;
    let disk = Disk::new();
    let text = seed.to_string();
    let environment = [(SEED, text.as_str()), (EVENTS, "400"), (FAULTY, "1")];
    run(&disk, "journal::embedded::tests::crash::child", &environment);
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

/// Fills the disk under the journal, and makes room again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = PathBuf::from(folder);
    let ledger = Ledger::new(&folder);
    let faults = PathBuf::from(std::env::var_os(disk::FAULTS).expect("a disk that can fail"));
    let mut config = Config::new(folder.join("journal"));
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
            let full = [Appended::Refused(crate::journal::RefusedReason::DiskFull)];
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
    ledger.say(&format!("REOPENED {}", journal.metrics().reopened.get()));
    deliverer.abort();
    journal.close().await.expect("closed");
}

/// Whether the child keeps a reserve.
const RESERVED: &str = "HERALD_TEST_CRASH_RESERVED";

#[tokio::test]
async fn a_disk_that_is_full_loses_nothing_with_a_reserve_and_without() {
    for reserved in [true, false] {
        let disk = Disk::new();
        let environment: &[(&str, &str)] = if reserved { &[(RESERVED, "1")] } else { &[] };
        run(&disk, "journal::embedded::tests::crash::full_child", environment);
        let ledger = std::fs::read_to_string(disk.root().join("LEDGER")).expect("a ledger");
        let promised = Promised::read(&ledger);
        assert_eq!(promised.reopened > 0, !reserved, "with a reserve nothing fails: {}", promised.reopened);
        check(&disk.root(), &promised, if reserved { "with a reserve" } else { "without" }).await;
    }
}
