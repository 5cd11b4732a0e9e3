//! What is found again, in which order, and by which name.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::journal::embedded::record::encode_event;
use crate::journal::inspect::EventName;
use crate::journal::inspect::{AttemptKind, AttemptNext};
use crate::model::{Event, EventType, Phases};

const LARGE: Bounds = Bounds { bytes: 64 << 20, age: Duration::from_hours(1) };

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn webhook(number: u8) -> WebhookUid {
    WebhookUid::from_bytes([number; 16])
}

fn event(namespace: &str, id: u64, data: usize) -> Event {
    Event {
        namespace: namespace.to_owned(),
        id: format!("e{id}"),
        source: "/idp".to_owned(),
        event_type: EventType::UserCreated,
        subject: "user".to_owned(),
        time: at(0),
        data: Bytes::from(vec![b'1'; data]),
    }
}

fn attempt(id: u64, to: u8) -> Attempt {
    Attempt {
        at: at(id),
        event: EventName::from(&event("identity", id, 1)),
        webhook: webhook(to),
        kind: AttemptKind::Delivery,
        number: 1,
        status: Some(200),
        failure: None,
        next: AttemptNext::Nothing,
        phases: Phases::default(),
    }
}

fn open(folder: &tempfile::TempDir, bounds: Bounds) -> History {
    History::open(folder.path(), bounds, bounds, &Metrics::default()).unwrap()
}

/// All pages of so many.
fn all<T>(limit: usize, mut ask: impl FnMut(Option<&Cursor>) -> Page<T>) -> Vec<T> {
    let (mut items, mut cursor) = (Vec::new(), None);
    loop {
        let page = ask(cursor.as_ref());
        assert!(page.items.len() <= limit);
        items.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            return items;
        }
    }
}

fn attempts(history: &History, of: &AttemptFilter, limit: usize) -> Vec<u64> {
    let found = all(limit, |cursor| history.attempts(of, cursor, limit).unwrap());
    found.into_iter().map(|attempt| attempt.at.as_secs()).collect()
}

fn of() -> AttemptFilter {
    AttemptFilter { namespace: "identity".to_owned(), webhook: None, id: None, since: at(0) }
}

#[test]
fn attempts_are_listed_newest_first_in_pages_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let history = open(&folder, LARGE);
        for id in round * 10..round * 10 + 10 {
            history.note(at(id), &attempt(id, 1));
        }
        let expected: Vec<_> = (0..round * 10 + 10).rev().collect();
        for limit in [1, 3, 100] {
            assert_eq!(attempts(&history, &of(), limit), expected, "{limit}");
        }
    }
}

#[test]
fn attempts_are_found_by_webhook_by_either_id_and_by_time() {
    let folder = tempfile::tempdir().unwrap();
    let history = open(&folder, LARGE);
    for id in 0..10 {
        for to in [1, 2] {
            history.note(at(id), &attempt(id, to));
        }
    }
    let message_id = attempt(4, 2).event.message_id(webhook(2));
    let table = [
        (AttemptFilter { webhook: Some(webhook(1)), since: at(8), ..of() }, vec![9, 8]),
        (AttemptFilter { id: Some("e3".to_owned()), ..of() }, vec![3, 3]),
        (AttemptFilter { id: Some(message_id), ..of() }, vec![4]),
        (AttemptFilter { id: Some("msg_unknown".to_owned()), ..of() }, vec![]),
        (AttemptFilter { namespace: "other".to_owned(), ..of() }, vec![]),
    ];
    for (filter, expected) in table {
        assert_eq!(attempts(&history, &filter, 2), expected, "{filter:?}");
    }
}

#[test]
fn kept_events_are_listed_oldest_first_whatever_their_size() {
    let folder = tempfile::tempdir().unwrap();
    // Segments of 4 MiB, read in pieces of 1 MiB.
    let history = open(&folder, LARGE);
    let sizes = [10, 3 << 20, 10, 256 << 10, 2 << 20, 10, 10];
    for (id, size) in (0..).zip(sizes) {
        let namespace = if id == 2 { "other" } else { "identity" };
        let to: &[WebhookUid] = if id == 5 { &[webhook(1)] } else { &[webhook(1), webhook(2)] };
        history.keep(at(id), at(id), to, &encode_event(&event(namespace, id, size), at(id)));
        history.events.flush();
    }
    let found = |of: &KeptFilter| {
        all(2, |cursor| history.kept(of, cursor, 2).unwrap())
            .into_iter()
            .map(|kept| (kept.at.as_secs(), kept.event.data.len()))
            .collect::<Vec<_>>()
    };
    let everything = KeptFilter { namespace: "identity".to_owned(), webhook: None, id: None, since: at(0) };
    let expected = [(0, 10), (1, 3 << 20), (3, 256 << 10), (4, 2 << 20), (5, 10), (6, 10)];
    assert_eq!(found(&everything), expected);
    assert_eq!(
        found(&KeptFilter { webhook: Some(webhook(2)), since: at(4), ..everything.clone() }),
        [(4, 2 << 20), (6, 10)]
    );
    assert_eq!(found(&KeptFilter { id: Some("e3".to_owned()), ..everything.clone() }), [(3, 256 << 10)]);
    let message_id = EventName::from(&event("identity", 6, 1)).message_id(webhook(2));
    assert_eq!(found(&KeptFilter { id: Some(message_id), ..everything }), [(6, 10)]);
}
