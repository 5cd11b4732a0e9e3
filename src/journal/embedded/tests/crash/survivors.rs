//! What a crash may have left, opened and compared with what was promised.
//!
//! What was not acknowledged may be there or not, but not in part: its producer repeats it, and
//! must not be told that it is a duplicate when its deliveries are missing.

use std::collections::HashSet;
use std::path::Path;

use super::super::disk::log::Op;
use super::super::disk::world::{self, Crash, World};
use super::super::disk::{self, Dice, Disk};
use super::super::{contents, event, soon, webhook};
use super::ledger::Promised;
use crate::journal::embedded::{Config, Embedded};
use crate::journal::{Append, Appended, Journal};
use crate::model::Clock;

/// Looks at `states` of the moments that `choose` likes.
pub(super) async fn look(
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

/// Opens what a crash has left, and compares; opening compares the counts.
pub(super) async fn check(folder: &Path, promised: &Promised, what: &str) {
    let opened = Embedded::open(Config::new(folder.join("journal")), Clock::default());
    let journal = opened.unwrap_or_else(|cause| panic!("{what}: {cause}"));
    let found = contents::found(&journal);
    for (number, ids) in &promised.pending {
        let there = found.get(number).cloned().unwrap_or_default();
        let lost: Vec<_> = ids.difference(&there).collect();
        assert!(lost.is_empty(), "{what}: lost for webhook {number}: {lost:?}");
    }
    if let Some((id, webhooks)) = &promised.last {
        assert_eq!(repeat(&journal, id, webhooks).await, [Appended::Duplicate], "{what}: {id}");
    }
    for (id, webhooks) in &promised.tried {
        if repeat(&journal, id, webhooks).await == [Appended::Duplicate] {
            let is_there = |number| found.get(number).is_some_and(|ids| ids.contains(id));
            assert!(webhooks.iter().all(is_there), "{what}: {id} for {webhooks:?} is a duplicate of nothing");
        }
    }
    soon(journal.close()).await.unwrap_or_else(|cause| panic!("{what}: {cause}"));
}

async fn repeat(journal: &Embedded, id: &str, webhooks: &[u8]) -> Vec<Appended> {
    let webhooks = webhooks.iter().copied().map(webhook).collect();
    soon(journal.append(vec![Append { event: event(id, "u"), webhooks }])).await
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
