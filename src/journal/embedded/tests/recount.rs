//! What the counts say, compared with what is there: whenever a test opens a journal.

use std::collections::HashMap;

use crate::journal::embedded::cell::Inner;
use crate::journal::embedded::core::Lanes;
use crate::journal::embedded::record::{self, Ticket};
use crate::journal::embedded::seen::Spaces;
use crate::journal::embedded::store::{Counters, Store};
use crate::journal::embedded::{keys, order, salvage};
use crate::model::WebhookUid;

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    pending: u64,
    retrying: u64,
    parked: u64,
    dead: u64,
    dead_bytes: u64,
}

/// Panics where the counts of a store that is about to be used are wrong, or an event is missing.
pub fn check(store: &Store, counters: Option<Counters>, lanes: &Lanes, spaces: &Spaces) {
    if !salvage::is_whole(store) {
        // A test has damaged it, and looks for what comes of that.
        return;
    }
    let mut found: HashMap<WebhookUid, Counts> = HashMap::new();
    let mut bytes = 0;
    let mut queued: HashMap<u64, u64> = HashMap::new();
    let mut count = |event: &[u8]| {
        bytes += event.len() as u64;
        let namespace = record::short_hash(record::namespace(event).expect("an event"));
        *queued.entry(namespace).or_default() += event.len() as u64;
    };
    for guard in store.ready.iter() {
        let (key, entry) = guard.into_inner().expect("readable");
        let (webhook, ticket) =
            (keys::webhook(&key).expect("a key"), Ticket::decode(&entry).expect("a ticket"));
        found.entry(webhook).or_default().pending += 1;
        let seq = keys::last(&key).expect("a key");
        let low = lanes.cell(webhook).lock().low;
        assert!(seq >= low, "{seq} of {webhook} is below its low-water mark {low}");
        let record = record::event_of_entry(&entry);
        assert_eq!(record.is_empty(), ticket.shared, "{seq}");
        if ticket.shared {
            assert!(store.events.contains_key(keys::seq(seq)).expect("readable"), "no event {seq}");
        } else {
            record::decode_event(record).expect("an event");
            count(record);
        }
    }
    for guard in store.order.iter() {
        let (key, value) = guard.into_inner().expect("readable");
        let counts = found.entry(keys::webhook(&key).expect("a key")).or_default();
        counts.pending += 1;
        let (at, _) = order::decode(&value).expect("an entry");
        *if at.is_some() { &mut counts.retrying } else { &mut counts.parked } += 1;
        let seq = keys::last(&key).expect("a key");
        assert!(store.events.contains_key(keys::seq(seq)).expect("readable"), "no event {seq}");
    }
    for guard in store.dead.iter() {
        let (key, value) = guard.into_inner().expect("readable");
        let counts = found.entry(keys::webhook(&key).expect("a key")).or_default();
        counts.dead += 1;
        counts.dead_bytes += value.len() as u64;
    }
    for guard in store.events.iter() {
        count(&guard.value().expect("readable"));
    }
    assert_eq!(spaces.all_queued(), queued, "bytes of live events by namespace");
    for webhook in found.keys() {
        lanes.get(*webhook).expect("a webhook that has something is known");
    }
    for cell in lanes.all() {
        let inner = cell.lock();
        let Inner { pending, retrying, parked, dead, dead_bytes, .. } = *inner;
        let found = found.remove(&cell.webhook).unwrap_or_default();
        assert_eq!(Counts { pending, retrying, parked, dead, dead_bytes }, found);
    }
    assert_eq!(counters.map_or(0, |counters| counters.live_bytes), bytes, "bytes of live events");
}

/// Panics where counts in memory are not those on the disk, as they are before a journal that
/// is closed writes them all: a crash at this moment would leave wrong ones.
pub fn check_written(store: &Store, lanes: &Lanes, spaces: &Spaces) {
    for (namespace, queued) in spaces.all_queued() {
        let written = store.spaces.get(namespace.to_be_bytes()).expect("readable").expect("counts");
        assert_eq!(written.as_ref(), spaces.record(namespace), "of {queued} bytes");
    }
    for cell in lanes.all() {
        let mut written = Inner::default();
        if let Some(counts) = store.lanes.get(cell.webhook.as_bytes()).expect("readable") {
            written.restore(&counts).expect("counts");
        }
        let inner = cell.lock();
        // The low-water mark may be behind.
        written.low = inner.low;
        assert_eq!(written.encode(), inner.encode(), "counts of {}", cell.webhook);
    }
}
