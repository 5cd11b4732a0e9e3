//! What is answered: the JSON of the API, written by the server and read by
//! the command line.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::journal::DeathNote;
use crate::journal::inspect::{Attempt, AttemptKind, AttemptNext, EventName};
use crate::model::Phases;

/// An event, without what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventHead {
    /// Where it was posted to.
    pub namespace: String,
    /// Unique within `source`.
    pub id: String,
    /// Who says that it happened.
    pub source: String,
    /// The type on the wire.
    pub r#type: String,
    /// The user.
    pub subject: String,
}

impl From<&EventName> for EventHead {
    fn from(event: &EventName) -> Self {
        Self {
            namespace: event.namespace.clone(),
            id: event.id.clone(),
            source: event.source.clone(),
            r#type: event.event_type.wire_name().to_owned(),
            subject: event.subject.clone(),
        }
    }
}

/// How a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It has not ended.
    Pending,
    /// The endpoint took it.
    Delivered,
    /// It was given up, and is kept.
    Dead,
    /// It is neither pending nor dead, and nothing is kept that says more.
    Unknown,
}

/// One event on its way to one webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// What.
    pub event: EventHead,
    /// The name of the webhook; none if it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// Its UID.
    pub webhook_uid: String,
    /// The `webhook-id`.
    pub message_id: String,
    /// How it stands.
    pub state: State,
    /// When the event was accepted (RFC 3339), if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<String>,
    /// When it was delivered or given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// How many attempts were made.
    pub attempts: u16,
    /// When the next attempt is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<String>,
    /// Why it is pending, if not for its turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// The last failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureNote>,
    /// Every attempt that is kept, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tries: Vec<Try>,
}

/// Why something failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureNote {
    /// In a word.
    pub reason: String,
    /// In a sentence.
    pub message: String,
}

impl From<DeathNote> for FailureNote {
    fn from(DeathNote { reason, message }: DeathNote) -> Self {
        Self { reason, message }
    }
}

/// One request to the endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Try {
    /// When it began (RFC 3339).
    pub at: String,
    /// Why it was made.
    pub kind: TryKind,
    /// The Replay that asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<String>,
    /// The how-manieth of its delivery.
    pub number: u16,
    /// The status of the answer, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it failed; absent if the endpoint took it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureNote>,
    /// After how many milliseconds the next was due; absent if none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retried_after_ms: Option<u64>,
    /// How long each step took.
    pub durations: StepDurations,
}

/// Why a request was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TryKind {
    /// To deliver.
    Delivery,
    /// For a Replay.
    Replay,
    /// To try the webhook.
    Test,
}

/// Milliseconds, with three places; zero for what a reused connection made unnecessary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepDurations {
    /// To resolve the name.
    pub name_ms: f64,
    /// To open the TCP connection.
    pub connect_ms: f64,
    /// For the TLS handshake.
    pub tls_ms: f64,
    /// From the first byte of the request to the head of the answer.
    pub first_byte_ms: f64,
    /// From there to the end of the body.
    pub body_ms: f64,
}

// What is compared is what was read from one text.
impl Eq for StepDurations {}

impl StepDurations {
    /// All of it.
    pub fn total_ms(&self) -> f64 {
        self.name_ms + self.connect_ms + self.tls_ms + self.first_byte_ms + self.body_ms
    }
}

impl From<Phases> for StepDurations {
    fn from(phases: Phases) -> Self {
        let ms = |step: std::time::Duration| (step.as_secs_f64() * 1_000_000.0).round() / 1000.0;
        Self {
            name_ms: ms(phases.resolve),
            connect_ms: ms(phases.connect),
            tls_ms: ms(phases.tls),
            first_byte_ms: ms(phases.first_byte),
            body_ms: ms(phases.body),
        }
    }
}

impl From<&Attempt> for Try {
    fn from(attempt: &Attempt) -> Self {
        let (kind, replay) = match &attempt.kind {
            AttemptKind::Delivery => (TryKind::Delivery, None),
            AttemptKind::Replay(name) => (TryKind::Replay, Some(name.clone())),
            AttemptKind::Test => (TryKind::Test, None),
        };
        let retried_after_ms = match attempt.next {
            AttemptNext::Retry(after) => u64::try_from(after.as_millis()).ok(),
            AttemptNext::Nothing | AttemptNext::Dead => None,
        };
        Self {
            at: attempt.at.to_string(),
            kind,
            replay,
            number: attempt.number,
            status: attempt.status,
            failure: attempt.failure.clone().map(FailureNote::from),
            retried_after_ms,
            durations: attempt.phases.into(),
        }
    }
}

/// What became of one event.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventDetail {
    /// What.
    pub event: EventHead,
    /// When it was accepted (RFC 3339), if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<String>,
    /// To each webhook that it went to.
    pub deliveries: Vec<Delivery>,
    /// Its data, where it was asked for and is still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
}

/// A part of a list.
#[derive(Debug, Serialize, Deserialize)]
pub struct Listing<T> {
    /// The items.
    pub items: Vec<T>,
    /// What to send as `continue` for the next part; absent at the end.
    #[serde(rename = "continue", default = "none", skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

const fn none() -> Option<String> {
    None
}

/// A delivery that was given up.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterItem {
    /// What tells it from others of its webhook.
    pub id: String,
    /// What was to be delivered.
    pub event: EventHead,
    /// The `webhook-id`.
    pub message_id: String,
    /// When the event was accepted (RFC 3339).
    pub accepted_at: String,
    /// When it was given up.
    pub died_at: String,
    /// How many attempts were made.
    pub attempts: u16,
    /// Why.
    pub failure: FailureNote,
}

/// How many dead letters were deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// So many.
    pub deleted: u64,
}

/// What to try a webhook with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    /// A type of event, by either name; the first that the webhook wants, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
}

/// What the endpoint did with a test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TestAnswer {
    /// What was sent.
    pub event: EventHead,
    /// The `webhook-id` that was sent.
    pub message_id: String,
    /// Whether the endpoint took it.
    pub delivered: bool,
    /// The status of the answer, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureNote>,
    /// The beginning of the answer's body, as text.
    pub body: String,
    /// How long each step took.
    pub durations: StepDurations,
}
