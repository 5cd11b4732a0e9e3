//! The bytes of attempts and of kept events.
//!
//! ```text
//! attempt  version · moment · webhook · type · kind · number · status · next · phases ×5 ·
//!          (length · bytes) × namespace, id, source, subject, replay, reason, message
//! kept     version · moment · count · webhook × count · the event's record
//! ```
//!
//! Moments are by the time of day, for people; what ages goes by the record's own.

use std::time::Duration;

use super::{Corrupt, Reader, put};
use crate::journal::DeathNote;
use crate::journal::inspect::{Attempt, AttemptKind, AttemptNext, EventName, Kept};
use crate::model::{Phases, Timestamp, WebhookUid};

const VERSION: u8 = 1;

/// Adds the body of an attempt's record.
pub fn encode_attempt(bytes: &mut Vec<u8>, attempt: &Attempt) {
    let Attempt { at, event, webhook, kind, number, status, failure, next, phases } = attempt;
    bytes.push(VERSION);
    bytes.extend(at.as_millis().to_be_bytes());
    bytes.extend(webhook.as_bytes());
    bytes.push(super::type_code(event.event_type));
    let (kind, replay) = match kind {
        AttemptKind::Delivery => (0, ""),
        AttemptKind::Replay(name) => (1, name.as_str()),
        AttemptKind::Test => (2, ""),
    };
    bytes.push(kind);
    bytes.extend(number.to_be_bytes());
    bytes.extend(status.unwrap_or_default().to_be_bytes());
    let (next, after) = match next {
        AttemptNext::Nothing => (0, Duration::ZERO),
        AttemptNext::Retry(after) => (1, *after),
        AttemptNext::Dead => (2, Duration::ZERO),
    };
    bytes.push(next);
    bytes.extend(u64::try_from(after.as_millis()).unwrap_or(u64::MAX).to_be_bytes());
    for step in [phases.resolve, phases.connect, phases.tls, phases.first_byte, phases.body] {
        bytes.extend(u32::try_from(step.as_micros()).unwrap_or(u32::MAX).to_be_bytes());
    }
    let (reason, message) = failure.as_ref().map_or(("", ""), |note| (&note.reason, &note.message));
    for text in [&event.namespace, &event.id, &event.source, &event.subject, replay, reason, message] {
        put(bytes, text.as_bytes());
    }
}

/// What [`encode_attempt`] wrote.
pub fn decode_attempt(bytes: &[u8]) -> Result<Attempt, Corrupt> {
    const KIND: &str = "attempt";
    let mut reader = Reader { bytes, kind: KIND };
    reader.version()?;
    let at = reader.timestamp()?;
    let webhook = WebhookUid::from_bytes(reader.array()?);
    let event_type = reader.event_type()?;
    let kind = reader.u8()?;
    let number = reader.u16()?;
    let status = Some(reader.u16()?).filter(|status| *status != 0);
    let next = reader.u8()?;
    let after = Duration::from_millis(reader.u64()?);
    let mut step = || reader.u32().map(|micros| Duration::from_micros(micros.into()));
    let phases =
        Phases { resolve: step()?, connect: step()?, tls: step()?, first_byte: step()?, body: step()? };
    let event = EventName {
        namespace: reader.text()?,
        id: reader.text()?,
        source: reader.text()?,
        event_type,
        subject: reader.text()?,
    };
    let kind = match (kind, reader.text()?) {
        (0, _) => AttemptKind::Delivery,
        (1, name) => AttemptKind::Replay(name),
        (2, _) => AttemptKind::Test,
        _ => return Err(Corrupt(KIND)),
    };
    let next = match next {
        0 => AttemptNext::Nothing,
        1 => AttemptNext::Retry(after),
        2 => AttemptNext::Dead,
        _ => return Err(Corrupt(KIND)),
    };
    let note = DeathNote { reason: reader.text()?, message: reader.text()? };
    let failure = (!note.reason.is_empty()).then_some(note);
    Ok(Attempt { at, event, webhook, kind, number, status, failure, next, phases })
}

/// Adds the body of a kept event's record, from the event's own.
pub fn encode_kept(bytes: &mut Vec<u8>, at: Timestamp, webhooks: &[WebhookUid], event: &[u8]) {
    bytes.push(VERSION);
    bytes.extend(at.as_millis().to_be_bytes());
    bytes.extend(u32::try_from(webhooks.len()).unwrap_or(u32::MAX).to_be_bytes());
    for webhook in webhooks {
        bytes.extend(webhook.as_bytes());
    }
    bytes.extend(event);
}

/// What [`encode_kept`] wrote.
pub fn decode_kept(bytes: &[u8]) -> Result<Kept, Corrupt> {
    let mut reader = Reader { bytes, kind: "kept event" };
    reader.version()?;
    let at = reader.timestamp()?;
    let count = reader.u32()?;
    let webhooks =
        (0..count).map(|_| reader.array().map(WebhookUid::from_bytes)).collect::<Result<Vec<_>, _>>()?;
    let event = super::decode_event(reader.bytes)?.into();
    Ok(Kept { at, event, webhooks })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::{Event, EventType};

    fn event() -> Event {
        Event {
            namespace: "identity".to_owned(),
            id: "e-1".to_owned(),
            source: "/idp".to_owned(),
            event_type: EventType::FailedOtpAttempt,
            subject: "äöü".to_owned(),
            time: Timestamp::from_millis(5),
            data: Bytes::from_static(b"{}"),
        }
    }

    #[test]
    fn an_attempt_is_read_as_it_was_written_and_cut_short_it_is_not() {
        let millis = Duration::from_millis;
        let delivered = Attempt {
            at: Timestamp::from_millis(7),
            event: EventName::from(&event()),
            webhook: WebhookUid::from_bytes([3; 16]),
            kind: AttemptKind::Delivery,
            number: 1,
            status: Some(204),
            failure: None,
            next: AttemptNext::Nothing,
            phases: Phases {
                resolve: millis(1),
                connect: millis(2),
                tls: millis(3),
                first_byte: millis(4),
                body: millis(5),
            },
        };
        let note = DeathNote { reason: "TimedOut".to_owned(), message: "no answer".to_owned() };
        let failed = Attempt {
            kind: AttemptKind::Replay("again".to_owned()),
            number: 3,
            status: None,
            failure: Some(note),
            next: AttemptNext::Retry(millis(1500)),
            ..delivered.clone()
        };
        let test = Attempt { kind: AttemptKind::Test, next: AttemptNext::Dead, ..failed.clone() };
        for attempt in [delivered, failed, test] {
            let mut bytes = Vec::new();
            encode_attempt(&mut bytes, &attempt);
            assert_eq!(decode_attempt(&bytes), Ok(attempt.clone()));
            for length in 0..bytes.len() {
                assert!(decode_attempt(&bytes[..length]).is_err(), "{length}");
            }
        }
    }

    #[test]
    fn a_kept_event_is_read_as_it_was_written() {
        let webhooks = vec![WebhookUid::from_bytes([1; 16]), WebhookUid::from_bytes([2; 16])];
        let mut bytes = Vec::new();
        let at = Timestamp::from_millis(7);
        encode_kept(
            &mut bytes,
            at,
            &webhooks,
            &crate::journal::record::encode_event(&event(), Timestamp::from_millis(9)),
        );
        assert_eq!(decode_kept(&bytes), Ok(Kept { at, event: event().into(), webhooks }));
    }
}
