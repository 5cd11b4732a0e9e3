//! Appending: a ticket for each webhook that wants the event, and the event
//! once: in the queue of the only one, or apart if there are several.

use std::collections::HashMap;
use std::sync::Arc;

use super::core::Core;
use super::holder::Queued;
use super::keys;
use super::op::{Batch, Item, NewState, Place};
use super::record::{self, Ticket};
use super::seen::Seen;
use super::store::StoreError;
use super::writer::{Commit, Writer};
use crate::journal::inspect::LetterId;
use crate::journal::{Appended, DeadLetter, DeathNote, Lost, RefusedReason};
use crate::model::{Timestamp, WebhookUid};

/// The reason of the dead letters of a webhook whose backlog is full.
pub const BACKLOG_FULL: &str = "BacklogFull";

impl Writer {
    /// Puts a batch into the commit, whole, or refuses it whole.
    pub fn append(&mut self, commit: &mut Commit, batch: Batch) -> Result<(), StoreError> {
        commit.room += batch.permits as usize;
        let now = self.core.clock.now();
        if self.exceeds_quota(commit, &batch, now)? {
            let refused = Appended::Refused(RefusedReason::OverQuota);
            let _ = batch.answer.send(vec![refused; batch.items.len()]);
            return Ok(());
        }
        if self.live_bytes.saturating_add(batch.bytes) > self.core.config.limits.max_bytes {
            let refused = Appended::Refused(RefusedReason::Full);
            let _ = batch.answer.send(vec![refused; batch.items.len()]);
            return Ok(());
        }
        if !self.space.takes(batch.bytes + batch.tickets, self.live_bytes) {
            let refused = Appended::Refused(RefusedReason::DiskFull);
            let _ = batch.answer.send(vec![refused; batch.items.len()]);
            return Ok(());
        }
        let today = self.core.clock.time_of_day();
        let mut answers = Vec::with_capacity(batch.items.len());
        let mut kept = Vec::new();
        let mut recent = Vec::with_capacity(batch.items.len());
        let mut offers = Vec::with_capacity(batch.items.len());
        for mut item in batch.items {
            if self.is_known(commit, &item, now)? {
                // An earlier copy of this very commit is durable when that is, as the answer.
                answers.push(Appended::Duplicate);
                continue;
            }
            let seq = self.next_seq;
            self.next_seq += 1;
            commit.seen.insert(item.key);
            commit.spaces.insert(item.space);
            let seen = self.core.spaces.count(item.space, now);
            commit.batch.put(&self.store.seen, *item.key.as_bytes(), seen.encode());
            let size = u32::try_from(item.entry.len() - Ticket::LENGTH).unwrap_or(u32::MAX);
            let shared = item.webhooks.len() > 1;
            let ticket = Ticket { accepted_at: now, user: item.user, size, shared, failures: 0 };
            record::fill_entry(&mut item.entry, &ticket);
            let mut left = 0;
            for webhook in &item.webhooks {
                if self.queue(commit, *webhook, seq, &ticket, &item) {
                    left += 1;
                    offers.push((*webhook, seq, ticket, Arc::clone(&item.event)));
                }
            }
            if left > 0 {
                self.live_bytes += u64::from(size);
                self.core.spaces.queue(item.space, u64::from(size));
                if shared {
                    commit.shares.insert(seq, left);
                    let record = record::event_of_entry(&item.entry);
                    commit.batch.put(&self.store.events, keys::seq(seq), record);
                    recent.push((seq, size, item.event));
                }
            }
            kept.push((item.webhooks, item.entry));
            answers.push(Appended::Stored);
        }
        self.core.metrics.batch.observe(u32::try_from(answers.len()).map_or(f64::MAX, f64::from));
        commit.answer(batch.answer, answers);
        commit.after_sync(move |core| {
            core.recent.extend(recent.into_iter());
            for (webhook, seq, ticket, event) in offers {
                offer(core, webhook, Queued { seq, place: Place::Ready, ticket, event });
            }
        });
        // Nobody waits for this.
        commit.after_answers(move |core| {
            for (webhooks, entry) in kept {
                core.history.keep(now, today, &webhooks, record::event_of_entry(&entry));
            }
        });
        Ok(())
    }

