//! The retries of a lane that are due next, in memory; the others on disk.

use std::collections::BTreeMap;

use super::record::Ticket;
use crate::model::Timestamp;

/// The most that are in memory.
pub const HEAD: usize = 256;

/// The first entries of a lane's part of `retry`, without those that are out.
#[derive(Debug)]
pub struct Retries {
    head: BTreeMap<(Timestamp, u64), Ticket>,
    /// Whether the disk has no more than `head`.
    complete: bool,
    /// Outcomes that will add an entry when they are written. Until then a
    /// read from the disk would miss them.
    pub unwritten: usize,
    /// Counts what was written, so that a read that ran beside it is seen to be old.
    pub changes: u64,
}

impl Retries {
    /// Of a lane that has some on the disk, or none.
    pub fn new(some: bool) -> Self {
        Self { head: BTreeMap::new(), complete: !some, unwritten: 0, changes: 0 }
    }

    /// An entry was written.
    pub fn add(&mut self, at: Timestamp, seq: u64, ticket: Ticket) {
        self.changes += 1;
        let within = self.head.last_key_value().is_some_and(|(last, _)| (at, seq) < *last);
        if self.complete || within {
            self.head.insert((at, seq), ticket);
        }
        if self.head.len() > HEAD {
            self.head.pop_last();
            self.complete = false;
        }
    }

    /// The first entries were read; `complete` if there are no more.
    pub fn refill(&mut self, entries: impl Iterator<Item = ((Timestamp, u64), Ticket)>, complete: bool) {
        self.head.extend(entries);
        self.complete = complete;
    }

    /// Whether the disk must be read to know what is due next.
    pub fn must_read(&self) -> bool {
        self.head.is_empty() && !self.complete && self.unwritten == 0
    }

    /// When the next is due.
    pub fn next(&self) -> Option<Timestamp> {
        self.head.first_key_value().map(|((at, _), _)| *at)
    }

    /// Whether one is due.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.next().is_some_and(|at| at <= now)
    }

    /// Takes one that is due.
    pub fn pop_due(&mut self, now: Timestamp) -> Option<(Timestamp, u64, Ticket)> {
        let entry = self.head.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((at, seq), ticket) = entry.remove_entry();
        Some((at, seq, ticket))
    }

    /// Removes one that ended otherwise.
    pub fn remove(&mut self, at: Timestamp, seq: u64) {
        self.head.remove(&(at, seq));
    }
}
