//! What a write of each layout consists of. All events of a write are for the same webhooks.

pub mod index;
mod packs;
mod references;

pub use index::Index;
pub use packs::Packs;
pub use references::References;

use crate::PARTITIONS;
use crate::store::Message;

/// A way to store events and whom they are for.
pub trait Layout {
    /// For the table.
    const NAME: &str;

    /// Whether a consumer of headers follows all the while, and has read everything at the end.
    const FOLLOWED: bool;

    /// What a write with a number of its own is, for so many webhooks.
    fn messages(&self, number: u64, events: usize, fan_out: usize) -> Vec<Message>;
}

/// Bytes that say of events whom they are for, as Herald writes it: an identity, a hash and a
/// size of each event, each webhook once, and two bytes for each delivery.
pub fn index_bytes(events: usize, webhooks: usize) -> usize {
    17 + 16 * webhooks + events * (30 + 2 * webhooks)
}

/// The partition of a webhook, and its name in a subject.
pub fn webhook(number: usize) -> String {
    format!("{}.webhook-{number}", number % PARTITIONS)
}
