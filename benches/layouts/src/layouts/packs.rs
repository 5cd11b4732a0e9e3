//! Events in one message, their ids in another, and one of references for each partition.

use super::{Layout, index_bytes};
use crate::store::{Message, body};
use crate::{EVENT, PARTITIONS};

/// Bytes by which a repeat of an event is told.
const ID: usize = 24;

pub struct Packs;

impl Layout for Packs {
    const NAME: &str = "packs";
    const FOLLOWED: bool = false;

    fn messages(&self, _: u64, events: usize, fan_out: usize) -> Vec<Message> {
        let partitions = fan_out.min(PARTITIONS);
        let references = body(index_bytes(events, fan_out.div_ceil(partitions)));
        let mut messages = vec![
            Message::new("packs.ids", body(ID * events)),
            Message::new("packs.event.identity", body(EVENT * events)),
        ];
        messages.extend(
            (0..partitions)
                .map(|partition| Message::new(format!("packs.queue.{partition}"), references.clone())),
        );
        messages
    }
}
