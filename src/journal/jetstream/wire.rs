//! What a message of the log says, in bytes.
//!
//! ```text
//! append.<namespace>   header Herald-Index: which events, to whom     body: the events
//!                      of another journal: also where each stands     body: those that wait
//! carry.<namespace>    header Herald-Index: which events            body: them, once more
//! change.<partition>   header Herald-Index: what came of deliveries   body: empty
//! owner.<partition>    header Herald-Member: who runs its lanes       body: empty
//! member.<id>          headers Herald-Lease, Herald-Clock             body: empty
//! ```
//!
//! What every dispatcher has to know stands in a header, so that one consumer
//! that is sent headers only follows the whole log; the bodies are read by
//! whoever delivers. An index is base64, since a header is text.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use bytes::Bytes;

use crate::journal::LaneState;
use crate::journal::record::{self, Corrupt, Reader};
use crate::model::{Event, EventKey, Timestamp, WebhookUid};

/// The header of an index.
pub const INDEX: &str = "Herald-Index";

const VERSION: u8 = 1;

/// The most bytes of an index before base64: a header has 64 KiB at most, with its name and what
/// the server adds.
pub const MOST_INDEX: usize = 45_000;

/// The most events of one message, so that they can be numbered within it.
pub const MOST_EVENTS: usize = 1 << PLACE_BITS;

const PLACE_BITS: u32 = 10;

/// An event's number: the sequence of its message in the stream, and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(u64);

impl Number {
    /// Of the event at this place of a message.
    pub fn new(sequence: u64, place: usize) -> Self {
        Self((sequence << PLACE_BITS) | (place as u64 & (MOST_EVENTS as u64 - 1)))
    }

    /// From [`Self::get`].
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// As one number, in the order of acceptance.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The sequence of its message.
    pub const fn sequence(self) -> u64 {
        self.0 >> PLACE_BITS
    }

    /// Its place in the message.
    pub fn place(self) -> usize {
        usize::try_from(self.0 & (MOST_EVENTS as u64 - 1)).unwrap_or(0)
    }
}

/// What an index says of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indexed {
    /// Its identity.
    pub key: EventKey,
    /// A hash of its subject.
    pub user: u64,
    /// Bytes of its record.
    pub size: u32,
    /// Its deliveries.
    pub webhooks: Vec<WebhookUid>,
    /// What had become of them before: of an event that another journal had.
    pub before: Option<Before>,
}

/// Where an event stood in another journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Where each of its deliveries stands.
    pub deliveries: Vec<Standing>,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not ended.
    Waits {
        /// Attempts that failed.
        failures: u16,
        /// When the next is due; `None` for at once.
        at: Option<Timestamp>,
    },
    /// It was given up.
    Dead {
        /// Where its letter is, in the stream of dead letters.
        letter: u64,
        /// Bytes of the letter.
        size: u32,
        /// When.
        died_at: Timestamp,
    },
}

/// In place of a time that there is not.
const AT_ONCE: u64 = u64::MAX;

impl Standing {
    /// Bytes of the longest.
    const LENGTH: usize = 21;

    fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Waits { failures, at } => {
                bytes.push(0);
                bytes.extend(failures.to_be_bytes());
                bytes.extend(at.map_or(AT_ONCE, Timestamp::as_millis).to_be_bytes());
            }
            Self::Dead { letter, size, died_at } => {
                bytes.push(1);
                bytes.extend(letter.to_be_bytes());
                bytes.extend(size.to_be_bytes());
                bytes.extend(died_at.as_millis().to_be_bytes());
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Corrupt> {
        match reader.u8()? {
            0 => {
                let (failures, at) = (reader.u16()?, reader.u64()?);
                let at = Some(at).filter(|at| *at != AT_ONCE).map(Timestamp::from_millis);
                Ok(Self::Waits { failures, at })
            }
            1 => {
                let (letter, size, died_at) = (reader.u64()?, reader.u32()?, reader.timestamp()?);
                Ok(Self::Dead { letter, size, died_at })
            }
            _ => Err(Corrupt(reader.kind)),
        }
    }
}

impl Indexed {
    /// About how many bytes it adds to an index in which all but so many of its webhooks stand.
    pub fn weight(&self, fresh: usize) -> usize {
        let count = self.webhooks.len();
        AppendIndex::weight(count, fresh)
            + self.before.as_ref().map_or(0, |_| Before::LENGTH + count * Standing::LENGTH)
    }

