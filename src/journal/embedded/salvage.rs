//! A store whose tables are damaged, written again without what cannot be read.
//!
//! ```text
//! store/ ── each keyspace, around the damage ──> store.new/ ── repair ──> store/
//!
//! from the front ──────> damage ... damage <────── from the back
//!                              └─ again, from between ─┘
//! ```
//!
//! The library reads a table by blocks, each with a checksum, and fails at one
//! that is damaged: a lane could not get past it, nor a compaction. What cannot
//! be read of a queue are its deliveries in that block; they are counted as
//! unreadable. Of a table whose index is damaged nothing can be read, which may be
//! 8 MiB; one whose footer is damaged the library does not open.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use fjall::Keyspace;

use super::disk;
use super::open::OpenError;
use super::repair;
use super::seen::SeenFilters;
use super::store::{Store, StoreError};
use crate::journal::metrics::Metrics;

/// Records that one commit copies.
const PIECE: usize = 1000;

/// How many times a gap is halved to find what is whole in it.
const HALVINGS: u32 = 8;

/// Reads everything once; whether it could be.
pub fn is_whole(store: &Store) -> bool {
    store.keyspaces().into_iter().all(|keyspace| keyspace.iter().all(|guard| guard.into_inner().is_ok()))
}

/// Puts a copy of what can be read in the place of a store, which is let go.
pub fn salvage(
    store: Store,
    home: &Path,
    cache: u64,
    filters: Arc<SeenFilters>,
    metrics: &Metrics,
) -> Result<(), OpenError> {
    let new = home.with_extension("new");
    let io = |cause| OpenError::Io { path: new.clone(), cause };
    let failed = |cause| OpenError::Store { path: new.clone(), cause };
    if new.exists() {
        std::fs::remove_dir_all(&new).map_err(io)?;
    }
    let lock: Arc<File> = store.lock();
    let copy = Store::open(&new, cache, filters, lock).map_err(failed)?;
    for (from, to) in store.keyspaces().into_iter().zip(copy.keyspaces()) {
        if !(Copying { from, to, store: &copy, whole: true }).all().map_err(failed)? {
            tracing::error!(keyspace = %from.name(), "a table of the journal is damaged; the rest is recovered");
            metrics.damaged.inc();
        }
    }
    let counters = copy.counters().map_err(failed)?;
    repair::repair(&copy, counters, metrics).map_err(failed)?;
    drop((copy, store));
    disk::sync_folders(&new).map_err(io)?;
    // A crash between these two is seen by who opens it next.
    std::fs::rename(home, home.with_extension("old")).map_err(io)?;
    std::fs::rename(&new, home).map_err(io)?;
    disk::sync_folder(home.parent().unwrap_or(home)).map_err(io)?;
    std::fs::remove_dir_all(home.with_extension("old")).map_err(io)
}

/// A bound above every key.
const ABOVE: [u8; WIDTH] = [u8::MAX; WIDTH];

/// Longer than any key.
const WIDTH: usize = 40;

struct Copying<'a> {
    from: &'a Keyspace,
    to: &'a Keyspace,
    store: &'a Store,
    whole: bool,
}

impl Copying<'_> {
    /// Whether all of it could be read.
    fn all(mut self) -> Result<bool, StoreError> {
        self.between(vec![0], ABOVE.to_vec(), HALVINGS)?;
        Ok(self.whole)
    }

    /// Copies what can be read from `low` on, and before `high`.
    fn between(&mut self, mut low: Vec<u8>, mut high: Vec<u8>, halvings: u32) -> Result<(), StoreError> {
        if low >= high || self.walk(&mut low, &mut high, true)? || self.walk(&mut low, &mut high, false)? {
            return Ok(());
        }
        self.whole = false;
        if let Some(middle) = middle(&low, &high).filter(|_| halvings > 0) {
            self.between(low, middle.clone(), halvings - 1)?;
            self.between(middle, high, halvings - 1)?;
        }
        Ok(())
    }

    /// From one side until it cannot be read, where that bound is then. Whether it was read to the end.
    fn walk(&self, low: &mut Vec<u8>, high: &mut Vec<u8>, forward: bool) -> Result<bool, StoreError> {
        let mut batch = self.store.batch();
        let mut size = 0;
        let mut range = self.from.range(low.clone()..high.clone());
        let mut read = true;
        while let Some(guard) = if forward { range.next() } else { range.next_back() } {
            let Ok((key, value)) = guard.into_inner() else {
                read = false;
                break;
            };
            if forward {
                *low = [&*key, &[0]].concat();
            } else {
                *high = key.to_vec();
            }
            batch.put(self.to, key, value);
            size += 1;
            if size == PIECE {
                self.store.copy(std::mem::replace(&mut batch, self.store.batch()))?;
                size = 0;
            }
        }
        self.store.copy(batch)?;
        Ok(read)
    }
}

/// A key between two others, if there is one.
fn middle(low: &[u8], high: &[u8]) -> Option<Vec<u8>> {
    let digit = |key: &[u8], i: usize| u16::from(key.get(i).copied().unwrap_or(0));
    let mut sum = [0_u16; WIDTH];
    let mut carry = 0;
    for (i, place) in sum.iter_mut().enumerate().rev() {
        let total = digit(low, i) + digit(high, i) + carry;
        (*place, carry) = (total & 0xff, total >> 8);
    }
    let mut half = Vec::with_capacity(WIDTH);
    for place in sum {
        let value = carry << 8 | place;
        half.push(u8::try_from(value >> 1).unwrap_or(u8::MAX));
        carry = value & 1;
    }
    (low < half.as_slice() && half.as_slice() < high).then_some(half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_between_or_there_is_none() {
        assert!(middle(&[0], &ABOVE).is_some_and(|half| half[0] == 0x7f));
        assert!(middle(&[1, 0xff], &[2]).is_some_and(|half| half[..2] == [1, 0xff] && half[2] == 0x80));
        assert!(middle(&[0xff], &[0xff, 2]).is_some_and(|half| half[..2] == [0xff, 1]));
        let one = [7; WIDTH];
        assert_eq!(middle(&one, &one), None);
    }
}
