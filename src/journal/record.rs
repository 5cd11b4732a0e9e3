//! The bytes of what is stored: hand-written, compact, each with its version.
//!
//! ```text
//! event   version · accepted · time · type · (length · bytes) × namespace, id, source, subject, data
//! ticket  version · accepted · user · size · flags · failures          24 bytes, one for each delivery
//! entry   ticket · event                                               of an event for one webhook, in `ready`
//! death   version · died · attempts · (length · bytes) × reason, message · event
//! ```
//!
//! Integers are big-endian. A record that cannot be read is [`Corrupt`], never
//! a panic; a version that is not known is corrupt too, since the directory's
//! own version says what may be in it.

pub mod history;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::journal::inspect::LetterId;
use crate::journal::{DeadLetter, DeathNote};
use crate::model::{Event, EventType, Timestamp};

const VERSION: u8 = 1;

/// A record that is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {0} record cannot be read")]
pub struct Corrupt(pub &'static str);

/// What a delivery carries beside its key, wherever it is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// When the event was accepted.
    pub accepted_at: Timestamp,
    /// A hash of the event's subject.
    pub user: u64,
    /// Bytes of the event's record.
    pub size: u32,
    /// Whether other webhooks have deliveries of the same event.
    pub shared: bool,
    /// Attempts that failed.
    pub failures: u16,
}

impl Ticket {
    /// Of its record.
    pub const LENGTH: usize = 24;

    /// To be read by [`Self::decode`].
    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        let (version, rest) = bytes.split_at_mut(1);
        version.fill(VERSION);
        let (accepted, rest) = rest.split_at_mut(8);
        accepted.copy_from_slice(&self.accepted_at.as_millis().to_be_bytes());
        let (user, rest) = rest.split_at_mut(8);
        user.copy_from_slice(&self.user.to_be_bytes());
        let (size, rest) = rest.split_at_mut(4);
        size.copy_from_slice(&self.size.to_be_bytes());
        let (flags, failures) = rest.split_at_mut(1);
        flags.fill(u8::from(self.shared));
        failures.copy_from_slice(&self.failures.to_be_bytes());
        bytes
    }

    /// What [`Self::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader { bytes, kind: "ticket" };
        reader.version()?;
        Ok(Self {
            accepted_at: reader.timestamp()?,
            user: reader.u64()?,
            size: reader.u32()?,
            shared: reader.u8()? != 0,
            failures: reader.u16()?,
        })
    }
}

/// Eight bytes of a SHA-256 hash: of a subject for per-user order, of a
/// namespace for its window of known events.
pub fn short_hash(text: &str) -> u64 {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn texts(event: &Event) -> [&String; 4] {
    [&event.namespace, &event.id, &event.source, &event.subject]
}

/// How many bytes an event's record has.
pub fn event_length(event: &Event) -> usize {
    texts(event).iter().map(|text| text.len() + 4).sum::<usize>() + event.data.len() + 22
}

/// An event's record.
pub fn encode_event(event: &Event, accepted_at: Timestamp) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(event_length(event));
    put_event(&mut bytes, event, accepted_at);
    bytes
}

/// A ticket's place and an event's record, to be completed by [`fill_entry`].
pub fn begin_entry(event: &Event) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(Ticket::LENGTH + event_length(event));
    bytes.extend([0; Ticket::LENGTH]);
    put_event(&mut bytes, event, Timestamp::from_millis(0));
    bytes
}

/// Writes the ticket, and the time of acceptance into the event's record.
pub fn fill_entry(entry: &mut [u8], ticket: &Ticket) {
    if let Some((place, event)) = entry.split_at_mut_checked(Ticket::LENGTH) {
        place.copy_from_slice(&ticket.encode());
        if let Some(place) = event.get_mut(1..9) {
            place.copy_from_slice(&ticket.accepted_at.as_millis().to_be_bytes());
        }
    }
}

/// The event's record in an entry; empty if that is only a ticket.
pub fn event_of_entry(entry: &[u8]) -> &[u8] {
    entry.get(Ticket::LENGTH..).unwrap_or_default()
}

