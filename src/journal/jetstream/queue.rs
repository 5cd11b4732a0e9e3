//! What is queued for a webhook, for people to look at.
//!
//! In two stretches: what failed, then the rest, each from the oldest.

use futures::future::join_all;

use super::core::Core;
use super::fold::Entry;
use super::wire::Number;
use crate::journal::Unavailable;
use crate::journal::inspect::{Cursor, Page, PageRoom, PendingDelivery, Wait};
use crate::model::WebhookUid;

/// Events that are read at a time.
const PIECE: usize = 16;

/// See [`crate::journal::Inspect::pending`].
pub async fn list(
    core: &Core,
    webhook: WebhookUid,
    cursor: Option<Cursor>,
    limit: usize,
) -> Result<Page<PendingDelivery>, Unavailable> {
    let mut room = PageRoom::new(limit);
    let mut page = Page { items: Vec::new(), next: None };
    let after = cursor.as_ref().and_then(position);
    let entries = entries(core, webhook, after, limit.max(1) + 1);
    for piece in entries.chunks(PIECE) {
        let read = piece.iter().map(|(_, number, _, _)| core.event(*number));
        for ((failed, number, entry, wait), event) in piece.iter().zip(join_all(read).await) {
            if room.is_used_up() {
                return Ok(page);
            }
            page.next = Some(key(*failed, *number));
            // Between the look at its entry and this one it may have ended.
            let Some(event) = event? else { continue };
            room.put(&event);
            let (accepted_at, failures) = (entry.accepted_at, entry.failures);
            page.items.push(PendingDelivery { event, accepted_at, failures, wait: *wait });
        }
    }
    if entries.len() <= limit.max(1) {
        page.next = None;
    }
    Ok(page)
}

/// Whether it failed, its number, and what it waits for.
type Listed = (bool, Number, Entry, Wait);

fn entries(core: &Core, webhook: WebhookUid, after: Option<(bool, Number)>, most: usize) -> Vec<Listed> {
    let now = core.clock.now();
    let inner = core.lock();
    let Some(lane) = inner.fold.lane(webhook) else { return Vec::new() };
    let stretch = |failed: bool| {
        // What failed comes first, so a place among the rest is after all of it.
        let after = match after {
            Some((stretch, number)) if stretch == failed => Some(number),
            Some((false, _)) if failed => return Vec::new(),
            Some(_) | None => None,
        };
        let wait = |number: Number, entry: &Entry| match entry.at {
            Some(at) if at > now => Wait::Until(at),
            _ if inner.is_behind(webhook, number, entry.user) => Wait::BehindEarlier,
            _ => Wait::InLine,
        };
        lane.entries
            .range(after.unwrap_or(Number::from_u64(0))..)
            .filter(|(number, entry)| Some(**number) != after && entry.at.is_some() == failed)
            .take(most)
            .map(|(number, entry)| (failed, *number, *entry, wait(*number, entry)))
            .collect::<Vec<_>>()
    };
    let mut listed = stretch(true);
    listed.extend(stretch(false));
    listed.truncate(most);
    listed
}

fn key(failed: bool, number: Number) -> Cursor {
    Cursor([&[u8::from(failed)][..], &number.get().to_be_bytes()].concat())
}

fn position(cursor: &Cursor) -> Option<(bool, Number)> {
    let (failed, number) = cursor.0.split_first()?;
    Some((*failed != 0, Number::from_u64(u64::from_be_bytes(number.try_into().ok()?))))
}
