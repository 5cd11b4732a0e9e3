//! What people ask of the journal: what waits, what was given up, what happened.
//!
//! **Guarantees.** Dead letters and what is queued are the journal's own
//! records, as of some moment of the call.
//!
//! **Does not promise.** Attempts and kept events are bounded by age and by
//! bytes; a crash may take the last second of them, and a disk without room
//! all that is new. A listing may be stale, and may take seconds.

use std::future::Future;
use std::sync::Arc;

use super::calendar::Calendar;
use super::{DeathNote, Journal, Unavailable};
use crate::model::{Event, EventType, MESSAGE_ID_PREFIX, Phases, Timestamp, WebhookUid, message_id};

/// The part of a journal that people see.
pub trait Inspect: Journal {
    /// What time of day it was when.
    fn calendar(&self) -> Calendar;

    /// What is queued for a webhook, from after `cursor`: first what failed or
    /// waits for an earlier event of its user, then the rest, oldest first.
    fn pending(
        &self,
        webhook: WebhookUid,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Page<PendingDelivery>, Unavailable>> + Send;

    /// The dead letters of a webhook, oldest first, from after `cursor`.
    fn dead_letters(
        &self,
        webhook: WebhookUid,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Page<DeadLetter>, Unavailable>> + Send;

    /// Removes dead letters that are not needed any more; those that there
    /// are not are no error. A crash may bring back the last of them.
    fn forget_dead(
        &self,
        webhook: WebhookUid,
        letters: Vec<LetterId>,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Attempts, newest first, from before `cursor`.
    fn attempts(
        &self,
        of: AttemptFilter,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Page<Attempt>, Unavailable>> + Send;

    /// Events that were accepted for a webhook, whatever became of them, oldest
    /// first, from after `cursor`.
    fn kept(
        &self,
        of: KeptFilter,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Page<Kept>, Unavailable>> + Send;
}

/// A place in a listing. Opaque; from a [`Page`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub Vec<u8>);

impl Cursor {
    /// Of a place that is two numbers.
    pub fn of_pair((first, second): (u64, u64)) -> Self {
        Self([first.to_be_bytes(), second.to_be_bytes()].as_flattened().to_vec())
    }

    /// The two numbers; `None` if it is no cursor of these.
    pub fn pair(&self) -> Option<(u64, u64)> {
        let (first, second) = self.0.split_first_chunk()?;
        Some((u64::from_be_bytes(*first), u64::from_be_bytes(second.try_into().ok()?)))
    }
}

/// A part of a listing: as many items as were asked for, or fewer where their
/// events are large, see [`PageRoom`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}

/// The most bytes of events in a page, beyond its first.
const PAGE_BYTES: usize = 4 << 20;

/// How much more goes into a page, which is in memory as a whole.
#[derive(Clone, Copy, Debug)]
pub struct PageRoom {
    items: usize,
    bytes: usize,
}

impl PageRoom {
    /// For at most so many items; for one, if that is 0.
    pub fn new(limit: usize) -> Self {
        Self { items: limit.max(1), bytes: PAGE_BYTES }
    }

    /// Whether the page is full.
    pub fn is_used_up(self) -> bool {
        self.items == 0 || self.bytes == 0
    }

    /// One more item was put into it.
    pub fn put(&mut self, event: &Event) {
        let bytes = event.data.len() + event.id.len() + event.source.len() + event.subject.len();
        self.items = self.items.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// A delivery that was given up and is kept for people to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// What tells it from others of its webhook.
    pub id: LetterId,
    /// What was to be delivered.
    pub event: Arc<Event>,
    /// When the event was accepted.
    pub accepted_at: Timestamp,
    /// When it was given up.
    pub died_at: Timestamp,
    /// How many attempts were made.
    pub attempts: u16,
    /// Why.
    pub note: DeathNote,
}

/// The identity of a dead letter. Opaque.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LetterId(pub Vec<u8>);

/// A delivery that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingDelivery {
    /// What is to be delivered.
    pub event: Arc<Event>,
    /// When the event was accepted, on the journal's clock.
    pub accepted_at: Timestamp,
    /// How many attempts have failed.
    pub failures: u16,
    /// What it waits for, as far as the journal knows.
    pub wait: Wait,
}

/// What a delivery that has not ended waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Its turn, or the end of its attempt.
    InLine,
    /// The time of its retry, on the journal's clock.
    Until(Timestamp),
    /// The end of an earlier event of its user.
    BehindEarlier,
}

/// What identifies an event, without what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventName {
    /// Where it was posted to.
    pub namespace: String,
    /// Unique within `source`.
    pub id: String,
    /// Who says that it happened.
    pub source: String,
    /// What happened.
    pub event_type: EventType,
    /// The user.
    pub subject: String,
}

impl EventName {
    /// The `webhook-id` of its deliveries to a webhook.
    pub fn message_id(&self, webhook: WebhookUid) -> String {
        message_id(&self.namespace, &self.source, &self.id, webhook)
    }

    /// Whether `id` is its own, or the `webhook-id` that it has for one of these.
    pub fn is_called(&self, id: &str, webhooks: &[WebhookUid]) -> bool {
        self.id == id
            || (id.starts_with(MESSAGE_ID_PREFIX)
                && webhooks.iter().any(|webhook| self.message_id(*webhook) == id))
    }
}

impl From<&Event> for EventName {
    fn from(event: &Event) -> Self {
        Self {
            namespace: event.namespace.clone(),
            id: event.id.clone(),
            source: event.source.clone(),
            event_type: event.event_type,
            subject: event.subject.clone(),
        }
    }
}

/// One request to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it began, by the time of day.
    pub at: Timestamp,
    /// Of what.
    pub event: EventName,
    /// To whom.
    pub webhook: WebhookUid,
    /// Why it was made.
    pub kind: AttemptKind,
    /// The how-manieth of its delivery, from 1.
    pub number: u16,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// Why it failed; `None` if the endpoint took it.
    pub failure: Option<DeathNote>,
    /// What follows.
    pub next: AttemptNext,
    /// How long it took.
    pub phases: Phases,
}

/// Why an attempt was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptKind {
    /// To deliver an event.
    Delivery,
    /// Because the Replay of this name asked for it.
    Replay(String),
    /// Because somebody tried the webhook.
    Test,
}

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptNext {
    /// Nothing: its delivery has ended well, or it was not of a delivery.
    Nothing,
    /// Another, after so long.
    Retry(std::time::Duration),
    /// Nothing: its delivery is a dead letter.
    Dead,
}

/// Which attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptFilter {
    /// Of events of this namespace.
    pub namespace: String,
    /// To this webhook.
    pub webhook: Option<WebhookUid>,
    /// Of the event of this id, or with this `webhook-id`.
    pub id: Option<String>,
    /// Not before then, by the time of day.
    pub since: Timestamp,
}

