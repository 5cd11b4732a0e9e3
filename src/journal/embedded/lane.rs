//! A claimed lane and its leases, as their holder sees them.
//!
//! Leasing and settling happen in memory, under the lane's lock; what came of a
//! lease goes to the writer. So a lease costs no I/O where the event is in the
//! window, and a settled one none at all to who settles it.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::Owner;
use super::cell::Cell;
use super::core::Core;
use super::fill;
use super::holder::{Holder, Out, Queued};
use super::keys;
use super::op::{End, NewState, Op, Parking, Place, Settle};
use super::record::Ticket;
use super::retries::Retries;
use super::store::{Store, StoreError};
use super::users::Users;
use crate::journal::{self, ClaimError, Delivery, LaneState, Lost, Outcome, Settled, Unavailable};
use crate::model::{Ordering, WebhookUid};

/// Entries of `order` that a claim reads before it leaves the rest to the disk.
const ORDER_READ: usize = 100_000;

/// See [`journal::Lane`].
pub struct EmbeddedLane {
    owner: Arc<Owner>,
    cell: Arc<Cell>,
    epoch: u64,
}

impl EmbeddedLane {
    pub(super) async fn claim(
        owner: Arc<Owner>,
        webhook: WebhookUid,
        ordering: Ordering,
    ) -> Result<Self, ClaimError> {
        let core = &owner.core;
        if core.store().is_none() {
            return Err(core.unavailable().into());
        }
        let cell = core.lanes.cell(webhook);
        let epoch = {
            let mut inner = cell.lock();
            if inner.claimed || inner.dropping {
                return Err(ClaimError::Held);
            }
            inner.claimed = true;
            inner.epoch += 1;
            inner.epoch
        };
        core.hold();
        // From here on, dropping it gives the lane back.
        let lane = Self { cell: Arc::clone(&cell), epoch, owner: Arc::clone(&owner) };
        // What the last holder settled must be on the disk before it is read.
        barrier(core).await?;
        let store = core.store().ok_or_else(|| core.unavailable())?;
        let (has_retries, waits) = {
            let inner = cell.lock();
            (inner.retrying > 0, ordering == Ordering::PerUser && inner.retrying + inner.parked > 0)
        };
        let mut users = Users::default();
        if waits {
            let read = tokio::task::spawn_blocking({
                let (store, cell) = (Arc::clone(&store), Arc::clone(&cell));
                move || read_order(&store, &cell, epoch)
            });
            let read = read.await.unwrap_or(Err(StoreError::Panicked));
            let (known, crossed) = read.map_err(|cause| Unavailable(cause.to_string()))?;
            users = known;
            for parking in crossed {
                core.send(Op::Park(parking));
            }
            barrier(core).await?;
        }
        drop(store);
        let mut inner = cell.lock();
        if inner.epoch != epoch || !inner.claimed {
            return Err(ClaimError::Held);
        }
        let has_retries = has_retries || inner.retrying > 0;
        let low = inner.low;
        inner.holder = Some(Box::new(Holder::new(ordering, low, Retries::new(has_retries), users)));
        drop(inner);
        Ok(lane)
    }

    fn lease(&self, queued: Queued) -> EmbeddedLease {
        let Queued { seq, place, ticket, event } = queued;
        EmbeddedLease {
            owner: Arc::clone(&self.owner),
            cell: Arc::clone(&self.cell),
            epoch: self.epoch,
            seq,
            place,
            ticket,
            delivery: Delivery { event, accepted_at: ticket.accepted_at, failures: ticket.failures },
            open: true,
        }
    }
}

/// Waits until the writer has written all that was sent before.
async fn barrier(core: &Core) -> Result<(), Unavailable> {
    let (answer, written) = oneshot::channel();
    core.send(Op::Barrier(answer));
    written.await.map_err(|_| core.unavailable())
}

/// Who must wait when the lane is claimed, and retries that overtook an
/// earlier delivery of their user while nobody asked for order.
fn read_order(store: &Store, cell: &Arc<Cell>, epoch: u64) -> Result<(Users, Vec<Parking>), StoreError> {
    let (mut first, mut crossed) = (HashMap::new(), Vec::new());
    let mut overflown = false;
    for (read, guard) in store.order.prefix(cell.webhook.as_bytes()).enumerate() {
        if read == ORDER_READ {
            overflown = true;
            break;
        }
        let (key, value) = guard.into_inner()?;
        let (user, seq) = (keys::middle(&key)?, keys::last(&key)?);
        let known = first.len();
        let is_first = *first.entry(user).or_insert(seq) == seq;
        if is_first && known == super::users::MOST {
            first.remove(&user);
            overflown = true;
            break;
        }
        if let (false, (Some(at), ticket)) = (is_first, super::order::decode(&value)?) {
            let cell = Arc::clone(cell);
            crossed.push(Parking { cell, epoch, seq, place: Place::Retry(at), ticket, record: None });
        }
    }
    Ok((Users::new(first, overflown), crossed))
}

impl journal::Lane for EmbeddedLane {
    type Lease = EmbeddedLease;

