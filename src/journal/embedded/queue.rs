//! What is queued for a webhook, for people to look at.
//!
//! In two stretches: what failed or waits for an earlier one of its user
//! (`order`), then what waits for its first attempt (`ready`), the oldest first.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::core::Core;
use super::keys;
use super::order;
use super::record::{self, Ticket};
use super::store::{Store, StoreError};
use crate::journal::inspect::{Cursor, Page, PageRoom, PendingDelivery, Wait};
use crate::model::{Event, Timestamp, WebhookUid};

/// The first byte of a cursor: which stretch it is in.
const IN_ORDER: u8 = 0;
const IN_READY: u8 = 1;

/// See [`crate::journal::Journal::pending`].
pub fn list(
    core: &Core,
    store: &Store,
    webhook: WebhookUid,
    cursor: Option<Cursor>,
    limit: usize,
) -> Result<Page<PendingDelivery>, StoreError> {
    let mut room = PageRoom::new(limit);
    let mut page = Page { items: Vec::new(), next: None };
    let low = core.lanes.get(webhook).map_or(0, |cell| cell.lock().low);
    let cursor = cursor.map(|cursor| cursor.0).unwrap_or_default();
    let (stretch, after) = cursor.split_first().map_or((IN_ORDER, &[][..]), |(first, rest)| (*first, rest));
    if stretch == IN_ORDER {
        let keys = follow(keys::order(webhook, 0, 0), keys::order(webhook, u64::MAX, u64::MAX), after);
        for guard in keys.into_iter().flat_map(|keys| store.order.range(keys)) {
            let (key, value) = guard.into_inner()?;
            if room.is_used_up() {
                return Ok(page);
            }
            page.next = Some(Cursor([&[IN_ORDER][..], &key].concat()));
            let (seq, (at, ticket)) = (keys::last(&key)?, order::decode(&value)?);
            let wait = match at {
                None => Wait::BehindEarlier,
                Some(at) if at == order::AT_ONCE => Wait::InLine,
                Some(at) => Wait::Until(at),
            };
            if let Some(event) = event_of(store, seq)? {
                room.put(&event);
                page.items.push(pending(event, &ticket, wait));
            }
        }
    }
    let after = if stretch == IN_READY { after } else { &[][..] };
    let keys = follow(keys::ready(webhook, low), keys::ready(webhook, u64::MAX), after);
    for guard in keys.into_iter().flat_map(|keys| store.ready.range(keys)) {
        if room.is_used_up() {
            return Ok(page);
        }
        let (key, value) = guard.into_inner()?;
        page.next = Some(Cursor([&[IN_READY][..], &key].concat()));
        let ticket = Ticket::decode(&value)?;
        let event = if ticket.shared {
            event_of(store, keys::last(&key)?)?
        } else {
            record::decode_event(record::event_of_entry(&value)).ok().map(Arc::new)
        };
        if let Some(event) = event {
            room.put(&event);
            page.items.push(pending(event, &ticket, Wait::InLine));
        }
    }
    page.next = None;
    Ok(page)
}

fn pending(event: Arc<Event>, ticket: &Ticket, wait: Wait) -> PendingDelivery {
    PendingDelivery { event, accepted_at: ticket.accepted_at, failures: ticket.failures, wait }
}

/// The keys from `first` to `last` that come after `after`. That is what somebody sent who may not
/// see other webhooks' keys: none of them is in the range, whatever it is.
fn follow<const N: usize>(first: [u8; N], last: [u8; N], after: &[u8]) -> Option<RangeInclusive<Vec<u8>>> {
    let next = if after.is_empty() { Vec::new() } else { [after, &[0]].concat() };
    let from = next.max(first.to_vec());
    (*from <= last[..]).then(|| from..=last.to_vec())
}

/// Between the read of a ticket and this one a delivery may end: then there is none.
fn event_of(store: &Store, seq: u64) -> Result<Option<Arc<Event>>, StoreError> {
    let record = store.events.get(keys::seq(seq))?;
    Ok(record.and_then(|record| record::decode_event(&record).ok()).map(Arc::new))
}

/// Retries that are looked at for the age of the oldest delivery.
const OLDEST_LOOK: usize = 1000;

/// See [`crate::journal::Journal::oldest`]. Exact but where a webhook has more
/// than [`OLDEST_LOOK`] retries.
pub fn oldest(store: &Store, webhook: WebhookUid, low: u64) -> Result<Option<Timestamp>, StoreError> {
    let mut oldest: Option<Timestamp> = None;
    let ready = store.ready.range(keys::ready(webhook, low)..=keys::ready(webhook, u64::MAX)).take(1);
    let retry = store.retry.prefix(webhook.as_bytes()).take(OLDEST_LOOK);
    for guard in ready.chain(retry) {
        let accepted_at = Ticket::decode(&guard.value()?)?.accepted_at;
        oldest = Some(oldest.map_or(accepted_at, |oldest| oldest.min(accepted_at)));
    }
    Ok(oldest)
}