    /// Whether more would wait of a namespace than the batch allows. A repeat adds nothing, but
    /// to tell one takes a read: only where it matters.
    fn exceeds_quota(&self, commit: &Commit, batch: &Batch, now: Timestamp) -> Result<bool, StoreError> {
        let Some(most) = batch.most else { return Ok(false) };
        if !self.exceed(most, &batch.items) {
            return Ok(false);
        }
        let mut new = Vec::with_capacity(batch.items.len());
        for item in &batch.items {
            if !self.is_known(commit, item, now)? {
                new.push(item);
            }
        }
        Ok(self.exceed(most, new))
    }

    fn exceed<'i>(&self, most: u64, items: impl IntoIterator<Item = &'i Item>) -> bool {
        let mut queued = HashMap::new();
        // What nobody wants does not wait.
        items.into_iter().filter(|item| !item.webhooks.is_empty()).any(|item| {
            let queued = queued.entry(item.space).or_insert_with(|| self.core.spaces.queued(item.space));
            *queued += (item.entry.len() - Ticket::LENGTH) as u64;
            *queued > most
        })
    }

    fn is_known(&self, commit: &Commit, item: &Item, now: Timestamp) -> Result<bool, StoreError> {
        if commit.seen.contains(&item.key) {
            return Ok(true);
        }
        match self.store.seen.get(item.key.as_bytes())? {
            Some(bytes) => Ok(self.core.spaces.knows(&Seen::decode(&bytes)?, now)),
            None => Ok(false),
        }
    }

    /// Queues a delivery, or makes a dead letter of it where the queue is too long.
    fn queue(
        &self,
        commit: &mut Commit,
        webhook: WebhookUid,
        seq: u64,
        ticket: &Ticket,
        item: &Item,
    ) -> bool {
        let cell = self.core.lanes.cell(webhook);
        let mut inner = commit.counts_of(&cell);
        let limit = self.core.config.limits.backlog;
        if inner.pending < limit {
            inner.pending += 1;
            inner.namespace = Some(item.space);
            inner.oldest.get_or_insert(ticket.accepted_at);
            drop(inner);
            let key = keys::ready(webhook, seq);
            if ticket.shared {
                commit.batch.put(&self.store.ready, key, ticket.encode());
            } else {
                commit.batch.put(&self.store.ready, key, item.entry.as_slice());
            }
            return true;
        }
        drop(inner);
        let letter = DeadLetter {
            id: LetterId::default(),
            event: Arc::clone(&item.event),
            accepted_at: ticket.accepted_at,
            died_at: ticket.accepted_at,
            attempts: 0,
            note: DeathNote {
                reason: BACKLOG_FULL.to_owned(),
                message: format!("the webhook already had {limit} deliveries waiting"),
            },
        };
        self.bury(commit, &cell, seq, &letter);
        false
    }

    /// See [`crate::journal::Lane::compare_and_set`].
    pub fn set_state(&mut self, commit: &mut Commit, state: NewState) -> Result<(), StoreError> {
        let NewState { cell, epoch, expected, new, answer } = state;
        if cell.lock().holder(epoch).is_none() {
            let _ = answer.send(Err(Lost));
            return Ok(());
        }
        let key = keys::state(cell.webhook);
        let current = self.store.lanes.get(key)?;
        let equal = current.as_deref() == expected.as_ref().map(|state| state.0.as_slice());
        if equal {
            commit.batch.put(&self.store.lanes, key, new.0);
        }
        // The answer tells what is on the disk, so it waits for it, either way.
        commit.after_sync(move |_| {
            let _ = answer.send(Ok(equal));
        });
        Ok(())
    }
}

/// Hands a delivery that is durable now to whoever holds its lane.
fn offer(core: &Core, webhook: WebhookUid, queued: Queued) {
    let Some(cell) = core.lanes.get(webhook) else {
        return;
    };
    let budget = core.read_ahead();
    let mut inner = cell.lock();
    if let Some(holder) = &mut inner.holder {
        holder.offer(queued, budget);
        drop(inner);
        cell.changed.notify_one();
    } else {
        drop(inner);
        core.lanes.offer(&cell);
    }
}