    /// How many webhooks fit into an index of its own.
    pub const fn alone(&self) -> usize {
        let more = if self.before.is_some() { (Before::LENGTH, Standing::LENGTH) } else { (0, 0) };
        let (none, one) = (AppendIndex::weight(0, 0) + more.0, AppendIndex::weight(1, 1) + more.0 + more.1);
        (MOST_INDEX - none) / (one - none)
    }

    /// With these of its webhooks alone.
    pub fn part(&self, of: Range<usize>) -> Self {
        let before = self.before.as_ref().map(|before| Before {
            accepted_at: before.accepted_at,
            deliveries: before.deliveries.get(of.clone()).unwrap_or_default().to_vec(),
        });
        let webhooks = self.webhooks.get(of).unwrap_or_default().to_vec();
        Self { key: self.key, user: self.user, size: self.size, webhooks, before }
    }
}

impl Before {
    /// Bytes without its deliveries.
    const LENGTH: usize = 9;
}

/// The index of a message of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendIndex {
    /// When they were accepted.
    pub accepted_at: Timestamp,
    /// How many messages before this one its events are: 0 for its own. More than 0 where the
    /// webhooks of one event do not fit into one index.
    pub back: u16,
    /// In the order of the body; for events of an earlier message, from the place `first`.
    pub events: Vec<Indexed>,
    /// The place of the first of them.
    pub first: u16,
}

impl AppendIndex {
    /// As the text of the header.
    pub fn encode(&self) -> String {
        let mut table: HashMap<WebhookUid, u16> = HashMap::new();
        let mut uids: Vec<u8> = Vec::new();
        let mut rest = Vec::new();
        for event in &self.events {
            rest.extend(event.key.as_bytes());
            rest.extend(event.user.to_be_bytes());
            rest.extend(event.size.to_be_bytes());
            rest.extend(short(event.webhooks.len()));
            for webhook in &event.webhooks {
                let next = u16::try_from(table.len()).unwrap_or(u16::MAX);
                let place = *table.entry(*webhook).or_insert_with(|| {
                    uids.extend(webhook.as_bytes());
                    next
                });
                rest.extend(place.to_be_bytes());
            }
        }
        let mut bytes = vec![VERSION];
        bytes.extend(self.accepted_at.as_millis().to_be_bytes());
        bytes.extend(self.back.to_be_bytes());
        bytes.extend(self.first.to_be_bytes());
        bytes.extend(short(table.len()));
        bytes.extend(uids);
        bytes.extend(short(self.events.len()));
        bytes.extend(rest);
        if self.events.iter().any(|event| event.before.is_some()) {
            self.encode_before(&mut bytes);
        }
        BASE64.encode(bytes)
    }

    /// Who does not know of it finds only new events before it.
    fn encode_before(&self, bytes: &mut Vec<u8>) {
        for event in &self.events {
            bytes.push(u8::from(event.before.is_some()));
            if let Some(before) = &event.before {
                bytes.extend(before.accepted_at.as_millis().to_be_bytes());
                before.deliveries.iter().for_each(|standing| standing.encode(bytes));
            }
        }
    }

    fn decode_before(&mut self, reader: &mut Reader<'_>) -> Result<(), Corrupt> {
        for event in &mut self.events {
            if reader.u8()? != 0 {
                let accepted_at = reader.timestamp()?;
                let deliveries = event.webhooks.iter().map(|_| Standing::decode(reader));
                event.before =
                    Some(Before { accepted_at, deliveries: deliveries.collect::<Result<_, _>>()? });
            }
        }
        Ok(())
    }

    /// What [`Self::encode`] wrote.
    pub fn decode(text: &str) -> Result<Self, Corrupt> {
        const KIND: &str = "append index";
        let bytes = BASE64.decode(text).map_err(|_| Corrupt(KIND))?;
        let mut reader = Reader { bytes: &bytes, kind: KIND };
        reader.version()?;
        let (accepted_at, back, first) = (reader.timestamp()?, reader.u16()?, reader.u16()?);
        let table = (0..reader.u16()?)
            .map(|_| reader.array().map(WebhookUid::from_bytes))
            .collect::<Result<Vec<_>, _>>()?;
        let mut events = Vec::new();
        for _ in 0..reader.u16()? {
            let key = EventKey::from_bytes(reader.array()?);
            let (user, size) = (reader.u64()?, reader.u32()?);
            let webhooks = (0..reader.u16()?)
                .map(|_| table.get(usize::from(reader.u16()?)).copied().ok_or(Corrupt(KIND)))
                .collect::<Result<Vec<_>, _>>()?;
            events.push(Indexed { key, user, size, webhooks, before: None });
        }
        // A place beyond would be another event's.
        if usize::from(first) + events.len() > MOST_EVENTS {
            return Err(Corrupt(KIND));
        }
        let mut index = Self { accepted_at, back, events, first };
        if !reader.bytes.is_empty() {
            index.decode_before(&mut reader)?;
        }
        Ok(index)
    }

