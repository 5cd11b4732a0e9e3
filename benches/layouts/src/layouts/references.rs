//! An event, and a reference to it for each webhook.

use super::{Layout, webhook};
use crate::EVENT;
use crate::store::{Message, body};

/// Bytes that name an event.
const REFERENCE: usize = 60;

pub struct References;

impl Layout for References {
    const NAME: &str = "references";
    const FOLLOWED: bool = false;

    fn messages(&self, number: u64, events: usize, fan_out: usize) -> Vec<Message> {
        let (event, reference) = (body(EVENT), body(REFERENCE));
        let mut messages = Vec::with_capacity(events * (1 + fan_out));
        for place in 0..events {
            // By this the server tells a repeat.
            let id = format!("{number}-{place}");
            messages.push(Message::new("references.event.identity", event.clone()).with("Nats-Msg-Id", id));
            messages.extend(
                (0..fan_out)
                    .map(|of| Message::new(format!("references.queue.{}", webhook(of)), reference.clone())),
            );
        }
        messages
    }
}