    async fn next(&mut self, n: usize) -> Result<Vec<EmbeddedLease>, Lost> {
        let core = &self.owner.core;
        loop {
            let now = core.clock.now();
            let cutoff = core.cutoff(now);
            let budget = core.read_ahead();
            let taken = {
                let mut inner = self.cell.lock();
                let holder = inner.holder(self.epoch).ok_or(Lost)?;
                holder.take(n.max(1), now, cutoff, budget)
            };
            for queued in taken.expired {
                let Queued { seq, place, ticket, .. } = queued;
                let (cell, epoch) = (Arc::clone(&self.cell), self.epoch);
                let end = End::Expired;
                core.send(Op::Settle(Settle { cell, epoch, seq, place, ticket, end, unblocks: true }));
            }
            if taken.fill {
                let (core, cell, epoch) = (Arc::clone(core), Arc::clone(&self.cell), self.epoch);
                tokio::task::spawn_blocking(move || fill::fill(&core, &cell, epoch));
            }
            if !taken.leases.is_empty() {
                return Ok(taken.leases.into_iter().map(|queued| self.lease(queued)).collect());
            }
            let changed = self.cell.changed.notified();
            match taken.due.filter(|_| !taken.fill) {
                None => changed.await,
                Some(due) => {
                    tokio::select! {
                        () = changed => {}
                        () = core.clock.sleep_until(due) => {}
                    }
                }
            }
        }
    }

    async fn state(&mut self) -> Result<Option<LaneState>, Lost> {
        let core = &self.owner.core;
        core.store().ok_or(Lost)?;
        self.cell.lock().holder(self.epoch).ok_or(Lost)?;
        let store = core.store().ok_or(Lost)?;
        let bytes = store.lanes.get(keys::state(self.cell.webhook)).map_err(|_| Lost)?;
        Ok(bytes.map(|bytes| LaneState(bytes.to_vec())))
    }

    async fn compare_and_set(&mut self, expected: Option<&LaneState>, new: LaneState) -> Result<bool, Lost> {
        let (answer, set) = oneshot::channel();
        let (cell, epoch, expected) = (Arc::clone(&self.cell), self.epoch, expected.cloned());
        self.owner.core.send(Op::State(NewState { cell, epoch, expected, new, answer }));
        set.await.map_err(|_| Lost)?
    }
}

impl Drop for EmbeddedLane {
    fn drop(&mut self) {
        self.owner.core.unhold();
        self.cell.release(self.epoch);
        self.owner.core.lanes.offer(&self.cell);
    }
}

/// See [`journal::Lease`].
pub struct EmbeddedLease {
    owner: Arc<Owner>,
    cell: Arc<Cell>,
    epoch: u64,
    seq: u64,
    place: Place,
    ticket: Ticket,
    delivery: Delivery,
    open: bool,
}

impl journal::Lease for EmbeddedLease {
    fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    async fn settle(mut self, outcome: Outcome) -> Settled {
        let Some(end) = self.end(outcome) else {
            return self.release();
        };
        // The permit comes back when the writer has written the outcome.
        match self.owner.core.outcomes.acquire().await {
            Ok(permit) => permit.forget(),
            Err(_) => return Settled::Unknown,
        }
        self.open = false;
        let core = &self.owner.core;
        let mut inner = self.cell.lock();
        let parked = inner.parked > 0;
        let leased = inner.holder(self.epoch).filter(|holder| holder.is_leased(self.seq));
        let Some(holder) = leased else {
            core.outcomes.add_permits(1);
            return if core.store().is_some() { Settled::Stale } else { Settled::Unknown };
        };
        holder.settle(self.seq, self.place);
        let unblocks = match holder.ordering {
            Ordering::None => parked,
            Ordering::PerUser => holder.users.may_wait(self.ticket.user),
        };
        match end {
            End::Retry(..) => holder.retries.unwritten += 1,
            End::Done | End::Dead(..) | End::Expired | End::Unreadable => {
                if !unblocks && self.place == Place::Ready {
                    holder.users.end(self.ticket.user, self.seq);
                }
            }
        }
        // Under the lock, so that what is parked later is written later.
        let (cell, epoch, seq, place, ticket) =
            (Arc::clone(&self.cell), self.epoch, self.seq, self.place, self.ticket);
        let sent = core.inbox.push(Op::Settle(Settle { cell, epoch, seq, place, ticket, end, unblocks }));
        drop(inner);
        if sent {
            return Settled::Ok;
        }
        core.outcomes.add_permits(1);
        Settled::Unknown
    }
}

impl EmbeddedLease {
    fn end(&self, outcome: Outcome) -> Option<End> {
        match outcome {
            Outcome::Done => Some(End::Done),
            Outcome::Retry { after } => {
                let at = self.owner.core.clock.now().after(after);
                Some(End::Retry(at, Arc::clone(&self.delivery.event)))
            }
            Outcome::Dead(note) => Some(End::Dead(Arc::clone(&self.delivery.event), note)),
            Outcome::Release => None,
        }
    }

    fn release(&mut self) -> Settled {
        self.open = false;
        let (seq, place, ticket) = (self.seq, self.place, self.ticket);
        let event = Arc::clone(&self.delivery.event);
        let mut inner = self.cell.lock();
        let Some(holder) = inner.holder(self.epoch).filter(|holder| holder.is_leased(seq)) else {
            return Settled::Stale;
        };
        holder.give_back(Queued { seq, place, ticket, event });
        drop(inner);
        self.cell.changed.notify_one();
        Settled::Ok
    }
}

impl Drop for EmbeddedLease {
    fn drop(&mut self) {
        if self.open {
            self.release();
        }
    }
}

impl Holder {
    fn is_leased(&self, seq: u64) -> bool {
        self.out.get(&seq).is_some_and(|(_, out)| *out == Out::Leased)
    }
}
