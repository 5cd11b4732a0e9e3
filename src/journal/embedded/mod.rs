//! The embedded engine: one process, one directory, no other service.
//!
//! ```text
//! append ──> inbox ──> writer: one commit and one fsync for all that waits ──> store
//!              ^          │
//!  settle ─────┘          └─ durable ──> window of a lane that is up to date
//!                                               ^                 │
//!                     store ── fill, in pieces ─┘                 v
//!                                                        Lane::next ──> leases
//! ```
//!
//! **Guarantees** what [`crate::journal`] does. `append` answers after the
//! fsync; outcomes are written within milliseconds and made durable within
//! [`crate::journal::OUTCOME_LOSS_WINDOW`] or with the next append.
//!
//! **Assumes** that its directory is on a local disk that keeps what
//! `fdatasync` said it would, and that nobody else writes there, which a lock
//! sees to.
//!
//! **Bounds.** Memory: the caches and windows of [`Config`], the library's
//! write buffers (`store.rs` bounds them), a few hundred bytes for each webhook
//! that has or had something. What is queued is on disk.

mod append;
mod cell;
mod core;
mod damage;
mod dead;
mod disk;
mod expire;
pub mod export;
mod fill;
mod fsync;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod gone;
mod history;
mod holder;
mod inbox;
mod keys;
mod lane;
mod log;
mod logs;
mod namespaces;
mod op;
mod open;
mod order;
mod outcome;
mod point;
mod queue;
mod recent;

mod reopen;
mod repair;
mod retries;
mod rewrite;
mod salvage;
mod scan;
mod seen;
mod space;
mod store;
#[cfg(test)]
mod tests;
mod users;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use self::core::{Core, PERMIT, TICKET_BYTES, WAITING_BYTES};
use self::dead::Forget;
use self::history::History;
use self::op::{Batch, Item, Op};
use self::store::{Counters, Store};
use self::writer::Writer;
use super::calendar::Calendar;
use super::clock::JournalClock;
use super::inspect::{AttemptFilter, Cursor, Kept, KeptFilter, LetterId, Page, PendingDelivery};
use super::limits::Limits;
use super::metrics::Metrics;
use super::record;
use super::{
    Append, Appended, Attempt, ClaimError, DeadLetter, Depth, Inspect, Journal, RefusedReason, Unavailable,
};
use crate::model::{Clock, Ordering, Timestamp, WebhookUid};

pub use append::BACKLOG_FULL;
pub use lane::{EmbeddedLane, EmbeddedLease};
pub use open::OpenError;
pub use store::StoreError;

/// Where the journal is, and its limits.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its directory, which is made if there is none.
    pub path: PathBuf,
    /// What it takes and keeps.
    pub limits: Limits,
    /// Bytes of the disk that are kept free of new events, for what comes of those that wait.
    pub reserve_bytes: u64,
    /// Memory for what all lanes together read ahead, in bytes.
    pub read_ahead_bytes: u64,
    /// Memory for the events that were stored last, in bytes.
    pub recent_bytes: usize,
    /// Memory for what is read from the disk, in bytes.
    pub cache_bytes: u64,
}

impl Config {
    /// In this directory, with the default limits.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            limits: Limits::default(),
            reserve_bytes: 256 << 20,
            read_ahead_bytes: 16 << 20,
            recent_bytes: 4 << 20,
            cache_bytes: 4 << 20,
        }
    }
}

/// See the module.
#[derive(Clone)]
pub struct Embedded(Arc<Owner>);

/// Keeps the writer; when the last handle, lane and lease is gone, so is it.
pub(super) struct Owner {
    core: Arc<Core>,
    writer: Option<JoinHandle<()>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        let (answer, _) = oneshot::channel();
        self.core.send(Op::Close(answer));
        if let Some(writer) = self.writer.take() {
            // It has nothing to do but to write what is left.
            let _ = writer.join();
        }
    }
}

impl Embedded {
    /// Opens the journal in a directory, or makes one there. This blocks while
    /// the library reads its log, however much is queued: about half a second.
    ///
    /// # Errors
    /// The directory is in use, is no journal, or cannot be read.
    pub fn open(config: Config, clock: Clock) -> Result<Self, OpenError> {
        let metrics = Metrics::default();
        let opened = open::open(&config, &metrics)?;
        let clock = JournalClock::new(clock, opened.counters.map(|counters| counters.now));
        let now = clock.now();
        let counters = opened.counters.unwrap_or(Counters { next_seq: 1, live_bytes: 0, now });
        let path = config.path.clone();
        let history =
            History::open(&path.join("history"), config.limits.attempts, config.limits.events, &metrics)
                .map_err(|cause| OpenError::Io { path: path.clone(), cause })?;
        let calendar =
            opened.store.calendar().map_err(|cause| OpenError::Store { path: path.clone(), cause })?;
        let core =
            Core::new(config, clock, opened.store, opened.spaces, opened.lanes, history, calendar, metrics);
        let core = Arc::new(core);
        core.set_durable(counters.next_seq);
        let writer = core.store().map(|store| Writer::new(Arc::clone(&core), store, counters));
        let thread = std::thread::Builder::new().name("journal".to_owned());
        let writer = thread
            .spawn(move || writer.map(reopen::run).unwrap_or_default())
            .map_err(|cause| OpenError::Io { path, cause })?;
        Ok(Self(Arc::new(Owner { core, writer: Some(writer) })))
    }

    /// What it counts, to be registered.
    pub fn metrics(&self) -> &Metrics {
        &self.0.core.metrics
    }

