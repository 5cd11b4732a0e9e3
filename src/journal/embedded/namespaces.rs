//! How much is queued of each namespace, from the records alone: for a store
//! of a version that did not count it, and after something was lost.
//!
//! Every event is read once, so that it is not done at any other opening.
//! Namespaces are written before lanes, and a lane without one tells that it
//! has to be done: so it is done again if it breaks off.

use std::collections::HashMap;

use super::cell::Inner;
use super::keys;
use super::record::{self, Reader, Ticket};
use super::store::{Batch, Counters, Store, StoreError};
use crate::model::WebhookUid;

/// Writes that go into one commit.
const PIECE: usize = 1000;

/// Whether a version of Herald wrote there that does not count it.
pub fn are_uncounted(store: &Store) -> Result<bool, StoreError> {
    for guard in store.lanes.iter() {
        let (key, value) = guard.into_inner()?;
        if key.len() == 16 && lane(&value)?.namespace.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn lane(value: &[u8]) -> Result<Inner, StoreError> {
    let mut inner = Inner::default();
    inner.restore(value)?;
    Ok(inner)
}

#[derive(Default)]
struct Found {
    /// Bytes of events that wait, by the hash of the namespace.
    queued: HashMap<u64, u64>,
    lanes: HashMap<WebhookUid, u64>,
    /// Many events in a row are of one namespace.
    last: (String, u64),
}

impl Found {
    fn hash(&mut self, event: &[u8]) -> Result<u64, StoreError> {
        let namespace = record::namespace(event)?;
        if namespace != self.last.0 {
            self.last = (namespace.to_owned(), record::short_hash(namespace));
        }
        Ok(self.last.1)
    }

    fn queued(&mut self, event: &[u8]) -> Result<u64, StoreError> {
        let hash = self.hash(event)?;
        *self.queued.entry(hash).or_default() += event.len() as u64;
        Ok(hash)
    }

    fn lane_of_event(&mut self, store: &Store, webhook: WebhookUid, seq: u64) -> Result<(), StoreError> {
        if !self.lanes.contains_key(&webhook)
            && let Some(event) = store.events.get(keys::seq(seq))?
        {
            let hash = self.hash(&event)?;
            self.lanes.insert(webhook, hash);
        }
        Ok(())
    }
}

/// Counts, and writes the counts.
pub fn count(store: &Store, counters: Counters) -> Result<(), StoreError> {
    let found = find(store)?;
    tracing::info!(namespaces = found.queued.len(), "counted what is queued of each namespace");
    let mut writes = Writes { store, counters, batch: store.batch(), count: 0 };
    let mut queued = found.queued;
    for guard in store.spaces.iter() {
        let (key, value) = guard.into_inner()?;
        let events = Reader { bytes: &value, kind: "count" }.u64()?;
        let queued = queued.remove(&keys::last(&key)?).unwrap_or(0);
        let record = record::space(events, queued);
        writes.put(|batch| batch.put(&store.spaces, key, record))?;
    }
    for (hash, queued) in queued {
        writes.put(|batch| batch.put(&store.spaces, hash.to_be_bytes(), record::space(0, queued)))?;
    }
    writes.end()?;
    for guard in store.lanes.iter() {
        let (key, value) = guard.into_inner()?;
        if let (16, Some(webhook)) = (key.len(), keys::webhook(&key)) {
            let mut inner = lane(&value)?;
            inner.namespace = Some(found.lanes.get(&webhook).copied().unwrap_or(0));
            writes.put(|batch| batch.put(&store.lanes, key, inner.encode().as_flattened()))?;
        }
    }
    writes.end()?;
    store.sync()?;
    Ok(())
}

fn find(store: &Store) -> Result<Found, StoreError> {
    let mut found = Found::default();
    for guard in store.ready.iter() {
        let (key, entry) = guard.into_inner()?;
        let (Some(webhook), seq) = (keys::webhook(&key), keys::last(&key)?) else { continue };
        if Ticket::decode(&entry)?.shared {
            found.lane_of_event(store, webhook, seq)?;
        } else {
            let hash = found.queued(record::event_of_entry(&entry))?;
            found.lanes.insert(webhook, hash);
        }
    }
    for guard in store.order.iter() {
        let key = guard.key()?;
        if let Some(webhook) = keys::webhook(&key) {
            found.lane_of_event(store, webhook, keys::last(&key)?)?;
        }
    }
    for guard in store.events.iter() {
        found.queued(&guard.value()?)?;
    }
    Ok(found)
}

struct Writes<'a> {
    store: &'a Store,
    counters: Counters,
    batch: Batch,
    count: usize,
}

impl Writes<'_> {
    fn put(&mut self, put: impl FnOnce(&mut Batch)) -> Result<(), StoreError> {
        put(&mut self.batch);
        self.count += 1;
        if self.count >= PIECE { self.end() } else { Ok(()) }
    }

    fn end(&mut self) -> Result<(), StoreError> {
        let batch = std::mem::replace(&mut self.batch, self.store.batch());
        self.count = 0;
        self.store.commit(batch, self.counters)
    }
}
