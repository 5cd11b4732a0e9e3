//! What is wrong with a request, and where.

use super::{MAX_BATCH_BYTES, MAX_BATCH_EVENTS, MAX_DATA_BYTES, MAX_EVENT_BYTES};
use crate::model::{EventType, UnknownEventType};

/// What is wrong with an event or with the body around it. Each message says
/// what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The body is of a type that is not taken.
    #[error("{0}")]
    ContentType(String),
    /// Not JSON, or not of the shape of a `CloudEvent`.
    #[error("{0}")]
    Malformed(String),
    /// The body of a single event is larger than [`MAX_EVENT_BYTES`].
    #[error("an event must be at most {MAX_EVENT_BYTES} bytes with all its attributes")]
    EventTooLarge,
    /// The body of a batch is larger than [`MAX_BATCH_BYTES`].
    #[error("a batch must be at most {MAX_BATCH_BYTES} bytes; send it in several")]
    BatchTooLarge,
    /// The batch has more events than [`MAX_BATCH_EVENTS`].
    #[error("a batch must have at most {MAX_BATCH_EVENTS} events; send it in several")]
    TooManyEvents,
    /// `data` is larger than [`MAX_DATA_BYTES`].
    #[error("data must be at most {MAX_DATA_BYTES} bytes of JSON, and has {0}")]
    DataTooLarge(usize),
    /// A required attribute is not there.
    #[error("the attribute {0:?} is missing: {hint}", hint = hint(.0))]
    Missing(&'static str),
    /// An attribute has a value that it must not have.
    #[error("the attribute {name:?} {message}")]
    Invalid {
        /// Which.
        name: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The type is not one of the twelve.
    #[error(transparent)]
    UnknownType(#[from] UnknownEventType),
}

/// A fault, and which event of the batch has it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{fault}", index.map(|index| format!("event {index} of the batch (the first is 0): ")).unwrap_or_default())]
pub struct Refusal {
    /// Counted from 0; `None` outside of a batch, or where it is the batch that is wrong.
    pub index: Option<usize>,
    /// What is wrong.
    pub fault: Fault,
}

impl Refusal {
    /// A fault of one event of a batch.
    pub const fn at(index: usize, fault: Fault) -> Self {
        Self { index: Some(index), fault }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self { index: None, fault }
    }
}

/// The beginning of a text, for a message: what refuses a request must not be as large as the request.
/// A precision does not shorten what is written with its quotes.
pub(super) fn head(text: &str) -> &str {
    text.char_indices().nth(64).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

/// What is wrong with a JSON text, and where. The library repeats a string that should have been something
/// else as a whole, which must not make the answer as large as the request.
pub(super) fn brief(error: &serde_json::Error) -> String {
    let said = error.to_string();
    if said.len() <= 256 {
        return said;
    }
    format!("{said:.128}… at line {} column {}", error.line(), error.column())
}

/// What a producer who forgot the attribute needs to know about it.
fn hint(attribute: &str) -> String {
    match attribute {
        "id" => "give each event of a source an id of its own; a repeat is told by it".to_owned(),
        "source" => "name who says that it happened by a URI reference, such as \"/identity\"".to_owned(),
        "type" => format!("it must be one of {}", EventType::list(EventType::wire_name)),
        "subject" => "it must be the id of the user that the event is about".to_owned(),
        "specversion" => "it must be \"1.0\"".to_owned(),
        _ => "it must be JSON; send {} where there is nothing to say".to_owned(),
    }
}