fn put_event(bytes: &mut Vec<u8>, event: &Event, accepted_at: Timestamp) {
    bytes.push(VERSION);
    bytes.extend(accepted_at.as_millis().to_be_bytes());
    bytes.extend(event.time.as_millis().to_be_bytes());
    bytes.push(type_code(event.event_type));
    for text in texts(event) {
        put(bytes, text.as_bytes());
    }
    put(bytes, &event.data);
}

/// The event of a record.
pub fn decode_event(bytes: &[u8]) -> Result<Event, Corrupt> {
    event(&mut Reader { bytes, kind: "event" }).map(|(event, _)| event)
}

fn event(reader: &mut Reader<'_>) -> Result<(Event, Timestamp), Corrupt> {
    reader.version()?;
    let accepted_at = reader.timestamp()?;
    let time = reader.timestamp()?;
    let event_type = reader.event_type()?;
    let event = Event {
        namespace: reader.text()?,
        id: reader.text()?,
        source: reader.text()?,
        event_type,
        subject: reader.text()?,
        time,
        data: Bytes::copy_from_slice(reader.block()?),
    };
    Ok((event, accepted_at))
}

/// The namespace in an event's record.
pub fn namespace(bytes: &[u8]) -> Result<&str, Corrupt> {
    let mut reader = Reader { bytes, kind: "event" };
    reader.version()?;
    reader.timestamp()?;
    reader.timestamp()?;
    reader.u8()?;
    std::str::from_utf8(reader.block()?).map_err(|_| Corrupt("event"))
}

/// What is kept of a namespace: how many events it has had, and bytes of those that wait.
pub fn space(events: u64, queued: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    let (first, second) = bytes.split_at_mut(8);
    first.copy_from_slice(&events.to_be_bytes());
    second.copy_from_slice(&queued.to_be_bytes());
    bytes
}

/// A dead letter, with its event.
pub fn encode_death(letter: &DeadLetter) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend(letter.died_at.as_millis().to_be_bytes());
    bytes.extend(letter.attempts.to_be_bytes());
    put(&mut bytes, letter.note.reason.as_bytes());
    put(&mut bytes, letter.note.message.as_bytes());
    put_event(&mut bytes, &letter.event, letter.accepted_at);
    bytes
}

/// What [`encode_death`] wrote, under this key.
pub fn decode_death(bytes: &[u8], id: LetterId) -> Result<DeadLetter, Corrupt> {
    let mut reader = Reader { bytes, kind: "dead letter" };
    reader.version()?;
    let died_at = reader.timestamp()?;
    let attempts = reader.u16()?;
    let note = DeathNote { reason: reader.text()?, message: reader.text()? };
    let (event, accepted_at) = event(&mut reader)?;
    Ok(DeadLetter { id, event: event.into(), accepted_at, died_at, attempts, note })
}

/// The number that stands for a type on disk, for ever.
pub const fn type_code(event_type: EventType) -> u8 {
    match event_type {
        EventType::UserCreated => 1,
        EventType::UserUpdated => 2,
        EventType::UserDeleted => 3,
        EventType::UserAddedToApp => 4,
        EventType::UserRemovedFromApp => 5,
        EventType::UserLoggedIn => 6,
        EventType::UserLoggedOut => 7,
        EventType::UserSuspended => 8,
        EventType::UserUnsuspended => 9,
        EventType::UserPasswordLock => 10,
        EventType::OrchestratedUserLogin => 11,
        EventType::FailedOtpAttempt => 12,
    }
}