    /// Whether it takes and gives anything: not after a failed write, until it is reopened.
    pub fn is_open(&self) -> bool {
        self.0.core.store().is_some()
    }

    /// Whether it is open and its writer gets on, or it may yet be reopened; if not, only a new
    /// process can help. The library waits without end in a commit when the thread that flushes
    /// fails just then.
    pub fn is_alive(&self) -> bool {
        (self.is_open() && self.0.core.busy_for() < reopen::HOPELESS)
            || self.0.core.failing_for().is_some_and(|time| time < reopen::HOPELESS)
    }

    /// How many times it has waited for the disk.
    pub fn syncs(&self) -> u64 {
        self.0.core.store().map_or(0, |store| store.syncs())
    }

    /// Reads from the store on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Core, &Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let core = Arc::clone(&self.0.core);
        let store = core.store().ok_or_else(|| core.unavailable())?;
        tokio::task::spawn_blocking(move || read(&core, &store))
            .await
            .unwrap_or(Err(StoreError::Panicked))
            .map_err(|cause| Unavailable(cause.to_string()))
    }
}

impl Journal for Embedded {
    type Lane = EmbeddedLane;

    fn now(&self) -> Timestamp {
        self.0.core.clock.now()
    }

    async fn append_within(&self, batch: Vec<Append>, most: Option<u64>) -> Vec<Appended> {
        let core = &self.0.core;
        let count = batch.len();
        if count == 0 {
            return Vec::new();
        }
        let bytes: u64 = batch.iter().map(|append| record::event_length(&append.event) as u64).sum();
        let deliveries: usize = batch.iter().map(|append| append.webhooks.len()).sum();
        let tickets = deliveries as u64 * TICKET_BYTES;
        // A batch that is larger than all the room waits for all of it.
        let permits = (bytes + tickets).div_ceil(PERMIT).clamp(1, WAITING_BYTES as u64 / PERMIT);
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        let refused = || vec![Appended::Refused(RefusedReason::Unavailable); count];
        match core.room.acquire_many(permits).await {
            Ok(room) => room.forget(),
            Err(_) => return refused(),
        }
        // After the wait, so that no more records are in memory than there is room for.
        let items = batch.into_iter().map(Item::new).collect();
        let (answer, answers) = oneshot::channel();
        if !core.inbox.push(Op::Append(Batch { items, bytes, tickets, most, permits, answer })) {
            core.room.add_permits(permits as usize);
            return refused();
        }
        answers.await.unwrap_or_else(|_| vec![Appended::Unknown; count])
    }

    async fn claim(&self, webhook: WebhookUid, ordering: Ordering) -> Result<EmbeddedLane, ClaimError> {
        EmbeddedLane::claim(Arc::clone(&self.0), webhook, ordering).await
    }

    async fn unclaimed(&self) -> Vec<WebhookUid> {
        self.0.core.lanes.unclaimed().await
    }

    async fn drop_webhook(&self, webhook: WebhookUid) -> Result<(), Unavailable> {
        let (answer, dropped) = oneshot::channel();
        self.0.core.send(Op::Drop(webhook, answer));
        dropped.await.map_err(|_| self.0.core.unavailable())
    }

    async fn depth(&self, webhook: WebhookUid) -> Result<Depth, Unavailable> {
        let core = &self.0.core;
        core.store().ok_or_else(|| core.unavailable())?;
        Ok(core.lanes.get(webhook).map_or(Depth::default(), |cell| {
            let inner = cell.lock();
            Depth { pending: inner.pending, dead: inner.dead, evicted: inner.evicted }
        }))
    }

    async fn oldest(&self, webhook: WebhookUid) -> Result<Option<Timestamp>, Unavailable> {
        let low = self.0.core.lanes.get(webhook).map_or(0, |cell| cell.lock().low);
        self.read(move |_, store| queue::oldest(store, webhook, low)).await
    }

    fn note(&self, attempt: Attempt) {
        self.0.core.history.note(self.now(), &attempt);
    }

    async fn close(&self) -> Result<(), Unavailable> {
        let (answer, closed) = oneshot::channel();
        self.0.core.send(Op::Close(answer));
        closed.await.map_err(|_| self.0.core.unavailable())
    }
}

impl Inspect for Embedded {
    fn calendar(&self) -> Calendar {
        self.0.core.calendar()
    }

    async fn pending(
        &self,
        webhook: WebhookUid,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<PendingDelivery>, Unavailable> {
        self.read(move |core, store| queue::list(core, store, webhook, cursor, limit)).await
    }

    async fn dead_letters(
        &self,
        webhook: WebhookUid,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<DeadLetter>, Unavailable> {
        self.read(move |_, store| dead::list(store, webhook, cursor, limit)).await
    }

    async fn forget_dead(&self, webhook: WebhookUid, letters: Vec<LetterId>) -> Result<(), Unavailable> {
        let (answer, forgotten) = oneshot::channel();
        self.0.core.send(Op::Forget(Forget { webhook, letters, answer }));
        forgotten.await.map_err(|_| self.0.core.unavailable())
    }

    async fn attempts(
        &self,
        of: AttemptFilter,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Attempt>, Unavailable> {
        self.read(move |core, _| Ok(core.history.attempts(&of, cursor.as_ref(), limit)?)).await
    }

    async fn kept(
        &self,
        of: KeptFilter,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Kept>, Unavailable> {
        self.read(move |core, _| Ok(core.history.kept(&of, cursor.as_ref(), limit)?)).await
    }
}
