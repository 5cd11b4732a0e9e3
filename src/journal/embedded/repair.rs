//! The counts and what belongs together, from the records alone: after something was lost.
//!
//! A commit is lost whole in the log, but some of its keyspaces may have been
//! flushed before. So a delivery may be in two queues, or its event or its
//! place in time be gone, and an event may have no deliveries.
//!
//! ```text
//! order ── in `ready` as well? ──> out of `ready`        due, and not in `retry`? ──> into `retry`
//! retry ── not in `order`? ─────> removed
//! ready, order ── event gone? ──> removed, counted as unreadable
//! events, shares ── as the deliveries that are left say
//! lanes, meta ──── counted
//! spaces ───────── counted, by what is left
//! ```

use std::collections::{BTreeMap, HashMap, HashSet};

use super::cell::Inner;
use super::keys;
use super::namespaces;
use super::order;
use super::record::{self, Reader, Ticket};
use super::seen::Seen;
use super::store::{Batch, Counters, Store, StoreError};
use crate::journal::metrics::Metrics;
use crate::model::{Timestamp, WebhookUid};

/// Writes that go into one commit.
const PIECE: usize = 1000;

struct Repair<'a> {
    store: &'a Store,
    batch: Batch,
    writes: usize,
    counters: Counters,
    lanes: BTreeMap<WebhookUid, Inner>,
    /// Deliveries that are left of each shared event.
    shares: HashMap<u64, u32>,
    /// Events that stand in `events` and have a delivery.
    wanted: HashSet<u64>,
}

/// Makes a store whole again, and says what it then counts.
pub fn repair(store: &Store, kept: Option<Counters>, metrics: &Metrics) -> Result<Counters, StoreError> {
    let now = kept.map_or(Timestamp::from_millis(0), |kept| kept.now);
    let next_seq = kept.map_or(1, |kept| kept.next_seq);
    let counters = Counters { next_seq, live_bytes: 0, now };
    let batch = store.batch();
    let (lanes, shares, wanted) = Default::default();
    let mut repair = Repair { store, batch, writes: 0, counters, lanes, shares, wanted };
    let lost = repair.queues()?;
    repair.events()?;
    let lost = lost.max(repair.counts()?);
    metrics.unreadable.inc_by(lost);
    repair.commit(0)?;
    store.sync()?;
    namespaces::count(store, repair.counters)?;
    tracing::warn!(unreadable = lost, "the journal was counted anew after damage");
    Ok(repair.counters)
}

