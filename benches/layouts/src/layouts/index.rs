//! Events in one message, and whom they are for in its header: what Herald does.

use super::{Layout, index_bytes};
use crate::EVENT;
use crate::store::{Message, body};

/// The most bytes of an index, before base64: a header has 64 KiB at most.
const MOST: usize = 45_000;

pub struct Index;

impl Layout for Index {
    const NAME: &str = "index";
    const FOLLOWED: bool = true;

    fn messages(&self, _: u64, events: usize, fan_out: usize) -> Vec<Message> {
        let fit = (1..=events).rev().find(|events| index_bytes(*events, fan_out) <= MOST).unwrap_or(1);
        let mut messages = Vec::new();
        let mut left = events;
        while left > 0 {
            let events = left.min(fit);
            left -= events;
            messages.push(appended(events, fan_out));
        }
        messages
    }
}

/// A message of events.
pub fn appended(events: usize, fan_out: usize) -> Message {
    let index = base64(index_bytes(events, fan_out));
    Message::new("index.append.identity", body(EVENT * events)).with("Herald-Index", index)
}

/// Text as long as base64 of so many bytes.
pub fn base64(bytes: usize) -> String {
    "A".repeat((bytes * 4).div_ceil(3))
}