impl AttemptFilter {
    /// Whether it is one of those.
    pub fn wants(&self, attempt: &Attempt) -> bool {
        attempt.at >= self.since
            && attempt.event.namespace == self.namespace
            && self.webhook.is_none_or(|webhook| webhook == attempt.webhook)
            && self.id.as_ref().is_none_or(|id| attempt.event.is_called(id, &[attempt.webhook]))
    }
}

/// Which events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptFilter {
    /// Of this namespace.
    pub namespace: String,
    /// That went to this webhook.
    pub webhook: Option<WebhookUid>,
    /// Of this id, or that have this `webhook-id` for one of their webhooks.
    pub id: Option<String>,
    /// Accepted not before then, by the time of day.
    pub since: Timestamp,
}

impl KeptFilter {
    /// Whether it is one of those.
    pub fn wants(&self, kept: &Kept) -> bool {
        kept.at >= self.since
            && kept.event.namespace == self.namespace
            && self.webhook.is_none_or(|webhook| kept.webhooks.contains(&webhook))
            && self.id.as_ref().is_none_or(|id| EventName::from(&*kept.event).is_called(id, &kept.webhooks))
    }
}

/// An event as it was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// When, by the time of day.
    pub at: Timestamp,
    /// What.
    pub event: Arc<Event>,
    /// Whom it was matched to.
    pub webhooks: Vec<WebhookUid>,
}
