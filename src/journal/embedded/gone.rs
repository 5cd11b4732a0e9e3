//! Dropping what a webhook has, in pieces between other work.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::cell::Cell;
use super::keys;
use super::order;
use super::record::Ticket;
use super::store::StoreError;
use super::writer::{Commit, Writer};
use crate::model::WebhookUid;

/// Records that one commit removes.
const PIECE: usize = 1000;

/// A webhook that is being dropped. A crash forgets it: who dropped it finds
/// the rest, and drops it again.
pub struct Drop {
    cell: Arc<Cell>,
    /// What is appended later is not dropped.
    bound: u64,
    answer: Option<oneshot::Sender<()>>,
}

impl Writer {
    /// Takes the lane from its holder, and begins to drop.
    pub fn begin_drop(&mut self, webhook: WebhookUid, answer: oneshot::Sender<()>) {
        let Some(cell) = self.core.lanes.get(webhook) else {
            let _ = answer.send(());
            return;
        };
        {
            let mut inner = cell.lock();
            inner.revoke();
            inner.dropping = true;
            inner.dropped = inner.epoch;
        }
        cell.changed.notify_one();
        self.drops.push(Drop { cell, bound: self.next_seq, answer: Some(answer) });
    }

    /// Drops one piece, if there is something to drop.
    pub fn drop_some(&mut self, commit: &mut Commit) -> Result<(), StoreError> {
        let Some(mut drop) = self.drops.pop() else {
            return Ok(());
        };
        // What else is in this commit may be what is dropped here.
        self.write(commit)?;
        if self.drop_piece(commit, &drop)? {
            self.drops.push(drop);
            return Ok(());
        }
        let cell = drop.cell;
        commit.batch.remove(&self.store.lanes, keys::state(cell.webhook));
        {
            let mut inner = cell.lock();
            inner.dropping = false;
            inner.dead = 0;
        }
        commit.lanes.insert(cell.webhook, Arc::clone(&cell));
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
    fn drop_piece(&mut self, commit: &mut Commit, drop: &Drop) -> Result<bool, StoreError> {
        let cell = &drop.cell;
        let webhook = cell.webhook;
        let mut ended = Vec::new();
        for guard in self.store.ready.range(keys::ready(webhook, 0)..keys::ready(webhook, drop.bound)) {
            let (key, value) = guard.into_inner()?;
            ended.push((keys::last(&key)?, Ticket::decode(&value)?));
            commit.batch.remove_once(&self.store.ready, key);
            if ended.len() == PIECE {
                break;
            }
        }
        if ended.is_empty() {
            // Everything in `retry` has an entry in `order`.
            for guard in self.store.order.prefix(webhook.as_bytes()).take(PIECE) {
                let (key, value) = guard.into_inner()?;
                let (seq, (at, ticket)) = (keys::last(&key)?, order::decode(&value)?);
                if seq >= drop.bound {
                    continue;
                }
                ended.push((seq, ticket));
                commit.batch.remove(&self.store.order, key);
                let mut inner = cell.lock();
                match at {
                    Some(at) => {
                        inner.retrying = inner.retrying.saturating_sub(1);
                        commit.batch.remove(&self.store.retry, keys::timed(webhook, at, seq));
                    }
                    None => inner.parked = inner.parked.saturating_sub(1),
                }
            }
            commit.order_dirty = true;
        }
        for (seq, ticket) in &ended {
            self.release_event(commit, *seq, ticket)?;
        }
        {
            let mut inner = cell.lock();
            inner.pending = inner.pending.saturating_sub(ended.len() as u64);
        }
        if !ended.is_empty() {
            return Ok(true);
        }
        let mut letters = 0;
        for guard in self.store.dead.prefix(webhook.as_bytes()).take(PIECE) {
            commit.batch.remove(&self.store.dead, guard.key()?);
            letters += 1;
        }
        Ok(letters > 0)
    }
}