    /// About how many bytes an event adds to an index, with this many webhooks that are new to it.
    pub const fn weight(webhooks: usize, new: usize) -> usize {
        30 + 2 * webhooks + 16 * new
    }
}

fn short(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

/// The body of a message of events.
pub fn encode_events<'e>(events: impl IntoIterator<Item = &'e Event>, accepted_at: Timestamp) -> Bytes {
    let mut bytes = Vec::new();
    for event in events {
        record::put(&mut bytes, &record::encode_event(event, accepted_at));
    }
    bytes.into()
}

/// What [`encode_events`] wrote.
pub fn decode_events(bytes: &[u8]) -> Result<Vec<Arc<Event>>, Corrupt> {
    let mut reader = Reader { bytes, kind: "events" };
    let mut events = Vec::new();
    while !reader.bytes.is_empty() {
        events.push(Arc::new(record::decode_event(reader.block()?)?));
    }
    Ok(events)
}

/// The index of a message in which events stand once more: their numbers.
pub fn encode_numbers(numbers: &[Number]) -> String {
    BASE64.encode(numbers.iter().flat_map(|number| number.get().to_be_bytes()).collect::<Vec<_>>())
}

/// What [`encode_numbers`] wrote.
pub fn decode_numbers(text: &str) -> Result<Vec<Number>, Corrupt> {
    const KIND: &str = "index of events once more";
    let bytes = BASE64.decode(text).map_err(|_| Corrupt(KIND))?;
    let mut reader = Reader { bytes: &bytes, kind: KIND };
    let mut numbers = Vec::new();
    while !reader.bytes.is_empty() {
        numbers.push(Number::from_u64(reader.u64()?));
    }
    if numbers.len() > MOST_EVENTS {
        return Err(Corrupt(KIND));
    }
    Ok(numbers)
}

/// What came of a delivery, or of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has ended, and nothing is left of it.
    Ended(Number),
    /// An attempt failed; the next is due then.
    Retry {
        /// Which delivery.
        number: Number,
        /// When it is due.
        at: Timestamp,
        /// How many attempts have failed.
        failures: u16,
    },
    /// It was given up.
    Dead {
        /// Which delivery.
        number: Number,
        /// Where its letter is, in the stream of dead letters.
        letter: u64,
        /// Bytes of the letter.
        size: u32,
        /// When.
        died_at: Timestamp,
    },
    /// Its dead letter is not needed any more.
    Forgotten(Number),
    /// Its dead letter was too old, or beyond the bytes for them.
    Evicted(Number),
    /// What the lane remembers.
    State(LaneState),
    /// The webhook is gone, and everything of it.
    Dropped,
}

/// What a message of changes says: of each webhook, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(pub Vec<(WebhookUid, Change)>);

impl Changes {
    /// As the text of the header.
    pub fn encode(&self) -> String {
        let mut bytes = vec![VERSION];
        let mut last = None;
        for (webhook, change) in &self.0 {
            if last != Some(webhook) {
                bytes.push(0);
                bytes.extend(webhook.as_bytes());
                last = Some(webhook);
            }
            change.encode(&mut bytes);
        }
        BASE64.encode(bytes)
    }

    /// What [`Self::encode`] wrote.
    pub fn decode(text: &str) -> Result<Self, Corrupt> {
        const KIND: &str = "index of changes";
        let bytes = BASE64.decode(text).map_err(|_| Corrupt(KIND))?;
        let mut reader = Reader { bytes: &bytes, kind: KIND };
        reader.version()?;
        let mut changes = Vec::new();
        let mut webhook = None;
        while !reader.bytes.is_empty() {
            let kind = reader.u8()?;
            if kind == 0 {
                webhook = Some(WebhookUid::from_bytes(reader.array()?));
                continue;
            }
            let change = Change::decode(kind, &mut reader)?;
            changes.push((webhook.ok_or(Corrupt(KIND))?, change));
        }
        Ok(Self(changes))
    }
}

