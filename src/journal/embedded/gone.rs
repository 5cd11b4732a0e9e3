//! Dropping what a webhook has, in pieces between other work.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::cell::Cell;
use super::keys;
use super::order;
use super::point;
use super::record::Ticket;
use super::store::StoreError;
use super::writer::{Commit, Writer};
use crate::model::{Timestamp, WebhookUid};

/// Records that one commit removes.
const PIECE: usize = 1000;

/// A webhook that is being dropped. A crash forgets it: who dropped it finds
/// the rest, and drops it again.
pub struct Drop {
    cell: Arc<Cell>,
    /// What is appended later is not dropped.
    bound: u64,
    from: From,
    answer: Option<oneshot::Sender<()>>,
}

/// Where the next piece begins: reading again over what the last ones have
/// removed would make a long queue take its square of time.
struct From {
    ready: u64,
    order: [u8; 32],
    dead: [u8; 32],
}

impl Writer {
    /// Takes the lane from its holder, and begins to drop.
    pub fn begin_drop(&mut self, webhook: WebhookUid, answer: oneshot::Sender<()>) {
        let Some(cell) = self.core.lanes.get(webhook) else {
            let _ = answer.send(());
            return;
        };
        let low = {
            let mut inner = cell.lock();
            inner.revoke();
            inner.dropping = true;
            inner.dropped = inner.epoch;
            inner.low
        };
        cell.changed.notify_one();
        let from = From {
            ready: low,
            order: keys::order(webhook, 0, 0),
            dead: keys::timed(webhook, Timestamp::from_millis(0), 0),
        };
        self.drops.push(Drop { cell, bound: self.next_seq, from, answer: Some(answer) });
    }

    /// Drops one piece, if there is something to drop.
    pub fn drop_some(&mut self, commit: &mut Commit) -> Result<(), StoreError> {
        let Some(mut drop) = self.drops.pop() else {
            return Ok(());
        };
        // What else is in this commit may be what is dropped here.
        self.write(commit)?;
        if self.drop_piece(commit, &mut drop)? {
            self.drops.push(drop);
            point::reach("dropping");
            return Ok(());
        }
        let cell = drop.cell;
        commit.batch.remove(&self.store.lanes, keys::state(cell.webhook));
        {
            let mut inner = commit.counts_of(&cell);
            inner.dropping = false;
            inner.dead = 0;
            inner.dead_bytes = 0;
            inner.oldest_dead = None;
        }
        let answer = drop.answer.take();
        commit.after_sync(move |core| {
            // What was appended meanwhile waits for a holder.
            core.lanes.offer(&cell);
            if let Some(answer) = answer {
                let _ = answer.send(());
            }
        });
        Ok(())
    }

    /// Removes at most [`PIECE`] records; whether there were any.
    fn drop_piece(&mut self, commit: &mut Commit, gone: &mut Drop) -> Result<bool, StoreError> {
        let cell = &gone.cell;
        let webhook = cell.webhook;
        let mut ended = Vec::new();
        let from = &mut gone.from;
        let bound = gone.bound.max(from.ready);
        for guard in self.store.ready.range(keys::ready(webhook, from.ready)..keys::ready(webhook, bound)) {
            let (key, value) = guard.into_inner()?;
            let seq = keys::last(&key)?;
            from.ready = seq + 1;
            ended.push((seq, Ticket::decode(&value)?));
            // A key of its own: the one that was read would keep its whole block in memory.
            commit.batch.remove_once(&self.store.ready, keys::ready(webhook, seq));
            if ended.len() == PIECE {
                break;
            }
        }
        let ready = !ended.is_empty();
        if !ready {
            // Everything in `retry` has an entry in `order`.
            let last = keys::order(webhook, u64::MAX, u64::MAX);
            for guard in self.store.order.range(from.order..=last) {
                let (key, value) = guard.into_inner()?;
                let (seq, (at, ticket)) = (keys::last(&key)?, order::decode(&value)?);
                from.order = keys::order(webhook, keys::middle(&key)?, seq);
                if seq >= gone.bound {
                    continue;
                }
                ended.push((seq, ticket));
                commit.batch.remove(&self.store.order, from.order);
                let mut inner = commit.counts_of(cell);
                match at {
                    Some(at) => {
                        inner.retrying = inner.retrying.saturating_sub(1);
                        commit.batch.remove(&self.store.retry, keys::timed(webhook, at, seq));
                    }
                    None => inner.parked = inner.parked.saturating_sub(1),
                }
                drop(inner);
                if ended.len() == PIECE {
                    break;
                }
            }
            commit.order_dirty = true;
        }
        for (seq, ticket) in &ended {
            self.release_event(commit, cell, *seq, ticket, ready)?;
        }
        {
            let mut inner = commit.counts_of(cell);
            inner.pending = inner.pending.saturating_sub(ended.len() as u64);
        }
        if !ended.is_empty() {
            return Ok(true);
        }
        let mut letters = 0;
        let last = keys::timed(webhook, Timestamp::from_millis(u64::MAX), u64::MAX);
        for guard in self.store.dead.range(from.dead..=last).take(PIECE) {
            let key = guard.key()?;
            from.dead = keys::timed(webhook, Timestamp::from_millis(keys::middle(&key)?), keys::last(&key)?);
            commit.batch.remove(&self.store.dead, from.dead);
            letters += 1;
        }
        Ok(letters > 0)
    }
}
