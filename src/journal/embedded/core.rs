//! What the handles, the lanes and the writer share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};

use super::cell::Cell;
use super::history::History;
use super::inbox::Inbox;
use super::op::Op;
use super::recent::Recent;
use super::seen::Spaces;
use super::store::Store;
use crate::journal::calendar::Calendar;
use crate::journal::clock::JournalClock;
use crate::journal::embedded::Config;
use crate::journal::metrics::Metrics;
use crate::journal::{Lost, Unavailable};
use crate::model::{Timestamp, WebhookUid};

/// Bytes of appends that may wait for the writer, in units of [`PERMIT`].
pub const WAITING_BYTES: usize = 2 * 1024 * 1024;

/// Bytes that one permit of [`Core::room`] stands for.
pub const PERMIT: u64 = 1024;

/// What a delivery of an appended event takes of that room and of the disk, beside the event: its ticket and key.
pub const TICKET_BYTES: u64 = 64;

/// Outcomes that may wait for the writer.
const WAITING_OUTCOMES: usize = 16_384;

/// Why there is no store, and since when.
struct Failure {
    what: String,
    since: Instant,
}

/// See the module.
pub struct Core {
    /// Limits.
    pub config: Config,
    /// What time it is.
    pub clock: JournalClock,
    /// The webhooks that have something.
    pub lanes: Lanes,
    /// To the writer.
    pub inbox: Inbox,
    /// The last events.
    pub recent: Recent,
    /// Known events.
    pub spaces: Arc<Spaces>,
    /// For appends in the inbox.
    pub room: Semaphore,
    /// For outcomes in the inbox.
    pub outcomes: Semaphore,
    /// What happened.
    pub history: History,
    calendar: Mutex<Calendar>,
    /// What it did.
    pub metrics: Metrics,
    /// `None` while it is let go: after a failure, until it is reopened, or closed.
    store: RwLock<Option<Arc<Store>>>,
    failure: Mutex<Option<Failure>>,
    /// Since when the writer is at a commit.
    busy: Mutex<Option<Instant>>,
    held: AtomicU64,
    durable: AtomicU64,
    /// What a test says is free.
    #[cfg(test)]
    pub(super) pretended_space: Arc<Mutex<Option<u64>>>,
    /// Whether the writer is to panic at the next that it is given.
    #[cfg(test)]
    pub(super) panics: std::sync::atomic::AtomicBool,
}

impl Core {
    /// Around an open store.
    #[expect(clippy::too_many_arguments, reason = "each is a part of its own, named by its type")]
    pub fn new(
        config: Config,
        clock: JournalClock,
        store: Store,
        spaces: Arc<Spaces>,
        lanes: Lanes,
        history: History,
        calendar: Calendar,
        metrics: Metrics,
    ) -> Self {
        Self {
            recent: Recent::new(config.recent_bytes),
            config,
            clock,
            lanes,
            inbox: Inbox::default(),
            spaces,
            room: Semaphore::new(WAITING_BYTES / 1024),
            outcomes: Semaphore::new(WAITING_OUTCOMES),
            history,
            calendar: Mutex::new(calendar),
            metrics,
            store: RwLock::new(Some(Arc::new(store))),
            failure: Mutex::new(None),
            busy: Mutex::new(None),
            held: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            #[cfg(test)]
            pretended_space: Arc::default(),
            #[cfg(test)]
            panics: std::sync::atomic::AtomicBool::new(false),
        }
    }

    /// What time of day it was when.
    pub fn calendar(&self) -> Calendar {
        self.calendar.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how late it is; the calendar, if it has to be kept anew.
    pub fn note_day(&self) -> Option<Calendar> {
        let (now, day) = (self.clock.now(), self.clock.time_of_day());
        let mut calendar = self.calendar.lock().unwrap_or_else(PoisonError::into_inner);
        calendar.note(now, day).then(|| calendar.clone())
    }

    /// The store, while it is good.
    pub fn store(&self) -> Option<Arc<Store>> {
        self.store.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What to say when there is no store.
    pub fn unavailable(&self) -> Unavailable {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        Unavailable(
            failure.as_ref().map_or_else(|| "it is closed".to_owned(), |failure| failure.what.clone()),
        )
    }

    /// For how long it has not been possible to open the store; `None` while there was no failure.
    pub fn failing_for(&self) -> Option<Duration> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.as_ref().map(|failure| failure.since.elapsed())
    }

    /// The writer begins with a commit, or has ended it.
    pub fn set_busy(&self, busy: bool) {
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) = busy.then(Instant::now);
    }

