//! The keys of the store, by keyspace.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | events | seq | an event that several webhooks want, or that is not in `ready` any more |
//! | shares | seq | how many deliveries of an event for several webhooks have not ended |
//! | ready  | webhook · seq | ticket: in the queue; and the event, if it is this webhook's alone |
//! | retry  | webhook · at · seq | ticket: not before `at` |
//! | order  | webhook · user · seq | place and ticket: queued in `retry`, or parked behind an earlier one |
//! | dead   | webhook · died · seq | the dead letter |
//! | lanes  | webhook | low-water mark, counts, namespace hash; `s` · webhook: the lane's state |
//! | seen   | event key | when, the how-manieth of which namespace |
//! | spaces | namespace hash | how many events it has had, bytes of those that wait |
//! | meta   | `counters` | the next seq, bytes of live events, the journal's time |
//! |        | `calendar` | moments of the journal's clock, each with the time of day that it was |
//!
//! `seq` numbers events in the order of acceptance and is never used twice.
//! A key of `events` and `ready` is written once and removed once, which lets
//! the store forget both writes when they meet.

use super::record::{Corrupt, Reader};
use crate::model::{Timestamp, WebhookUid};

/// Of the journal's own counters, in `meta`.
pub const COUNTERS: &str = "counters";

/// Of the calendar, in `meta`.
pub const CALENDAR: &str = "calendar";

/// In `events` and `shares`.
pub const fn seq(seq: u64) -> [u8; 8] {
    seq.to_be_bytes()
}

/// In `ready`.
pub fn ready(webhook: WebhookUid, seq: u64) -> [u8; 24] {
    let mut key = [0; 24];
    let (lane, rest) = key.split_at_mut(16);
    lane.copy_from_slice(webhook.as_bytes());
    rest.copy_from_slice(&seq.to_be_bytes());
    key
}

/// In `retry` and `dead`.
pub fn timed(webhook: WebhookUid, at: Timestamp, seq: u64) -> [u8; 32] {
    triple(webhook, at.as_millis(), seq)
}

/// In `order`.
pub fn order(webhook: WebhookUid, user: u64, seq: u64) -> [u8; 32] {
    triple(webhook, user, seq)
}

/// A lane's state in `lanes`.
pub fn state(webhook: WebhookUid) -> [u8; 17] {
    let mut key = [b's'; 17];
    let (_, lane) = key.split_at_mut(1);
    lane.copy_from_slice(webhook.as_bytes());
    key
}

fn triple(webhook: WebhookUid, middle: u64, seq: u64) -> [u8; 32] {
    let mut key = [0; 32];
    let (lane, rest) = key.split_at_mut(16);
    lane.copy_from_slice(webhook.as_bytes());
    let (first, second) = rest.split_at_mut(8);
    first.copy_from_slice(&middle.to_be_bytes());
    second.copy_from_slice(&seq.to_be_bytes());
    key
}

/// The webhook that a key begins with; `None` if it is too short.
pub fn webhook(key: &[u8]) -> Option<WebhookUid> {
    key.first_chunk().map(|bytes| WebhookUid::from_bytes(*bytes))
}

/// The number at the end of a key.
pub fn last(key: &[u8]) -> Result<u64, Corrupt> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes)).ok_or(Corrupt("key"))
}

/// The number after the webhook in a key of three parts.
pub fn middle(key: &[u8]) -> Result<u64, Corrupt> {
    Reader { bytes: key.get(16..).unwrap_or_default(), kind: "key" }.u64()
}
