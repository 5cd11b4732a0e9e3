//! What must hold of everything that is read from the disk, and of places in listings.
#![allow(
    clippy::expect_used,
    clippy::needless_pass_by_value,
    clippy::wildcard_enum_match_arm,
    reason = "a panic is what a fuzzer looks for"
)]

use std::sync::LazyLock;

use super::history::segment;
use super::log::{self, Item, START};
use super::order;
use super::record::history::{decode_attempt, decode_kept, encode_attempt, encode_kept};
use super::record::{self, Ticket};
use super::scan::scan;
use super::seen::Seen;
use super::{Config, Embedded, dead, queue};
use crate::journal::inspect::{Cursor, LetterId};
use crate::journal::{Append, Journal as _, Outcome};
use crate::journal::{DeathNote, Lane as _, Lease as _};
use crate::model::{Clock, Event, EventType, Ordering, Timestamp, WebhookUid};

/// Bytes that an event has outside of its texts and its data.
const HEAD: usize = 22;

/// An event is read from its record as it was written, and a part of the record is none.
pub fn stored(event: &Event) {
    let accepted_at = Timestamp::from_millis(7);
    let bytes = record::encode_event(event, accepted_at);
    assert_eq!(bytes.len(), record::event_length(event));
    assert_eq!(record::decode_event(&bytes).as_ref(), Ok(event));
    let part = bytes.get(..bytes.len() / 2).unwrap_or_default();
    assert!(record::decode_event(part).is_err());
}

/// What any bytes say as a record, if anything, is said by what is written of it too, and is no larger than they.
pub fn records(data: &[u8]) {
    if let Ok(ticket) = Ticket::decode(data) {
        assert_eq!(Ticket::decode(&ticket.encode()), Ok(ticket));
    }
    if let Ok(event) = record::decode_event(data) {
        assert!(record::event_length(&event) <= data.len());
        stored(&event);
    }
    if let Ok(letter) = record::decode_death(data, LetterId::default()) {
        assert!(letter.note.reason.len() + letter.note.message.len() + HEAD <= data.len());
        assert_eq!(record::decode_death(&record::encode_death(&letter), LetterId::default()), Ok(letter));
    }
    if let Ok(attempt) = decode_attempt(data) {
        let mut bytes = Vec::new();
        encode_attempt(&mut bytes, &attempt);
        assert!(bytes.len() <= data.len());
        assert_eq!(decode_attempt(&bytes), Ok(attempt));
    }
    if let Ok(kept) = decode_kept(data) {
        assert!(kept.webhooks.len() * 16 + HEAD <= data.len());
        let mut bytes = Vec::new();
        encode_kept(&mut bytes, kept.at, &kept.webhooks, &record::encode_event(&kept.event, kept.at));
        assert_eq!(decode_kept(&bytes), Ok(kept));
    }
    if let Ok((at, ticket)) = order::decode(data) {
        assert_eq!(order::decode(&order::encode(at, &ticket)), Ok((at, ticket)));
    }
    if let Ok(seen) = Seen::decode(data) {
        assert_eq!(Seen::decode(&seen.encode()), Ok(seen));
    }
}

/// The files of what happened: reading gets on, ends, and finds what was put there.
pub fn segments(data: &[u8]) {
    let mut end = 0;
    for record in segment::records(data, 0) {
        assert_eq!(record.offset, end);
        assert!(record.end > record.offset && record.end <= data.len());
        end = record.end;
    }
    let (at, body) = (Timestamp::from_millis(data.len() as u64), data);
    let mut whole = data.get(..end).unwrap_or_default().to_vec();
    segment::put(&mut whole, at, |bytes| bytes.extend(body));
    let last = segment::records(&whole, 0).last().expect("what was put");
    assert_eq!((last.at, last.body), (at, body));
    whole.pop();
    assert!(segment::records(&whole, end).next().is_none(), "a torn record was read");
}

