//! What came of a delivery, on the disk.
//!
//! ```text
//! done, expired ──> the ticket goes, and the event with its last ticket
//! retry at      ──> the ticket moves to `retry`, and blocks its user in `order`;
//!                   an event that stood in the queue moves to `events`
//! dead          ──> as done, and a dead letter with a copy of the event
//! ```

use std::sync::Arc;

use super::cell::Cell;
use super::keys;
use super::op::{End, Place, Settle};
use super::order::{self, Unblocked};
use super::record::{self, Reader, Ticket};
use super::store::StoreError;
use super::writer::{Commit, Writer};
use crate::journal::DeadLetter;
use crate::journal::inspect::LetterId;
use crate::model::Timestamp;

impl Writer {
    /// Carries out an outcome.
    pub fn settle(&mut self, commit: &mut Commit, settle: Settle) -> Result<(), StoreError> {
        let Settle { cell, epoch, seq, place, ticket, end, unblocks } = settle;
        commit.outcomes += usize::from(end.has_permit());
        if cell.lock().dropped >= epoch {
            return Ok(());
        }
        if unblocks {
            // Before, so that all of this outcome is in one commit.
            self.flush_order(commit)?;
        }
        let counted = match end {
            End::Retry(at, event) => {
                if place == Place::Ready && !ticket.shared {
                    let record = record::encode_event(&event, ticket.accepted_at);
                    commit.batch.put(&self.store.events, keys::seq(seq), record);
                }
                self.retry(commit, cell, epoch, (seq, place, ticket), at);
                return Ok(());
            }
            End::Dead(event, note) => {
                let letter = DeadLetter {
                    id: LetterId::default(),
                    event,
                    accepted_at: ticket.accepted_at,
                    died_at: self.core.clock.now(),
                    attempts: ticket.failures.saturating_add(1),
                    note,
                };
                self.bury(commit, &cell, seq, &letter);
                None
            }
            End::Done => None,
            End::Expired => Some(self.core.metrics.expired.clone()),
            End::Unreadable => Some(self.core.metrics.unreadable.clone()),
        };
        self.end(commit, cell, epoch, (seq, place, ticket), unblocks)?;
        if let Some(counter) = counted {
            counter.inc();
        }
        Ok(())
    }

    /// Removes a delivery that has ended, and its event with the last one.
    /// If it `unblocks`, all of `order` must have been written.
    pub fn end(
        &mut self,
        commit: &mut Commit,
        cell: Arc<Cell>,
        epoch: u64,
        (seq, place, ticket): (u64, Place, Ticket),
        unblocks: bool,
    ) -> Result<(), StoreError> {
        self.unqueue(commit, &cell, seq, place);
        if let Place::Retry(_) = place {
            commit.batch.remove(&self.store.order, keys::order(cell.webhook, ticket.user, seq));
            commit.order_dirty = true;
        }
        self.release_event(commit, &cell, seq, &ticket, place == Place::Ready)?;
        let mut unblocked = Unblocked::default();
        if unblocks {
            unblocked = self.unblock(commit, &cell, ticket.user, seq)?;
        }
        {
            let mut inner = commit.counts_of(&cell);
            inner.pending = inner.pending.saturating_sub(1);
        }
        commit.after_write(move |_| {
            let mut inner = cell.lock();
            let Some(holder) = inner.holder(epoch) else {
                return;
            };
            let goes_on = holder.written(seq);
            holder.users.end(ticket.user, seq);
            if unblocks {
                holder.users.set_first(ticket.user, unblocked.first);
            }
            if let Place::Retry(at) = place {
                holder.retries.changes += 1;
                holder.retries.remove(at, seq);
            }
            let next = unblocked.first.zip(unblocked.due);
            if let Some((next, ticket)) = next {
                holder.retries.add(order::AT_ONCE, next, ticket);
            }
            drop(inner);
            if goes_on || next.is_some() {
                cell.changed.notify_one();
            }
        });
        Ok(())
    }

    fn retry(
        &mut self,
        commit: &mut Commit,
        cell: Arc<Cell>,
        epoch: u64,
        (seq, place, mut ticket): (u64, Place, Ticket),
        at: Timestamp,
    ) {
        // A key is written once in a commit: what stands at the same place is only replaced.
        if place == Place::Retry(at) {
            commit.counts_of(&cell).retrying -= 1;
        } else {
            self.unqueue(commit, &cell, seq, place);
        }
        ticket.failures = ticket.failures.saturating_add(1);
        let webhook = cell.webhook;
        commit.batch.put(&self.store.retry, keys::timed(webhook, at, seq), ticket.encode());
        let key = keys::order(webhook, ticket.user, seq);
        commit.batch.put(&self.store.order, key, order::encode(Some(at), &ticket));
        commit.order_dirty = true;
        commit.counts_of(&cell).retrying += 1;
        commit.after_write(move |_| {
            let mut inner = cell.lock();
            let Some(holder) = inner.holder(epoch) else {
                return;
            };
            holder.written(seq);
            holder.users.end(ticket.user, seq);
            holder.users.add(ticket.user, seq);
            holder.retries.unwritten -= 1;
            holder.retries.add(at, seq, ticket);
            drop(inner);
            cell.changed.notify_one();
        });
    }

    fn unqueue(&mut self, commit: &mut Commit, cell: &Arc<Cell>, seq: u64, place: Place) {
        match place {
            Place::Ready => commit.batch.remove_once(&self.store.ready, keys::ready(cell.webhook, seq)),
            Place::Retry(at) => {
                commit.batch.remove(&self.store.retry, keys::timed(cell.webhook, at, seq));
                let mut inner = commit.counts_of(cell);
                inner.retrying = inner.retrying.saturating_sub(1);
            }
        }
    }

    /// One delivery less of an event; the event goes with the last. An event
    /// of one webhook alone has gone with its entry if that was still `ready`.
    pub fn release_event(
        &mut self,
        commit: &mut Commit,
        cell: &Cell,
        seq: u64,
        ticket: &Ticket,
        ready: bool,
    ) -> Result<(), StoreError> {
        if ticket.shared {
            let left = match commit.shares.get(&seq) {
                Some(left) => *left,
                None => match self.store.shares.get(keys::seq(seq))? {
                    Some(bytes) => Reader { bytes: &bytes, kind: "share" }.u32()?,
                    None => 1,
                },
            };
            commit.shares.insert(seq, left.saturating_sub(1));
            if left > 1 {
                return Ok(());
            }
        }
        if ticket.shared || !ready {
            commit.batch.remove_once(&self.store.events, keys::seq(seq));
        }
        self.live_bytes = self.live_bytes.saturating_sub(u64::from(ticket.size));
        let namespace = cell.lock().namespace;
        if let Some(namespace) = namespace {
            self.core.spaces.release(namespace, u64::from(ticket.size));
            commit.spaces.insert(namespace);
        }
        Ok(())
    }
}