/// Length and bytes. Nothing that comes in is near 4 GiB: the door bounds it.
pub fn put(bytes: &mut Vec<u8>, block: &[u8]) {
    bytes.extend(u32::try_from(block.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(block);
}

/// Takes a record apart from its front.
pub struct Reader<'a> {
    /// What is left.
    pub bytes: &'a [u8],
    /// For the error.
    pub kind: &'static str,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Corrupt> {
        let (head, rest) = self.bytes.split_at_checked(length).ok_or(Corrupt(self.kind))?;
        self.bytes = rest;
        Ok(head)
    }

    /// The next bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        let kind = self.kind;
        self.take(N)?.try_into().map_err(|_| Corrupt(kind))
    }

    /// Fails if the record is of a version that is not known.
    pub fn version(&mut self) -> Result<(), Corrupt> {
        if self.u8()? == VERSION { Ok(()) } else { Err(Corrupt(self.kind)) }
    }

    /// The next byte.
    pub fn u8(&mut self) -> Result<u8, Corrupt> {
        self.array().map(u8::from_be_bytes)
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> Result<u16, Corrupt> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> Result<u32, Corrupt> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> Result<u64, Corrupt> {
        self.array().map(u64::from_be_bytes)
    }

    /// The next eight bytes, as milliseconds.
    pub fn timestamp(&mut self) -> Result<Timestamp, Corrupt> {
        self.u64().map(Timestamp::from_millis)
    }

    /// The type that the next byte stands for.
    pub fn event_type(&mut self) -> Result<EventType, Corrupt> {
        let code = self.u8()?;
        EventType::ALL.into_iter().find(|t| type_code(*t) == code).ok_or(Corrupt(self.kind))
    }

    /// The next bytes, after their length.
    pub fn block(&mut self) -> Result<&'a [u8], Corrupt> {
        let length = self.u32()?;
        self.take(usize::try_from(length).map_err(|_| Corrupt(self.kind))?)
    }

    /// The next text, after its length.
    pub fn text(&mut self) -> Result<String, Corrupt> {
        let kind = self.kind;
        String::from_utf8(self.block()?.to_vec()).map_err(|_| Corrupt(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPTED: Timestamp = Timestamp::from_millis(5);

    fn sample(event_type: EventType) -> Event {
        Event {
            namespace: "identity".to_owned(),
            id: "e-1".to_owned(),
            source: "/idp".to_owned(),
            event_type,
            subject: "user-ä".to_owned(),
            time: Timestamp::from_millis(77),
            data: Bytes::from_static(b"{\"a\": 1}"),
        }
    }

    #[test]
    fn records_read_back_as_they_were_written() {
        for event_type in EventType::ALL {
            let event = sample(event_type);
            assert_eq!(decode_event(&encode_event(&event, ACCEPTED)), Ok(event.clone()));
            let letter = DeadLetter {
                id: LetterId::default(),
                event: event.into(),
                accepted_at: ACCEPTED,
                died_at: Timestamp::from_millis(9),
                attempts: 3,
                note: DeathNote { reason: "TimedOut".to_owned(), message: "no answer in 3 s".to_owned() },
            };
            assert_eq!(decode_death(&encode_death(&letter), LetterId::default()), Ok(letter));
        }
        let ticket =
            Ticket { accepted_at: ACCEPTED, user: u64::MAX - 1, size: 800, shared: true, failures: 19 };
        assert_eq!(Ticket::decode(&ticket.encode()), Ok(ticket));
        let event = sample(EventType::UserCreated);
        let mut entry = begin_entry(&event);
        fill_entry(&mut entry, &ticket);
        assert_eq!(Ticket::decode(&entry), Ok(ticket));
        assert_eq!(event_of_entry(&entry), encode_event(&event, ACCEPTED));
        assert_eq!(event_of_entry(&ticket.encode()), b"");
        assert_eq!(namespace(event_of_entry(&entry)), Ok("identity"));
    }

    #[test]
    fn a_record_cut_short_anywhere_or_of_another_version_is_corrupt() {
        let mut bytes = encode_event(&sample(EventType::UserCreated), ACCEPTED);
        for length in 0..bytes.len() {
            assert!(decode_event(&bytes[..length]).is_err(), "{length}");
            assert!(length >= 30 || namespace(&bytes[..length]).is_err(), "{length}");
        }
        bytes[0] = 2;
        assert_eq!(decode_event(&bytes), Err(Corrupt("event")));
    }

    #[test]
    fn no_byte_flipped_in_a_record_panics() {
        let bytes = encode_event(&sample(EventType::UserCreated), ACCEPTED);
        for i in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[i] ^= 1 << bit;
                let _ = decode_event(&flipped);
            }
        }
    }
}
