//! Dead letters: kept for people to look at and to replay, within bounds.
//!
//! ```text
//! given up, or a full backlog ─ bury ─> dead ── evict: too old, or too many bytes
//!                                         └──── forget: delivered by a replay
//! ```
//!
//! A letter has its own copy of the event, so the event's record never has to
//! wait for people. Each webhook has bounds of its own; the oldest go first.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::cell::{Cell, Inner};
use super::keys;
use super::record;
use super::store::{Store, StoreError};
use super::writer::{Commit, Writer};
use crate::journal::DeadLetter;
use crate::journal::inspect::{Cursor, LetterId, Page, PageRoom};
use crate::model::{Timestamp, WebhookUid};

/// Letters that one commit evicts of a webhook.
const PIECE: usize = 1000;

/// How long eviction may keep other work waiting.
const TURN: Duration = Duration::from_millis(20);

/// Letters to be forgotten.
pub struct Forget {
    /// Whose.
    pub webhook: WebhookUid,
    /// Which of its letters.
    pub letters: Vec<LetterId>,
    /// When it is written.
    pub answer: oneshot::Sender<()>,
}

impl Writer {
    /// Keeps a letter.
    pub fn bury(&self, commit: &mut Commit, cell: &Arc<Cell>, seq: u64, letter: &DeadLetter) {
        let record = record::encode_death(letter);
        {
            let mut inner = commit.counts_of(cell);
            if inner.dead == 0 {
                inner.oldest_dead = Some(letter.died_at);
            }
            inner.dead += 1;
            inner.dead_bytes += record.len() as u64;
        }
        commit.batch.put(&self.store.dead, keys::timed(cell.webhook, letter.died_at, seq), record);
    }

    /// Evicts what is beyond the bounds. Whether there may be more.
    pub fn evict(&mut self, commit: &mut Commit, now: Timestamp) -> Result<bool, StoreError> {
        let begun = Instant::now();
        let cutoff = now.before(self.core.config.limits.dead_age);
        for cell in self.core.lanes.all() {
            while self.is_beyond(&cell.lock(), cutoff) {
                if begun.elapsed() > TURN {
                    return Ok(true);
                }
                self.evict_piece(commit, &cell, cutoff)?;
            }
        }
        Ok(false)
    }

    fn is_beyond(&self, inner: &Inner, cutoff: Timestamp) -> bool {
        inner.dead > 0
            && !inner.dropping
            && (inner.dead_bytes > self.core.config.limits.dead_bytes
                || inner.oldest_dead.is_none_or(|oldest| oldest < cutoff))
    }

    fn evict_piece(
        &mut self,
        commit: &mut Commit,
        cell: &Arc<Cell>,
        cutoff: Timestamp,
    ) -> Result<(), StoreError> {
        // What was buried in this commit may be what is evicted here.
        self.write(commit)?;
        let (from, mut bytes) = {
            let inner = cell.lock();
            // Not from the first key: what was evicted before would be read over again.
            (inner.oldest_dead.unwrap_or(Timestamp::from_millis(0)), inner.dead_bytes)
        };
        let (mut by_age, mut by_bytes, mut oldest) = (0, 0, None);
        for guard in self.store.dead.range(keys::timed(cell.webhook, from, 0)..=last_key(cell.webhook)) {
            let (key, value) = guard.into_inner()?;
            let (died_at, seq) = (Timestamp::from_millis(keys::middle(&key)?), keys::last(&key)?);
            let (old, many) = (died_at < cutoff, bytes > self.core.config.limits.dead_bytes);
            if by_age + by_bytes == PIECE || !(old || many) {
                oldest = Some(died_at);
                break;
            }
            *(if old { &mut by_age } else { &mut by_bytes }) += 1;
            bytes = bytes.saturating_sub(value.len() as u64);
            // A key of its own: the one that was read would keep its whole block in memory.
            commit.batch.remove(&self.store.dead, keys::timed(cell.webhook, died_at, seq));
        }
        let evicted = (by_age + by_bytes) as u64;
        let mut inner = commit.counts_of(cell);
        inner.dead = inner.dead.saturating_sub(evicted);
        inner.evicted += evicted;
        inner.dead_bytes = bytes;
        inner.oldest_dead = oldest;
        if oldest.is_none() {
            // Nothing is left, whatever the counts said.
            (inner.dead, inner.dead_bytes) = (0, 0);
        }
        drop(inner);
        self.core.metrics.evicted("age", by_age as u64);
        self.core.metrics.evicted("bytes", by_bytes as u64);
        Ok(())
    }

    /// Removes letters that are not needed any more.
    pub fn forget(&mut self, commit: &mut Commit, forget: Forget) -> Result<(), StoreError> {
        let Forget { webhook, letters, answer } = forget;
        // The same letter twice, or one of this very commit, must be seen as it is.
        self.write(commit)?;
        if let Some(cell) = self.core.lanes.get(webhook) {
            let mut seen = std::collections::HashSet::new();
            for LetterId(key) in letters {
                if keys::webhook(&key) != Some(webhook) || !seen.insert(key.clone()) {
                    continue;
                }
                let Some(value) = self.store.dead.get(&key)? else { continue };
                commit.batch.remove(&self.store.dead, key);
                let mut inner = commit.counts_of(&cell);
                inner.dead = inner.dead.saturating_sub(1);
                inner.dead_bytes = inner.dead_bytes.saturating_sub(value.len() as u64);
            }
        }
        commit.after_write(move |_| {
            let _ = answer.send(());
        });
        Ok(())
    }
}

/// Bytes of all letters of a webhook: for a journal whose counts do not say.
pub fn count_bytes(store: &Store, webhook: WebhookUid) -> Result<u64, StoreError> {
    let mut bytes = 0;
    for guard in store.dead.prefix(webhook.as_bytes()) {
        bytes += guard.value()?.len() as u64;
    }
    Ok(bytes)
}

/// See [`crate::journal::Journal::dead_letters`].
pub fn list(
    store: &Store,
    webhook: WebhookUid,
    cursor: Option<Cursor>,
    limit: usize,
) -> Result<Page<DeadLetter>, StoreError> {
    let first = keys::timed(webhook, Timestamp::from_millis(0), 0).to_vec();
    // A cursor is the key of the last letter, and a zero after it; never of another webhook.
    let from = cursor.map_or(first.clone(), |cursor| [cursor.0, vec![0]].concat()).max(first);
    let to = last_key(webhook).to_vec();
    let mut page = Page { items: Vec::new(), next: None };
    if from > to {
        return Ok(page);
    }
    let mut room = PageRoom::new(limit);
    let mut last = None;
    for guard in store.dead.range(from..=to) {
        if room.is_used_up() {
            page.next = last.map(Cursor);
            break;
        }
        let (key, value) = guard.into_inner()?;
        let id = LetterId(key.to_vec());
        let letter = record::decode_death(&value, id)?;
        room.put(&letter.event);
        page.items.push(letter);
        last = Some(key.to_vec());
    }
    Ok(page)
}

fn last_key(webhook: WebhookUid) -> [u8; 32] {
    keys::timed(webhook, Timestamp::from_millis(u64::MAX), u64::MAX)
}
