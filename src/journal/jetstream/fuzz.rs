//! What must hold of everything that is read from streams of NATS, whoever wrote it.
#![allow(
    clippy::expect_used,
    clippy::needless_pass_by_value,
    clippy::wildcard_enum_match_arm,
    reason = "a panic is what a fuzzer looks for"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

use super::fold::Fold;
use super::names::Names;
use super::snapshot;
use super::wire::{self, AppendIndex, Changes, MOST_EVENTS, Number};
use crate::journal::limits::{Bounds, Window};
use crate::model::Timestamp;

const WINDOW: Window = Window { age: Duration::from_hours(24), ids: 100 };

/// Whatever a header or a body says is read as it would be written again, is in proportion to its bytes, and leaves the fold whole.
pub(crate) fn wire(data: &[u8]) {
    let text = BASE64.encode(data);
    let mut fold = Fold::new(WINDOW);
    for text in [text.as_str(), std::str::from_utf8(data).unwrap_or_default()] {
        if let Ok(index) = AppendIndex::decode(text) {
            let deliveries: usize = index.events.iter().map(|event| event.webhooks.len()).sum();
            assert!(28 * index.events.len() + 2 * deliveries <= data.len());
            assert!(usize::from(index.first) + index.events.len() <= MOST_EVENTS);
            assert_eq!(AppendIndex::decode(&index.encode()).as_ref(), Ok(&index));
            for (sequence, namespace) in [(1, "a"), (2, "a"), (2, "b"), (u64::MAX, "b")] {
                fold.append(sequence, namespace, &index);
            }
            whole(&mut fold);
        }
        if let Ok(changes) = Changes::decode(text) {
            assert!(changes.0.len() <= data.len());
            assert_eq!(Changes::decode(&changes.encode()).as_ref(), Ok(&changes));
            fold.change(changes);
            whole(&mut fold);
        }
        if let Ok(numbers) = wire::decode_numbers(text) {
            assert!(numbers.len() <= MOST_EVENTS && 8 * numbers.len() <= data.len());
            assert_eq!(wire::decode_numbers(&wire::encode_numbers(&numbers)).as_ref(), Ok(&numbers));
            fold.moved(u64::MAX, &numbers);
            whole(&mut fold);
        }
        let _ = Names::new("herald").parse(text);
    }
    if let Ok(events) = wire::decode_events(data) {
        let again = wire::encode_events(events.iter().map(AsRef::as_ref), Timestamp::from_millis(0));
        assert!(again.len() <= data.len());
        assert_eq!(wire::decode_events(&again).as_ref(), Ok(&events));
    }
}

/// Whatever a snapshot says, it is read as it would be written again, and what comes after it can be put to it.
pub(crate) fn snapshot(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(pieces) = snapshot::pieces(&text) {
        assert!(pieces.len() <= data.len() && pieces.is_sorted_by(|one, next| one < next));
    }
    // As it stands, and without the version, for which a fuzzer looks in vain.
    for bytes in [data.to_vec(), [&[1], data].concat()] {
        let Ok((mut fold, owners)) = snapshot::decode(&bytes, WINDOW) else { continue };
        assert!(fold.deliveries() * 38 <= bytes.len() as u64);
        assert!(owners.len() <= super::PARTITIONS);
        whole(&mut fold);
        let numbers: Vec<_> = fold.lanes().flat_map(|(_, lane)| lane.entries.keys().copied()).collect();
        let webhooks: Vec<_> = fold.lanes().map(|(webhook, _)| webhook).collect();
        let evicted = |webhook| numbers.iter().map(move |number| (webhook, wire::Change::Evicted(*number)));
        let dropped = webhooks.iter().map(|webhook| (*webhook, wire::Change::Dropped));
        fold.change(Changes(webhooks.iter().take(4).flat_map(|webhook| evicted(*webhook)).collect()));
        fold.moved(7, &numbers);
        fold.append(u64::MAX, "a", &full());
        whole(&mut fold);
        fold.change(Changes(dropped.collect()));
        assert_eq!(fold.lanes().filter(|(webhook, _)| webhooks.contains(webhook)).count(), 0);
        whole(&mut fold);
    }
}

/// An index whose events are as large as they say.
fn full() -> AppendIndex {
    let event = wire::Indexed {
        key: crate::model::EventKey::from_bytes([9; 16]),
        user: 1,
        size: u32::MAX,
        webhooks: vec![crate::model::WebhookUid::from_bytes([9; 16])],
        before: None,
    };
    AppendIndex { accepted_at: Timestamp::from_millis(u64::MAX), back: 0, events: vec![event], first: 0 }
}

/// Its sums are those of its parts, it can be asked anything, and it is read as it was written.
fn whole(fold: &mut Fold) {
    let entries: u64 = fold.lanes().map(|(_, lane)| lane.entries.len() as u64).sum();
    assert_eq!(fold.deliveries(), entries);
    for (_, lane) in fold.lanes() {
        let letters: u64 = lane
            .oldest_letters
            .iter()
            .map(|(_, number)| u64::from(lane.letter(*number).expect("it is kept").size))
            .sum();
        assert_eq!(lane.dead_bytes, letters);
    }
    let all: BTreeSet<Number> = fold.lanes().flat_map(|(_, lane)| lane.entries.keys().copied()).collect();
    for number in &all {
        let _ = fold.place(*number);
    }
    let _ = (fold.first_needed(), fold.needed_before(u64::MAX, 3), fold.live());
    for bounds in [0, 1, u64::MAX].map(|bytes| Bounds { bytes, age: Duration::from_hours(1) }) {
        let _ = fold.kept_from(bounds, Timestamp::from_millis(u64::MAX));
    }
    let mut bytes = vec![1];
    fold.encode(&mut bytes);
    let (again, _) = snapshot::decode(&bytes, WINDOW).expect("what was written");
    let sums = |fold: &Fold| (fold.live(), fold.deliveries(), fold.lanes().count(), fold.first_needed());
    assert_eq!(sums(&again), sums(fold));
}
