//! A claimed lane and its leases, as their holder sees them.
//!
//! Leasing and settling happen in memory. A lease costs a read where its event
//! is not in memory yet; what came of it goes to the writer of its partition.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::sync::Notify;

use super::Owner;
use super::core::{Core, Leased, Partition};
use super::dead;
use super::fold::Entry;
use super::names::partition;
use super::wire::{Change, Number};
use crate::journal::{self, ClaimError, Delivery, LaneState, Lost, Outcome, Settled};
use crate::model::{Ordering, WebhookUid};

/// How long a lane waits for its dispatcher's lease to be good again, before it looks once more.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// See [`journal::Lane`].
pub struct JetStreamLane {
    owner: Arc<Owner>,
    webhook: WebhookUid,
    generation: u64,
    changed: Arc<Notify>,
}

/// What [`JetStreamLane::take`] found.
enum Taken {
    Leases(Vec<(Place, Entry)>),
    /// Nothing is due; whether anything may begin.
    Nothing(bool),
    Lost,
}

impl JetStreamLane {
    pub(super) fn claim(
        owner: Arc<Owner>,
        webhook: WebhookUid,
        ordering: Ordering,
    ) -> Result<Self, ClaimError> {
        if !owner.core.is_open() {
            return Err(owner.core.unavailable().into());
        }
        let claimed = owner.core.lock().claim(webhook, ordering, Instant::now());
        let (generation, changed) = claimed.ok_or(ClaimError::Held)?;
        Ok(Self { owner, webhook, generation, changed })
    }

    fn take(&self, n: usize) -> Taken {
        let core = &self.owner.core;
        let now = core.clock.now();
        let cutoff = core.cutoff(now);
        let mut inner = core.lock();
        let index = partition(self.webhook);
        let leaving = inner.partitions.get(index).is_none_or(|part| part.leaving);
        let behind = inner.partitions.get(index).is_some_and(Partition::is_behind);
        let acts = inner.may_act(index, Instant::now()) && !behind;
        let (mut leases, mut expired) = (Vec::new(), Vec::new());
        {
            if inner.claimed(self.webhook, self.generation).is_none() || leaving {
                return Taken::Lost;
            }
            if !acts {
                return Taken::Nothing(false);
            }
            while leases.len() < n {
                let Some(claim) = inner.claimed(self.webhook, self.generation) else { return Taken::Lost };
                let Some(number) = claim.line.take(now) else { break };
                let entry = inner.fold.lane(self.webhook).and_then(|lane| lane.entries.get(&number)).copied();
                match entry {
                    Some(entry) if entry.accepted_at >= cutoff => leases.push((self.place(number), entry)),
                    Some(entry) => expired.push((number, entry.user)),
                    // It has ended meanwhile.
                    None => {}
                }
            }
        }
        for (number, user) in expired {
            if inner.settle(self.leased(number, user), true) {
                core.metrics.expired.inc();
                inner.send(self.webhook, Change::Ended(number));
            }
        }
        drop(inner);
        if leases.is_empty() { Taken::Nothing(true) } else { Taken::Leases(leases) }
    }

    const fn leased(&self, number: Number, user: u64) -> Leased {
        Leased { webhook: self.webhook, generation: self.generation, number, user }
    }

    fn place(&self, number: Number) -> Place {
        let (owner, webhook, generation) = (Arc::clone(&self.owner), self.webhook, self.generation);
        Place { owner, webhook, generation, number, open: true }
    }

    /// Reads the events of what was taken.
    async fn read(&self, taken: Vec<(Place, Entry)>) -> Result<Vec<JetStreamLease>, Lost> {
        let core = &self.owner.core;
        let read = taken.into_iter().map(|(place, entry)| async move {
            let event = core.event(place.number).await;
            (place, entry, event)
        });
        let mut leases = Vec::new();
        for (place, entry, event) in join_all(read).await {
            match event {
                Ok(Some(event)) => {
                    let Entry { accepted_at, failures, .. } = entry;
                    leases.push(JetStreamLease {
                        place,
                        entry,
                        delivery: Delivery { event, accepted_at, failures },
                    });
                }
                Ok(None) => {
                    tracing::error!(webhook = %self.webhook, "an event cannot be read; its delivery is given up");
                    core.metrics.unreadable.inc();
                    place.settle(&entry, true, Change::Ended).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "an event was not read");
                    tokio::time::sleep(LOOK_AGAIN).await;
                    return Err(Lost);
                }
            }
        }
        Ok(leases)
    }
}

impl journal::Lane for JetStreamLane {
    type Lease = JetStreamLease;