    /// For how long the writer has been at one commit.
    pub fn busy_for(&self) -> Duration {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Lets go of the store: nothing is written on after a failure. Every lane is lost.
    pub fn let_go(&self, what: String) {
        {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            let since = failure.as_ref().map_or_else(Instant::now, |failure| failure.since);
            *failure = Some(Failure { what, since });
        }
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.lanes.revoke_all();
    }

    /// Goes on with a store that was opened again: `next` is its next event's number.
    pub fn go_on(&self, store: Arc<Store>, next: u64) {
        self.recent.clear();
        self.set_durable(next);
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = Some(store);
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.inbox.resume();
        for cell in self.lanes.all() {
            self.lanes.offer(&cell);
        }
    }

    /// Ends all work, for good.
    pub fn end(&self) {
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.room.close();
        self.outcomes.close();
        self.lanes.revoke_all();
    }

    /// Sends to the writer what nobody waits for. If it is gone, so is the claim.
    pub fn send(&self, op: Op) {
        self.inbox.push(op);
    }

    /// What was accepted before is not delivered any more.
    pub fn cutoff(&self, now: Timestamp) -> Timestamp {
        let retention = u64::try_from(self.config.limits.retention.as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_millis(now.as_millis().saturating_sub(retention))
    }

    /// How many bytes a lane may read ahead: all lanes that are held share.
    pub fn read_ahead(&self) -> u64 {
        let share = self.config.read_ahead_bytes / self.held.load(Ordering::Relaxed).max(1);
        share.clamp(16 * 1024, 1024 * 1024)
    }

    /// The first number whose event may not be durable yet: it can be read from
    /// the store before, and must not be leased.
    pub fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Everything before `next` is durable. This comes before it is offered to lanes.
    pub fn set_durable(&self, next: u64) {
        self.durable.store(next, Ordering::Release);
    }

    /// One more lane is held.
    pub fn hold(&self) {
        self.held.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub fn unhold(&self) {
        self.held.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The webhooks that have something, and those of them that nobody holds.
#[derive(Default)]
pub struct Lanes {
    cells: Mutex<HashMap<WebhookUid, Arc<Cell>>>,
    unclaimed: Mutex<Vec<Arc<Cell>>>,
    changed: Notify,
}

impl Lanes {
    /// The cell of a webhook, which is made if there is none.
    pub fn cell(&self, webhook: WebhookUid) -> Arc<Cell> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cells.entry(webhook).or_insert_with(|| Arc::new(Cell::new(webhook))))
    }

    /// The cell of a webhook that has, or had, something.
    pub fn get(&self, webhook: WebhookUid) -> Option<Arc<Cell>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner).get(&webhook).cloned()
    }

    /// Every cell.
    pub fn all(&self) -> Vec<Arc<Cell>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Names a webhook as unclaimed, if it is and has something.
    pub fn offer(&self, cell: &Arc<Cell>) {
        let mut inner = cell.lock();
        if inner.claimed || inner.reported || inner.pending == 0 {
            return;
        }
        inner.reported = true;
        drop(inner);
        self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(cell));
        self.changed.notify_one();
    }

    /// See [`crate::journal::Journal::unclaimed`].
    pub async fn unclaimed(&self) -> Vec<WebhookUid> {
        loop {
            let cells = std::mem::take(&mut *self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner));
            let mut webhooks = Vec::with_capacity(cells.len());
            for cell in cells {
                let mut inner = cell.lock();
                inner.reported = false;
                if !inner.claimed && inner.pending > 0 {
                    webhooks.push(cell.webhook);
                }
            }
            if !webhooks.is_empty() {
                return webhooks;
            }
            self.changed.notified().await;
        }
    }

    fn revoke_all(&self) {
        for cell in self.all() {
            cell.lock().revoke();
            cell.changed.notify_one();
        }
    }
}

/// A lane whose store is gone is lost.
impl From<Unavailable> for Lost {
    fn from(_: Unavailable) -> Self {
        Self
    }
}
