//! Dead letters: a stream of their own, with a copy of the event, so that the log need not keep it.
//!
//! A letter is stored first, and the log says after it that it counts. One
//! that the log does not know is none: a crash came between, and the delivery is
//! leased again.

use std::sync::Arc;

use async_nats::HeaderMap;
use futures::future::join_all;

use super::core::Core;
use super::fold::{Entry, Letter};
use super::publish::{Outgoing, PublishError, publish};
use super::wire::{Change, Number, Standing};
use crate::journal::inspect::{Cursor, LetterId, Page, PageRoom};
use crate::journal::{DeadLetter, DeathNote, Unavailable, record};
use crate::model::{Event, Timestamp, WebhookUid};

/// Where a letter was kept.
pub struct Kept {
    letter: u64,
    size: u32,
    died_at: Timestamp,
}

impl Kept {
    /// What the log has to say of one that another journal had.
    pub const fn standing(&self) -> Standing {
        Standing::Dead { letter: self.letter, size: self.size, died_at: self.died_at }
    }

    /// What the log has to say of it.
    pub const fn change(&self, number: Number) -> Change {
        Change::Dead { number, letter: self.letter, size: self.size, died_at: self.died_at }
    }
}

/// The letter of a delivery that is given up now.
pub fn letter(core: &Core, entry: &Entry, event: &Arc<Event>, note: DeathNote, attempts: u16) -> DeadLetter {
    DeadLetter {
        id: LetterId::default(),
        event: Arc::clone(event),
        accepted_at: entry.accepted_at,
        died_at: core.clock.now(),
        attempts,
        note,
    }
}

/// Stores a letter.
pub async fn keep(core: &Core, webhook: WebhookUid, letter: &DeadLetter) -> Result<Kept, PublishError> {
    let body = record::encode_death(letter);
    let size = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let subject = core.names.letter(webhook);
    let letter_at =
        publish(&core.client, Outgoing { subject, headers: HeaderMap::new(), body: body.into() }).await?;
    Ok(Kept { letter: letter_at, size, died_at: letter.died_at })
}

/// See [`crate::journal::Inspect::dead_letters`].
pub async fn list(
    core: &Core,
    webhook: WebhookUid,
    cursor: Option<Cursor>,
    limit: usize,
) -> Result<Page<DeadLetter>, Unavailable> {
    let after = cursor.as_ref().and_then(position);
    let mut room = PageRoom::new(limit);
    let mut page = Page { items: Vec::new(), next: None };
    let letters: Vec<(Timestamp, Number, Letter)> = {
        let inner = core.lock();
        let Some(lane) = inner.fold.lane(webhook) else { return Ok(page) };
        lane.oldest_letters
            .iter()
            .filter(|place| after.is_none_or(|after| **place > after))
            .take(limit.max(1) + 1)
            .filter_map(|(died_at, number)| Some((*died_at, *number, *lane.letter(*number)?)))
            .collect()
    };
    for piece in letters.chunks(16) {
        let read = piece.iter().map(|(_, _, letter)| core.letters.get(letter.sequence));
        for ((died_at, number, _), body) in piece.iter().zip(join_all(read).await) {
            if room.is_used_up() {
                return Ok(page);
            }
            let place = place(*died_at, *number);
            let id = LetterId(place.0.clone());
            page.next = Some(place);
            let Some(body) = body? else { continue };
            match record::decode_death(&body, id) {
                Ok(letter) => {
                    room.put(&letter.event);
                    page.items.push(letter);
                }
                Err(error) => tracing::error!(%webhook, %error, "a dead letter is damaged; it is left out"),
            }
        }
    }
    page.next = None;
    Ok(page)
}

fn place(died_at: Timestamp, number: Number) -> Cursor {
    Cursor::of_pair((died_at.as_millis(), number.get()))
}

fn position(place: &Cursor) -> Option<(Timestamp, Number)> {
    let (died_at, number) = place.pair()?;
    Some((Timestamp::from_millis(died_at), Number::from_u64(number)))
}

/// Which of these letters there are, of this webhook.
pub fn known(core: &Core, webhook: WebhookUid, letters: &[LetterId]) -> Vec<Number> {
    let inner = core.lock();
    let Some(lane) = inner.fold.lane(webhook) else { return Vec::new() };
    let numbers =
        letters.iter().filter_map(|letter| position(&Cursor(letter.0.clone()))).map(|(_, number)| number);
    numbers.filter(|number| lane.letter(*number).is_some()).collect()
}
