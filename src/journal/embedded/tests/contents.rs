//! What is in a store, by webhook.

use std::collections::{BTreeMap, BTreeSet};

use crate::journal::embedded::record::{self, Ticket};
use crate::journal::embedded::{Embedded, keys};
use crate::journal::inspect::LetterId;
use crate::model::Event;

/// The ids of deliveries and of dead letters.
pub fn found(journal: &Embedded) -> BTreeMap<u8, BTreeSet<String>> {
    let store = journal.0.core.store().expect("open");
    let mut found: BTreeMap<u8, BTreeSet<String>> = BTreeMap::new();
    let mut add = |key: &[u8], event: Event| {
        found.entry(key[0]).or_default().insert(event.id);
    };
    let shared = |seq: u64| {
        let record = store.events.get(keys::seq(seq)).expect("readable").expect("an event");
        record::decode_event(&record).expect("an event")
    };
    for guard in store.ready.iter() {
        let (key, entry) = guard.into_inner().expect("readable");
        let own = record::event_of_entry(&entry);
        let event = if Ticket::decode(&entry).expect("a ticket").shared {
            shared(keys::last(&key).expect("a key"))
        } else {
            record::decode_event(own).expect("an event")
        };
        add(&key, event);
    }
    for guard in store.order.iter() {
        let key = guard.key().expect("readable");
        add(&key, shared(keys::last(&key).expect("a key")));
    }
    for guard in store.dead.iter() {
        let (key, letter) = guard.into_inner().expect("readable");
        add(&key, (*record::decode_death(&letter, LetterId::default()).expect("a letter").event).clone());
    }
    found
}
