//! Retention: what was accepted too long ago is not delivered any more.
//!
//! A lane that is read drops such deliveries as it meets them. This is for
//! those that nobody reads. A lane is looked at only when its oldest delivery
//! may be too old, and then at most [`PIECE`] of it at a time.

use std::collections::HashSet;
use std::sync::Arc;

use super::cell::Cell;
use super::keys;
use super::op::Place;
use super::order;
use super::record::Ticket;
use super::store::StoreError;
use super::writer::{Commit, Writer};
use crate::model::Timestamp;

/// Deliveries of a lane that end in one commit.
const PIECE: usize = 1000;

/// What a lane has on the disk that is too old.
#[derive(Default)]
struct Old {
    queued: Vec<(u64, Place, Ticket)>,
    parked: Vec<(u64, Ticket)>,
    /// When the oldest of the others was accepted.
    oldest: Option<Timestamp>,
    /// Whether there may be more.
    more: bool,
}

impl Old {
    fn is_full(&mut self) -> bool {
        self.more |= self.queued.len() + self.parked.len() >= PIECE;
        self.more
    }

    fn keep(&mut self, ticket: &Ticket) {
        self.oldest = Some(self.oldest.map_or(ticket.accepted_at, |oldest| oldest.min(ticket.accepted_at)));
    }
}

impl Writer {
    /// Ends what outlived the retention.
    pub fn expire(&mut self, commit: &mut Commit, now: Timestamp) -> Result<(), StoreError> {
        let cutoff = self.core.cutoff(now);
        for cell in self.core.lanes.all() {
            let due = {
                let inner = cell.lock();
                let old = inner.pending > 0 && inner.oldest.is_some_and(|oldest| oldest < cutoff);
                // A claim that is not complete reads the disk itself.
                old && inner.claimed == inner.holder.is_some() && !inner.dropping
            };
            if due {
                self.sweep(commit, &cell, cutoff)?;
            }
        }
        Ok(())
    }

    fn sweep(&mut self, commit: &mut Commit, cell: &Arc<Cell>, cutoff: Timestamp) -> Result<(), StoreError> {
        self.write(commit)?;
        let mut old = Old::default();
        let mut out = HashSet::new();
        let (epoch, from) = {
            let mut inner = cell.lock();
            let (epoch, low) = (inner.epoch, inner.low);
            match &mut inner.holder {
                None => (epoch, low),
                Some(holder) if holder.filling => return Ok(()),
                Some(holder) => {
                    // Nobody reads ahead while this does.
                    holder.begin_fill();
                    while holder.window.front().is_some_and(|first| first.ticket.accepted_at < cutoff) {
                        let Some(queued) = holder.window.pop_front() else { break };
                        holder.window_bytes -= u64::from(queued.ticket.size);
                        holder.settle(queued.seq, queued.place);
                        old.queued.push((queued.seq, queued.place, queued.ticket));
                    }
                    if let Some(queued) = holder.window.front() {
                        old.keep(&queued.ticket);
                    }
                    out.extend(holder.out.keys().copied());
                    (epoch, holder.cursor)
                }
            }
        };
        let end = self.read_old(cell, cutoff, from, &out, &mut old)?;
        {
            let mut inner = commit.counts_of(cell);
            if let Some(holder) = inner.holder(epoch) {
                holder.cursor = holder.cursor.max(end);
                holder.end_fill(holder.caught_up, self.core.read_ahead());
                for (seq, place, _) in &old.queued {
                    holder.settle(*seq, *place);
                    if let Place::Retry(at) = place {
                        holder.retries.remove(*at, *seq);
                    }
                }
            }
            if !old.more && out.is_empty() {
                inner.oldest = old.oldest;
            }
        }
        let expired = (old.queued.len() + old.parked.len()) as u64;
        for (seq, ticket) in old.parked {
            commit.batch.remove(&self.store.order, keys::order(cell.webhook, ticket.user, seq));
            commit.order_dirty = true;
            self.release_event(commit, cell, seq, &ticket, false)?;
            let mut inner = commit.counts_of(cell);
            inner.pending = inner.pending.saturating_sub(1);
            inner.parked = inner.parked.saturating_sub(1);
        }
        for queued in old.queued {
            let waits = cell.lock().parked > 0;
            if waits {
                self.flush_order(commit)?;
            }
            self.end(commit, Arc::clone(cell), epoch, queued, waits)?;
        }
        self.core.metrics.expired.inc_by(expired);
        cell.changed.notify_one();
        Ok(())
    }

    /// Reads what is too old and not in anybody's hands. Returns the first
    /// number of `ready` that is not.
    fn read_old(
        &self,
        cell: &Cell,
        cutoff: Timestamp,
        from: u64,
        out: &HashSet<u64>,
        old: &mut Old,
    ) -> Result<u64, StoreError> {
        let webhook = cell.webhook;
        let mut end = from;
        for guard in self.store.ready.range(keys::ready(webhook, from)..=keys::ready(webhook, u64::MAX)) {
            let (key, value) = guard.into_inner()?;
            let (seq, ticket) = (keys::last(&key)?, Ticket::decode(&value)?);
            if ticket.accepted_at >= cutoff {
                old.keep(&ticket);
                break;
            }
            if old.is_full() {
                break;
            }
            end = seq + 1;
            old.queued.push((seq, Place::Ready, ticket));
        }
        for guard in self.store.order.prefix(webhook.as_bytes()) {
            if old.is_full() {
                break;
            }
            let (key, value) = guard.into_inner()?;
            let (seq, (at, ticket)) = (keys::last(&key)?, order::decode(&value)?);
            if ticket.accepted_at >= cutoff || out.contains(&seq) {
                old.keep(&ticket);
                continue;
            }
            match at {
                Some(at) => old.queued.push((seq, Place::Retry(at), ticket)),
                None => old.parked.push((seq, ticket)),
            }
        }
        Ok(end)
    }
}
