//! Reads ahead for a lane, from the disk into memory, on a thread that may block.
//!
//! ```text
//! lock: what to read ─> read entries ─> lock: sort them ─> read events ─> lock: into the window
//!                                          │
//!                                          └─> park (per-user order), expire
//! ```
//!
//! The lane is not locked while the disk is read. What is offered meanwhile
//! the holder keeps, to follow what is read here; what comes to the retries is
//! noticed by the count of their changes, and the next fill reads them again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::cell::Cell;
use super::core::Core;
use super::holder::{Holder, Out, Queued};
use super::keys;
use super::op::{End, Op, Parking, Place, Settle};
use super::record::{self, Ticket};
use super::retries::HEAD;
use super::store::{Store, StoreError, Value};
use super::users::Verdict;
use crate::model::{Event, Timestamp};

/// The most tickets that one fill reads from the queue.
const CHUNK: usize = 256;

/// The most due retries that one fill takes.
const DUE: usize = 64;

/// A delivery whose event is still to be read.
struct Staged {
    seq: u64,
    place: Place,
    ticket: Ticket,
    /// The entry that has the event too: in `ready`, and of this webhook alone.
    own: Option<Value>,
}

/// What to read.
struct Plan {
    cursor: u64,
    /// Bytes of events that there is room for; one is read in any case.
    room: u64,
    wants_ready: bool,
    wants_retries: Option<u64>,
    out: usize,
}

/// What was read.
struct Tickets {
    ready: Vec<(u64, Ticket, Value)>,
    ready_ended: bool,
    retries: Vec<((Timestamp, u64), Ticket)>,
    retries_ended: bool,
}

/// Fills the window of a claim once. The lane is woken at the end. If the
/// store cannot be read, the lane is lost.
pub fn fill(core: &Arc<Core>, cell: &Arc<Cell>, epoch: u64) {
    // Whatever comes of it, the lane must not wait for ever.
    let filled = catch_unwind(AssertUnwindSafe(|| try_fill(core, cell, epoch)));
    if let Err(cause) = filled.unwrap_or(Err(StoreError::Panicked)) {
        tracing::error!(webhook = %cell.webhook, error = %cause, "cannot read the queue");
        cell.release(epoch);
        core.lanes.offer(cell);
        if cause.may_be_damage() {
            core.send(Op::Broken(cause));
        }
    }
    cell.changed.notify_one();
}

fn try_fill(core: &Arc<Core>, cell: &Arc<Cell>, epoch: u64) -> Result<(), StoreError> {
    let Some(store) = core.store() else {
        cell.release(epoch);
        return Ok(());
    };
    let budget = core.read_ahead();
    let Some(plan) = cell.lock().holder(epoch).map(|holder| plan(holder, budget)) else {
        return Ok(());
    };
    // After the plan: what becomes durable from here on is offered, and so noticed.
    let durable = core.durable();
    let tickets = read_tickets(&store, cell, &plan, durable)?;
    let Some((staged, ended)) = sort(core, &store, cell, epoch, &plan, tickets)? else {
        return Ok(());
    };
    let events = read_events(core, &store, &staged)?;
    let mut inner = cell.lock();
    let Some(holder) = inner.holder(epoch) else {
        return Ok(());
    };
    let mut unreadable = Vec::new();
    for (staged, event) in staged.into_iter().zip(events) {
        let Staged { seq, place, ticket, .. } = staged;
        match (event, place) {
            (Some(event), Place::Ready) => {
                holder.out.remove(&seq);
                holder.push(Queued { seq, place, ticket, event });
            }
            (Some(event), Place::Retry(_)) => {
                holder.first.insert(seq, Queued { seq, place, ticket, event });
            }
            (None, _) => {
                holder.settle(seq, place);
                unreadable.push((seq, place, ticket));
            }
        }
    }
    holder.end_fill(ended, budget);
    drop(inner);
    for (seq, place, ticket) in unreadable {
        tracing::error!(webhook = %cell.webhook, seq, "the record of an event cannot be read");
        let cell = Arc::clone(cell);
        core.send(Op::Settle(Settle {
            cell,
            epoch,
            seq,
            place,
            ticket,
            end: End::Unreadable,
            unblocks: true,
        }));
    }
    Ok(())
}

fn plan(holder: &Holder, budget: u64) -> Plan {
    Plan {
        cursor: holder.cursor,
        room: budget.saturating_sub(holder.window_bytes),
        wants_ready: !holder.caught_up,
        wants_retries: holder.retries.must_read().then_some(holder.retries.changes),
        out: holder.out.len(),
    }
}

fn read_tickets(store: &Store, cell: &Cell, plan: &Plan, durable: u64) -> Result<Tickets, StoreError> {
    let mut tickets =
        Tickets { ready: Vec::new(), ready_ended: true, retries: Vec::new(), retries_ended: true };
    if plan.wants_ready && plan.cursor < durable {
        let from = keys::ready(cell.webhook, plan.cursor);
        let mut bytes = 0;
        for guard in store.ready.range(from..keys::ready(cell.webhook, durable)) {
            if tickets.ready.len() == CHUNK || bytes > plan.room {
                tickets.ready_ended = false;
                break;
            }
            let (key, value) = guard.into_inner()?;
            let ticket = Ticket::decode(&value)?;
            bytes += u64::from(ticket.size);
            tickets.ready.push((keys::last(&key)?, ticket, value));
        }
    }
    if plan.wants_retries.is_some() {
        for guard in store.retry.prefix(cell.webhook.as_bytes()) {
            // Those that are out may stand before all others.
            if tickets.retries.len() == HEAD + plan.out {
                tickets.retries_ended = false;
                break;
            }
            let (key, value) = guard.into_inner()?;
            let at = Timestamp::from_millis(keys::middle(&key)?);
            tickets.retries.push(((at, keys::last(&key)?), Ticket::decode(&value)?));
        }
    }
    Ok(tickets)
}

