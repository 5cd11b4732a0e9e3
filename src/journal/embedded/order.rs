//! Per-user order on the disk: who is parked behind whom, and who goes next.
//!
//! ```text
//! an earlier one of the user in `order` or leased ──> parked
//! the earlier one ends ──> the first parked one of the user ──> `retry`, due at once
//! ```
//!
//! The unblocked delivery goes through `retry` in the commit that ends the one
//! before it, so that a restart finds it, and nobody scans for it.

use std::sync::Arc;

use super::cell::Cell;
use super::fill;
use super::keys;
use super::op::{Parking, Place};
use super::record::{Corrupt, Reader, Ticket};
use super::store::StoreError;
use super::writer::{Commit, Writer};
use crate::model::Timestamp;

/// Due at once, before any retry.
pub const AT_ONCE: Timestamp = Timestamp::from_millis(0);

const PARKED: u64 = u64::MAX;

/// An entry of `order`: when it is due, or `None` while it is parked.
pub fn encode(at: Option<Timestamp>, ticket: &Ticket) -> [u8; 32] {
    let mut bytes = [0; 32];
    let (place, rest) = bytes.split_at_mut(8);
    place.copy_from_slice(&at.map_or(PARKED, Timestamp::as_millis).to_be_bytes());
    rest.copy_from_slice(&ticket.encode());
    bytes
}

/// What [`encode`] wrote.
pub fn decode(bytes: &[u8]) -> Result<(Option<Timestamp>, Ticket), Corrupt> {
    let mut reader = Reader { bytes, kind: "order" };
    let at = reader.u64()?;
    let ticket = Ticket::decode(reader.bytes)?;
    Ok(((at != PARKED).then(|| Timestamp::from_millis(at)), ticket))
}

/// What the end of a delivery made of its user's part of `order`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unblocked {
    /// The number of the first delivery in it.
    pub first: Option<u64>,
    /// What is stored with that one, if it has just become due.
    pub due: Option<Ticket>,
}

impl Writer {
    /// Parks a delivery behind an earlier one of its user. If that one has
    /// ended since, the delivery is due at once.
    pub fn park(&mut self, commit: &mut Commit, parking: &Parking) -> Result<(), StoreError> {
        let Parking { cell, epoch, seq, place, ticket, record } = parking;
        self.flush_order(commit)?;
        // What it was to wait for in memory is in the queue again: so is it.
        {
            let inner = cell.lock();
            if inner.epoch != *epoch || inner.dropped >= *epoch {
                return Ok(());
            }
        }
        let first = fill::first_in_order(&self.store, cell, ticket.user)?;
        let waits = {
            let mut inner = cell.lock();
            let busy =
                inner.holder(*epoch).is_some_and(|holder| holder.users.is_busy_before(ticket.user, *seq));
            busy || first.is_some_and(|first| first < *seq)
        };
        let at = (!waits).then_some(AT_ONCE);
        match place {
            Place::Ready => commit.batch.remove_once(&self.store.ready, keys::ready(cell.webhook, *seq)),
            Place::Retry(at) => commit.batch.remove(&self.store.retry, keys::timed(cell.webhook, *at, *seq)),
        }
        if let Some(record) = record {
            commit.batch.put(&self.store.events, keys::seq(*seq), record.as_slice());
        }
        self.put_order(commit, cell, *seq, ticket, at);
        {
            let mut inner = commit.counts_of(cell);
            if matches!(place, Place::Retry(_)) {
                inner.retrying = inner.retrying.saturating_sub(1);
            }
            match at {
                None => inner.parked += 1,
                Some(_) => inner.retrying += 1,
            }
        }
        let (cell, epoch, seq, ticket) = (cell.clone(), *epoch, *seq, *ticket);
        commit.after_write(move |_| {
            let mut inner = cell.lock();
            if let Some(holder) = inner.holder(epoch) {
                holder.written(seq);
                holder.users.parked(ticket.user);
                holder.users.add(ticket.user, seq);
                if let Some(at) = at {
                    holder.retries.add(at, seq, ticket);
                }
            }
            drop(inner);
            cell.changed.notify_one();
        });
        Ok(())
    }

    fn put_order(&self, commit: &mut Commit, cell: &Cell, seq: u64, ticket: &Ticket, at: Option<Timestamp>) {
        let key = keys::order(cell.webhook, ticket.user, seq);
        commit.batch.put(&self.store.order, key, encode(at, ticket));
        if let Some(at) = at {
            commit.batch.put(&self.store.retry, keys::timed(cell.webhook, at, seq), ticket.encode());
        }
        commit.order_dirty = true;
    }

    /// The delivery `ended` of the user has: makes the first that is parked behind it due.
    pub fn unblock(
        &mut self,
        commit: &mut Commit,
        cell: &Arc<Cell>,
        user: u64,
        ended: u64,
    ) -> Result<Unblocked, StoreError> {
        let range = keys::order(cell.webhook, user, 0)..=keys::order(cell.webhook, user, u64::MAX);
        for guard in self.store.order.range(range) {
            let (key, value) = guard.into_inner()?;
            let next = keys::last(&key)?;
            if next == ended {
                continue;
            }
            let (at, waiting) = decode(&value)?;
            if at.is_some() {
                return Ok(Unblocked { first: Some(next), due: None });
            }
            self.put_order(commit, cell, next, &waiting, Some(AT_ONCE));
            let mut inner = commit.counts_of(cell);
            inner.parked = inner.parked.saturating_sub(1);
            inner.retrying += 1;
            return Ok(Unblocked { first: Some(next), due: Some(waiting) });
        }
        Ok(Unblocked::default())
    }

    /// Commits what is not yet visible to a read of `order`.
    pub fn flush_order(&mut self, commit: &mut Commit) -> Result<(), StoreError> {
        if commit.order_dirty { self.write(commit) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back_as_it_was_written() {
        let ticket =
            Ticket { accepted_at: Timestamp::from_millis(5), user: 1, size: 2, shared: false, failures: 3 };
        for at in [None, Some(AT_ONCE), Some(Timestamp::from_millis(99))] {
            assert_eq!(decode(&encode(at, &ticket)), Ok((at, ticket)));
        }
    }
}
