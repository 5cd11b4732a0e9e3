//! What must hold of what the command line reads: events to send, and a server's answers.
#![allow(
    clippy::expect_used,
    clippy::needless_pass_by_value,
    clippy::wildcard_enum_match_arm,
    reason = "a panic is what a fuzzer looks for"
)]

use serde_json::value::RawValue;

use super::connection::Problem;
use super::send::input::batches;
use crate::manage::{DeadLetterItem, Delivery, EventDetail, Listing};

/// The events of a file go out as they are, in order, in requests of a bounded size, and each is told apart
/// by its place.
pub(crate) fn send(data: &[u8]) {
    let (count, text) = data.split_first().unwrap_or((&0, &[]));
    let count = usize::from(*count).max(1);
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(batches) = batches(text, count) else { return };
    let mut sent = Vec::new();
    for batch in &batches {
        assert_eq!(batch.first, sent.len());
        let events: Vec<&RawValue> = serde_json::from_str(&batch.body).expect("an array of JSON");
        assert!(!events.is_empty() && events.len() <= count && events.len() == batch.events);
        assert!(batch.body.len() <= text.len() + 2 * events.len() + 2);
        sent.extend(events.into_iter().map(RawValue::get));
    }
    let mut rest = text;
    for event in sent {
        let at = rest.find(event).expect("an event of the text, in order");
        rest = rest.get(at + event.len()..).unwrap_or_default();
    }
}

/// A server's answer is read or it is not; a complaint of its is shown, however it is written.
pub(crate) fn answers(data: &[u8]) {
    let _ = Problem::read(data).message(http::StatusCode::BAD_REQUEST);
    if let Ok(listing) = serde_json::from_slice::<Listing<Delivery>>(data) {
        again(&listing);
    }
    if let Ok(listing) = serde_json::from_slice::<Listing<DeadLetterItem>>(data) {
        again(&listing);
    }
    if let Ok(detail) = serde_json::from_slice::<Listing<EventDetail>>(data) {
        again(&detail);
    }
}

/// What was read can be written for whoever asks for JSON, and is then read again.
fn again<T: serde::Serialize + serde::de::DeserializeOwned>(read: &T) {
    let written = serde_json::to_vec(read).expect("JSON");
    assert!(serde_json::from_slice::<T>(&written).is_ok());
}