impl Change {
    /// About how many bytes it adds to an index.
    pub fn weight(&self) -> usize {
        match self {
            Self::State(state) => 40 + state.0.len(),
            Self::Ended(_)
            | Self::Retry { .. }
            | Self::Dead { .. }
            | Self::Forgotten(_)
            | Self::Evicted(_)
            | Self::Dropped => 48,
        }
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        let mut begin = |kind: u8, number: &Number| {
            bytes.push(kind);
            bytes.extend(number.get().to_be_bytes());
        };
        match self {
            Self::Ended(number) => begin(1, number),
            Self::Retry { number, at, failures } => {
                begin(2, number);
                bytes.extend(at.as_millis().to_be_bytes());
                bytes.extend(failures.to_be_bytes());
            }
            Self::Dead { number, letter, size, died_at } => {
                begin(3, number);
                bytes.extend(letter.to_be_bytes());
                bytes.extend(size.to_be_bytes());
                bytes.extend(died_at.as_millis().to_be_bytes());
            }
            Self::Forgotten(number) => begin(4, number),
            Self::Evicted(number) => begin(5, number),
            Self::State(state) => {
                bytes.push(6);
                record::put(bytes, &state.0);
            }
            Self::Dropped => bytes.push(7),
        }
    }

    fn decode(kind: u8, reader: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let number = |reader: &mut Reader<'_>| reader.u64().map(Number::from_u64);
        Ok(match kind {
            1 => Self::Ended(number(reader)?),
            2 => Self::Retry { number: number(reader)?, at: reader.timestamp()?, failures: reader.u16()? },
            3 => Self::Dead {
                number: number(reader)?,
                letter: reader.u64()?,
                size: reader.u32()?,
                died_at: reader.timestamp()?,
            },
            4 => Self::Forgotten(number(reader)?),
            5 => Self::Evicted(number(reader)?),
            6 => Self::State(LaneState(reader.block()?.to_vec())),
            7 => Self::Dropped,
            _ => return Err(Corrupt(reader.kind)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_reads_back_as_it_was_written() {
        let uid = |n| WebhookUid::from_bytes([n; 16]);
        let event = |n: u8, webhooks: Vec<WebhookUid>| Indexed {
            key: EventKey::from_bytes([n; 16]),
            user: u64::from(n),
            size: 900,
            webhooks,
            before: None,
        };
        let index = AppendIndex {
            accepted_at: Timestamp::from_millis(77),
            back: 3,
            events: vec![event(1, vec![uid(1), uid(2)]), event(2, vec![]), event(3, vec![uid(2)])],
            first: 9,
        };
        assert_eq!(AppendIndex::decode(&index.encode()), Ok(index.clone()));
        let (at, died_at) = (Some(Timestamp::from_millis(4)), Timestamp::from_millis(5));
        let deliveries =
            vec![Standing::Waits { failures: 3, at }, Standing::Dead { letter: 8, size: 70, died_at }];
        let before = Some(Before { accepted_at: Timestamp::from_millis(1), deliveries });
        let mut moved = index;
        moved.events[0].before = before;
        assert_eq!(AppendIndex::decode(&moved.encode()), Ok(moved));
        let number = Number::new(5, 7);
        let changes = Changes(vec![
            (uid(1), Change::Ended(number)),
            (uid(1), Change::Retry { number, at: Timestamp::from_millis(9), failures: 2 }),
            (uid(2), Change::Dead { number, letter: 8, size: 3, died_at: Timestamp::from_millis(1) }),
            (uid(1), Change::Forgotten(number)),
            (uid(1), Change::Evicted(number)),
            (uid(3), Change::State(LaneState(vec![1, 2, 3]))),
            (uid(3), Change::Dropped),
        ]);
        assert_eq!(Changes::decode(&changes.encode()), Ok(changes));
    }

    #[test]
    fn what_is_cut_short_or_of_another_version_is_corrupt_and_no_panic() {
        let changes = Changes(vec![(WebhookUid::from_bytes([1; 16]), Change::Ended(Number::new(5, 7)))]);
        let text = changes.encode();
        for length in 2..text.len() {
            let read = Changes::decode(&text[..length]);
            assert!(read.is_err() || read == Ok(Changes::default()), "{length}");
        }
        assert!(Changes::decode(&BASE64.encode([2])).is_err());
        assert!(AppendIndex::decode("").is_err());
        assert!(AppendIndex::decode("*").is_err());
    }

    #[test]
    fn a_number_has_its_message_and_its_place() {
        let number = Number::new(1 << 40, MOST_EVENTS - 1);
        assert_eq!((number.sequence(), number.place()), (1 << 40, MOST_EVENTS - 1));
        assert!(number < Number::new((1 << 40) + 1, 0));
    }
}