    async fn next(&mut self, n: usize) -> Result<Vec<JetStreamLease>, Lost> {
        loop {
            let changed = self.changed.notified();
            let acts = match self.take(n.max(1)) {
                Taken::Lost => return Err(Lost),
                Taken::Leases(taken) => {
                    let leases = self.read(taken).await?;
                    if leases.is_empty() {
                        continue;
                    }
                    return Ok(leases);
                }
                Taken::Nothing(acts) => acts,
            };
            let core = &self.owner.core;
            let due =
                core.lock().claimed(self.webhook, self.generation).and_then(|claim| claim.line.next_due());
            let until_due = async {
                match due {
                    _ if !acts => tokio::time::sleep(LOOK_AGAIN).await,
                    Some(due) => core.clock.sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = changed => {}
                () = until_due => {}
            }
        }
    }

    async fn state(&mut self) -> Result<Option<LaneState>, Lost> {
        let mut inner = self.owner.core.lock();
        inner.claimed(self.webhook, self.generation).ok_or(Lost)?;
        Ok(inner.state(self.webhook))
    }

    async fn compare_and_set(&mut self, expected: Option<&LaneState>, new: LaneState) -> Result<bool, Lost> {
        let written = {
            let core = &self.owner.core;
            let mut inner = core.lock();
            inner.claimed(self.webhook, self.generation).ok_or(Lost)?;
            if inner.state(self.webhook).as_ref() != expected {
                return Ok(false);
            }
            inner.write_state(self.webhook, new).ok_or(Lost)?
        };
        written.await.map_err(|_| Lost)
    }
}

impl Drop for JetStreamLane {
    fn drop(&mut self) {
        let core = &self.owner.core;
        if core.lock().unclaim(self.webhook, self.generation) {
            core.offered.notify_one();
        }
    }
}

/// A delivery that was taken; dropping it gives it back.
struct Place {
    owner: Arc<Owner>,
    webhook: WebhookUid,
    generation: u64,
    number: Number,
    open: bool,
}

impl Place {
    fn core(&self) -> &Core {
        &self.owner.core
    }

    async fn settle(mut self, entry: &Entry, ended: bool, change: impl FnOnce(Number) -> Change) -> Settled {
        let core = &self.owner.core;
        // The permit comes back when the outcome is written.
        match core.outcomes.acquire().await {
            Ok(permit) => permit.forget(),
            Err(_) => return Settled::Unknown,
        }
        self.open = false;
        let mut inner = core.lock();
        let Self { webhook, generation, number, .. } = self;
        if !inner.settle(Leased { webhook, generation, number, user: entry.user }, ended) {
            core.outcomes.add_permits(1);
            return Settled::Stale;
        }
        inner.send(self.webhook, change(self.number));
        Settled::Ok
    }

    fn release(&mut self) -> Settled {
        self.open = false;
        let mut inner = self.owner.core.lock();
        let claim = inner.claimed(self.webhook, self.generation);
        let Some(claim) = claim.filter(|claim| claim.line.is_leased(self.number)) else {
            return Settled::Stale;
        };
        claim.line.release(self.number);
        claim.changed.notify_one();
        Settled::Ok
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.open {
            self.release();
        }
    }
}

/// See [`journal::Lease`].
pub struct JetStreamLease {
    place: Place,
    entry: Entry,
    delivery: Delivery,
}

impl journal::Lease for JetStreamLease {
    fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    fn is_good(&self) -> bool {
        let Place { webhook, generation, number, .. } = self.place;
        let mut inner = self.place.core().lock();
        let leaving = inner.partitions.get(partition(webhook)).is_none_or(|part| part.leaving);
        !leaving
            && inner.may_act(partition(webhook), Instant::now())
            && inner.claimed(webhook, generation).is_some_and(|claim| claim.line.begin(number))
    }

    async fn lost(&self) {
        let Place { webhook, generation, .. } = self.place;
        let core = self.place.core();
        let has_order = core.lock().claimed(webhook, generation).is_none_or(|claim| claim.line.has_order());
        if !has_order {
            return std::future::pending().await;
        }
        loop {
            let until = {
                let mut inner = core.lock();
                let held = inner.may_act(partition(webhook), Instant::now())
                    && inner.claimed(webhook, generation).is_some();
                inner.lease_until.filter(|_| held)
            };
            let Some(until) = until else { return };
            tokio::time::sleep_until(until.into()).await;
        }
    }

    async fn settle(self, outcome: Outcome) -> Settled {
        let Self { mut place, entry, delivery } = self;
        match outcome {
            Outcome::Done => place.settle(&entry, true, Change::Ended).await,
            Outcome::Retry { after } => {
                let at = place.core().clock.now().after(after);
                let failures = entry.failures.saturating_add(1);
                place.settle(&entry, false, |number| Change::Retry { number, at, failures }).await
            }
            Outcome::Dead(note) => {
                let letter = dead::letter(
                    place.core(),
                    &entry,
                    &delivery.event,
                    note,
                    entry.failures.saturating_add(1),
                );
                match dead::keep(place.core(), place.webhook, &letter).await {
                    Ok(kept) => place.settle(&entry, true, |number| kept.change(number)).await,
                    Err(error) => {
                        tracing::warn!(webhook = %place.webhook, %error, "a dead letter was not kept; it is tried again");
                        Settled::Unknown
                    }
                }
            }
            Outcome::Release => place.release(),
        }
    }
}