/// A damaged log is taken apart without gap and without overlap; and of batches that the
/// bytes make, each that was not touched is found.
pub fn logs(data: &[u8]) {
    let (&sealed, log) = data.split_first().unwrap_or((&0, &[]));
    sorted_out(log, sealed % 2 == 1);
    let Some((&[hit, flip], log)) = log.split_first_chunk::<2>() else { return };
    let (mut written, mut ranges) = (Vec::new(), Vec::new());
    for (number, value) in (10..).zip(log.chunks(40).take(8)) {
        let begin = written.len();
        written.extend(log::write(number, &[Item::of(&item(value))]));
        ranges.push(begin..written.len());
    }
    let whole = scan(&written, true);
    assert_eq!((&whole.good, whole.damaged.len(), whole.torn), (&ranges, 0, 0));
    let place = usize::from(hit) % written.len().max(1);
    // The number is in no checksum: a change of it may cost the neighbour that it hides behind.
    let in_number = ranges.iter().any(|range| (range.start + 5..range.start + 13).contains(&place));
    if let Some(byte) = written.get_mut(place).filter(|_| flip != 0 && !in_number) {
        *byte ^= flip;
        let found = sorted_out(&written, true);
        let untouched = |range: &&std::ops::Range<usize>| !range.contains(&place);
        let expected: Vec<_> = ranges.iter().filter(untouched).cloned().collect();
        assert_eq!(found, expected, "the damage is at {place}");
    }
}

/// The bytes of an item as the library writes them, around a value that has no byte of a batch's begin.
fn item(value: &[u8]) -> Vec<u8> {
    let value: Vec<u8> = value.iter().map(|byte| if *byte == START { b'x' } else { *byte }).collect();
    let length = u32::try_from(value.len()).unwrap_or(0).to_le_bytes();
    [&[2, 0, 0][..], &7_u64.to_le_bytes(), &[0, 0], &length, &length, &value].concat()
}

fn sorted_out(log: &[u8], sealed: bool) -> Vec<std::ops::Range<usize>> {
    let found = scan(log, sealed);
    let used = log.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut all: Vec<_> = found.good.iter().chain(&found.damaged).cloned().collect();
    all.sort_unstable_by_key(|range| range.start);
    let mut end = 0;
    for range in all {
        assert_eq!(range.start, end);
        assert!(range.end > range.start);
        end = range.end;
    }
    // A batch's own trailer is never zero, so the used part ends with a batch or with damage.
    assert_eq!(end + found.torn, used);
    for range in &found.good {
        let batch = log.get(range.clone()).and_then(log::read).expect("a whole batch");
        assert_eq!(batch.length, range.len());
    }
    found.good
}

/// A place in a listing comes from whoever asks. Whatever it is, a listing has nothing of another webhook.
pub fn places(data: &[u8]) {
    /// Two webhooks with deliveries of each kind, one of a namespace before and one of a namespace after the asked one.
    static JOURNAL: LazyLock<Embedded> = LazyLock::new(filled);
    let core = &JOURNAL.0.core;
    let store = core.store().expect("open");
    for number in [1, 2, 3] {
        let webhook = WebhookUid::from_bytes([number; 16]);
        let mine = format!("webhook-{number}");
        let cursor = Some(Cursor(data.to_vec()));
        let page = queue::list(core, &store, webhook, cursor.clone(), 5).expect("a page");
        assert!(page.items.len() <= 5);
        assert!(page.items.iter().all(|pending| pending.event.subject == mine), "{page:?}");
        let page = dead::list(&store, webhook, cursor, 5).expect("a page");
        assert!(page.items.len() <= 5);
        assert!(page.items.iter().all(|letter| letter.event.subject == mine), "{page:?}");
    }
}

fn filled() -> Embedded {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let name = format!("herald-fuzz-{}-{:x}", std::process::id(), rand::random::<u64>());
    let folder = std::env::temp_dir().join(name);
    let journal = Embedded::open(Config::new(&folder), Clock::default()).expect("a journal");
    runtime.block_on(async {
        for number in [1, 2, 3] {
            let webhook = WebhookUid::from_bytes([number; 16]);
            let subject = format!("webhook-{number}");
            let append = |id: usize| Append {
                event: Event {
                    namespace: subject.clone(),
                    id: id.to_string(),
                    source: "/idp".to_owned(),
                    event_type: EventType::UserCreated,
                    subject: subject.clone(),
                    time: Timestamp::from_millis(1),
                    data: bytes::Bytes::from_static(b"{}"),
                }
                .into(),
                webhooks: vec![webhook],
            };
            // More than 256, for keys that end in a zero.
            journal.append((0..300).map(append).collect()).await;
            let mut lane = journal.claim(webhook, Ordering::None).await.expect("a lane");
            let note = DeathNote { reason: "Gone".to_owned(), message: String::new() };
            for (i, lease) in lane.next(20).await.expect("ours").into_iter().enumerate() {
                let outcome = if i % 2 == 0 {
                    Outcome::Dead(note.clone())
                } else {
                    Outcome::Retry { after: std::time::Duration::from_hours(1) }
                };
                lease.settle(outcome).await;
            }
        }
    });
    // It stays open; its files are not read any more but for what is open.
    journal
}