impl Repair<'_> {
    /// Commits, if more was written than goes well together.
    fn commit(&mut self, most: usize) -> Result<(), StoreError> {
        if self.writes > most || most == 0 {
            let batch = std::mem::replace(&mut self.batch, self.store.batch());
            self.store.commit(batch, self.counters)?;
            self.writes = 0;
        }
        self.writes += 1;
        Ok(())
    }

    fn saw(&mut self, webhook: WebhookUid, seq: u64, ticket: &Ticket) -> &mut Inner {
        self.counters.next_seq = self.counters.next_seq.max(seq + 1);
        let inner = self.lanes.entry(webhook).or_default();
        inner.pending += 1;
        let at = ticket.accepted_at;
        inner.oldest = Some(inner.oldest.map_or(at, |oldest| oldest.min(at)));
        if ticket.shared {
            *self.shares.entry(seq).or_default() += 1;
        }
        inner
    }

    /// Goes through the deliveries, and returns how many cannot be read.
    fn queues(&mut self) -> Result<u64, StoreError> {
        let store = self.store;
        let mut lost = 0;
        let mut ordered = HashSet::new();
        for guard in store.order.iter() {
            self.commit(PIECE)?;
            let (key, value) = guard.into_inner()?;
            let (Some(webhook), seq) = (keys::webhook(&key), keys::last(&key)?) else { continue };
            let (at, ticket) = order::decode(&value)?;
            let place = at.map(|at| keys::timed(webhook, at, seq));
            if !store.events.contains_key(keys::seq(seq))? {
                lost += 1;
                self.batch.remove(&store.order, key);
                continue;
            }
            self.wanted.insert(seq);
            ordered.insert((webhook, seq));
            let inner = self.saw(webhook, seq, &ticket);
            match place {
                Some(place) => {
                    inner.retrying += 1;
                    self.batch.put(&store.retry, place, ticket.encode());
                }
                None => inner.parked += 1,
            }
        }
        for guard in store.retry.iter() {
            self.commit(PIECE)?;
            let (key, value) = guard.into_inner()?;
            let (Some(webhook), seq) = (keys::webhook(&key), keys::last(&key)?) else { continue };
            let at = Timestamp::from_millis(keys::middle(&key)?);
            let user = Ticket::decode(&value)?.user;
            let stands = store.order.get(keys::order(webhook, user, seq))?;
            let due = stands.map(|entry| order::decode(&entry)).transpose()?.and_then(|(at, _)| at);
            if due != Some(at) {
                self.batch.remove(&store.retry, key);
            }
        }
        for guard in store.ready.iter() {
            self.commit(PIECE)?;
            let (key, entry) = guard.into_inner()?;
            let (Some(webhook), seq) = (keys::webhook(&key), keys::last(&key)?) else { continue };
            let ticket = Ticket::decode(&entry)?;
            let twice = ordered.contains(&(webhook, seq));
            if twice || (ticket.shared && !store.events.contains_key(keys::seq(seq))?) {
                lost += u64::from(!twice);
                self.batch.remove(&store.ready, key);
                continue;
            }
            if ticket.shared {
                self.wanted.insert(seq);
            } else {
                self.counters.live_bytes += record::event_of_entry(&entry).len() as u64;
            }
            let inner = self.saw(webhook, seq, &ticket);
            // They come in order.
            if inner.low == 0 {
                inner.low = seq;
            }
        }
        for guard in store.dead.iter() {
            let (key, value) = guard.into_inner()?;
            if let Some(webhook) = keys::webhook(&key) {
                let inner = self.lanes.entry(webhook).or_default();
                inner.dead += 1;
                inner.dead_bytes += value.len() as u64;
            }
        }
        Ok(lost)
    }

    fn events(&mut self) -> Result<(), StoreError> {
        let store = self.store;
        for guard in store.events.iter() {
            self.commit(PIECE)?;
            let (key, value) = guard.into_inner()?;
            if self.wanted.contains(&keys::last(&key)?) {
                self.counters.live_bytes += value.len() as u64;
            } else {
                self.batch.remove(&store.events, key);
            }
        }
        let shares = std::mem::take(&mut self.shares);
        for guard in store.shares.iter() {
            self.commit(PIECE)?;
            let (key, value) = guard.into_inner()?;
            let seq = keys::last(&key)?;
            let kept = Reader { bytes: &value, kind: "share" }.u32()?;
            if !shares.contains_key(&seq) {
                self.batch.remove(&store.shares, key);
            } else if shares.get(&seq) != Some(&kept) {
                self.batch.put(&store.shares, key, shares.get(&seq).copied().unwrap_or(0).to_be_bytes());
            }
        }
        for (seq, left) in shares {
            self.commit(PIECE)?;
            if !store.shares.contains_key(keys::seq(seq))? {
                self.batch.put(&store.shares, keys::seq(seq), left.to_be_bytes());
            }
        }
        Ok(())
    }

    /// Writes the counts, and returns how many deliveries less there are than was counted.
    fn counts(&mut self) -> Result<u64, StoreError> {
        let mut less = 0;
        let store = self.store;
        for guard in store.lanes.iter() {
            let (key, value) = guard.into_inner()?;
            if let (16, Some(webhook)) = (key.len(), keys::webhook(&key)) {
                let mut kept = Inner::default();
                kept.restore(&value)?;
                let inner = self.lanes.entry(webhook).or_default();
                inner.evicted = kept.evicted;
                less += kept.pending.saturating_sub(inner.pending);
                if inner.low == 0 {
                    inner.low = kept.low.min(self.counters.next_seq);
                }
            }
        }
        for (webhook, inner) in std::mem::take(&mut self.lanes) {
            self.commit(PIECE)?;
            self.batch.put(&store.lanes, *webhook.as_bytes(), inner.encode().as_flattened());
        }
        let mut spaces: HashMap<u64, u64> = HashMap::new();
        for guard in store.seen.iter() {
            let seen = Seen::decode(&guard.value()?)?;
            let count = spaces.entry(seen.space).or_default();
            *count = seen.ordinal.max(*count);
        }
        for (space, count) in spaces {
            self.commit(PIECE)?;
            let kept = match store.spaces.get(space.to_be_bytes())? {
                Some(bytes) => Reader { bytes: &bytes, kind: "count" }.u64()?,
                None => 0,
            };
            if kept < count {
                self.batch.put(&store.spaces, space.to_be_bytes(), count.to_be_bytes());
            }
        }
        Ok(less)
    }
}