/// Decides what goes to the window, and whether the queue was read to its end.
fn sort(
    core: &Arc<Core>,
    store: &Store,
    cell: &Arc<Cell>,
    epoch: u64,
    plan: &Plan,
    tickets: Tickets,
) -> Result<Option<(Vec<Staged>, bool)>, StoreError> {
    let now = core.clock.now();
    let cutoff = core.cutoff(now);
    let budget = core.read_ahead();
    let mut inner = cell.lock();
    let Some(holder) = inner.holder(epoch) else {
        return Ok(None);
    };
    if plan.wants_retries == Some(holder.retries.changes) {
        let out = &holder.out;
        let entries: Vec<_> =
            tickets.retries.into_iter().filter(|((_, seq), _)| !out.contains_key(seq)).collect();
        holder.retries.refill(entries.into_iter(), tickets.retries_ended);
    }
    let mut staged = Vec::new();
    let mut bytes = holder.window_bytes;
    while staged.len() < DUE {
        let Some((at, seq, ticket)) = holder.retries.pop_due(now) else { break };
        let place = Place::Retry(at);
        if holder.users.is_busy_before(ticket.user, seq) {
            park(core, holder, cell, epoch, Staged { seq, place, ticket, own: None });
            continue;
        }
        holder.begin(ticket.user, seq);
        holder.out.insert(seq, (place, Out::Staged));
        staged.push(Staged { seq, place, ticket, own: None });
    }
    let mut ended = if plan.wants_ready { tickets.ready_ended } else { holder.caught_up };
    for (seq, ticket, entry) in tickets.ready {
        let place = Place::Ready;
        if ticket.accepted_at < cutoff {
            holder.settle(seq, place);
            let cell = Arc::clone(cell);
            let end = End::Expired;
            core.send(Op::Settle(Settle { cell, epoch, seq, place, ticket, end, unblocks: true }));
            holder.cursor = seq + 1;
            continue;
        }
        let blocked = match holder.verdict(ticket.user, seq) {
            Verdict::Free => false,
            Verdict::Blocked => true,
            Verdict::Unknown => first_in_order(store, cell, ticket.user)?.is_some_and(|first| first < seq),
        };
        let own = (!ticket.shared).then_some(entry);
        if blocked {
            park(core, holder, cell, epoch, Staged { seq, place, ticket, own });
        } else if bytes > 0 && bytes + u64::from(ticket.size) > budget {
            ended = false;
            break;
        } else {
            bytes += u64::from(ticket.size);
            holder.begin(ticket.user, seq);
            holder.out.insert(seq, (place, Out::Staged));
            staged.push(Staged { seq, place, ticket, own });
        }
        holder.cursor = seq + 1;
    }
    Ok(Some((staged, ended)))
}

fn park(core: &Core, holder: &mut Holder, cell: &Arc<Cell>, epoch: u64, staged: Staged) {
    let Staged { seq, place, ticket, own } = staged;
    let record = own.map(|entry| record::event_of_entry(&entry).to_vec());
    holder.settle(seq, place);
    holder.users.park(ticket.user);
    core.send(Op::Park(Parking { cell: Arc::clone(cell), epoch, seq, place, ticket, record }));
}

/// The number of the user's first delivery in `order`.
pub fn first_in_order(store: &Store, cell: &Cell, user: u64) -> Result<Option<u64>, StoreError> {
    let range = keys::order(cell.webhook, user, 0)..=keys::order(cell.webhook, user, u64::MAX);
    match store.order.range(range).next() {
        None => Ok(None),
        Some(guard) => Ok(Some(keys::last(&guard.key()?)?)),
    }
}

/// The event of each: its own, or from memory, or from `events`; `None` where
/// there is none that can be read.
fn read_events(core: &Core, store: &Store, staged: &[Staged]) -> Result<Vec<Option<Arc<Event>>>, StoreError> {
    let decode = |record: &[u8]| record::decode_event(record).ok().map(Arc::new);
    let known = |staged: &Staged| match &staged.own {
        Some(entry) => decode(record::event_of_entry(entry)),
        None => core.recent.get(staged.seq),
    };
    let mut events: Vec<_> = staged.iter().map(known).collect();
    let missing =
        staged.iter().zip(&events).filter(|(staged, event)| event.is_none() && staged.own.is_none());
    let missing = missing.map(|(staged, _)| staged.seq);
    let (mut first, mut last, mut count) = (u64::MAX, 0, 0);
    for seq in missing {
        (first, last, count) = (first.min(seq), last.max(seq), count + 1);
    }
    if count == 0 {
        return Ok(events);
    }
    // Where most of a range is wanted, one pass over it is cheaper than many look-ups.
    let mut found = std::collections::HashMap::new();
    if last - first < 3 * count {
        for guard in store.events.range(keys::seq(first)..=keys::seq(last)) {
            let (key, value) = guard.into_inner()?;
            found.insert(keys::last(&key)?, value);
        }
    }
    for (staged, event) in staged.iter().zip(&mut events) {
        if event.is_none() && staged.own.is_none() {
            let value = match found.remove(&staged.seq) {
                Some(value) => Some(value),
                None => store.events.get(keys::seq(staged.seq))?,
            };
            *event = value.and_then(|value| decode(&value));
        }
    }
    Ok(events)
}
