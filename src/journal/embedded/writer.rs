//! The one thread that writes.
//!
//! ```text
//! inbox ─ take all ─> apply each into a commit ─> write ─ (sync) ─> answer, hand to lanes
//!                                                           │
//!                          at once if an answer waits for it; else within the loss window
//! ```
//!
//! **Guarantees.** Nothing is answered as stored, and no lane sees it, before
//! it is on the disk. After a write or a sync that failed nothing is written
//! any more: everybody is told, the store is let go, and [`super::reopen`]
//! opens it again. A panic is such a failure.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::cell::{Cell, Inner};
use super::core::Core;
use super::keys;
use super::op::Op;
use super::open;
use super::point;
use super::rewrite;
use super::space::Space;
use super::store::{Batch, Counters, Store, StoreError};
use crate::journal::calendar::Calendar;
use crate::journal::{Appended, Lost, RefusedReason};
use crate::model::{EventKey, Timestamp, WebhookUid};

/// When outcomes are made durable, so that with the sync itself it stays
/// within [`crate::journal::OUTCOME_LOSS_WINDOW`].
const SYNC_WITHIN: Duration = Duration::from_millis(60);

/// How often the writer looks at the clock and at what has expired.
const TICK: Duration = Duration::from_secs(1);

/// See the module.
pub struct Writer {
    /// Shared with everybody else.
    pub core: Arc<Core>,
    /// Its own reference; the last to go.
    pub store: Arc<Store>,
    /// The next event's number.
    pub next_seq: u64,
    /// Bytes of events that have deliveries that have not ended.
    pub live_bytes: u64,
    /// Webhooks that are being dropped.
    pub drops: Vec<super::gone::Drop>,
    /// The calendar, while it is not kept: it is with the next commit.
    calendar: Option<Calendar>,
    /// Dead letters are left that are beyond their bounds.
    evicts: bool,
    /// What is left of the disk.
    pub space: Space,
    compaction: Option<JoinHandle<()>>,
    unsynced: Option<Instant>,
    ticked: Instant,
    persisted: Timestamp,
    /// Permits of what was taken from the inbox, which have not been given back.
    owed: Owed,
}

/// Permits of [`Core::room`] and [`Core::outcomes`].
#[derive(Clone, Copy, Debug, Default)]
struct Owed {
    room: usize,
    outcomes: usize,
}

impl Owed {
    fn add(&mut self, ops: &[Op]) {
        for op in ops {
            match op {
                Op::Append(batch) => self.room += batch.permits as usize,
                Op::Settle(settle) => self.outcomes += usize::from(settle.end.has_permit()),
                Op::Park(_)
                | Op::State(_)
                | Op::Broken(_)
                | Op::Barrier(_)
                | Op::Forget(_)
                | Op::Drop(..)
                | Op::Close(_) => {}
            }
        }
    }
}

/// A store that must not be written any more.
pub struct Failed {
    /// Why.
    pub cause: StoreError,
    /// To be dropped before it is opened again.
    pub store: Arc<Store>,
}

/// What is to be done with the locks free, after the write or the sync.
type Action = Box<dyn FnOnce(&Core) + Send>;

/// What is gathered until it is written.
pub struct Commit {
    /// The writes.
    pub batch: Batch,
    /// Deliveries left of shared events, as this commit leaves them.
    pub shares: HashMap<u64, u32>,
    /// Events that this commit stores.
    pub seen: HashSet<EventKey>,
    /// Namespaces whose counts changed.
    pub spaces: HashSet<u64>,
    /// Lanes whose counts changed.
    lanes: HashMap<WebhookUid, Arc<Cell>>,
    /// Whether a read of `order` would miss something of it.
    pub order_dirty: bool,
    /// Whether somebody waits for the sync.
    pub durable: bool,
    /// Permits to give back.
    pub room: usize,
    /// As well, of outcomes.
    pub outcomes: usize,
    written: Vec<Action>,
    synced: Vec<Action>,
    answers: Vec<(oneshot::Sender<Vec<Appended>>, Vec<Appended>)>,
    answered: Vec<Action>,
    close: Option<oneshot::Sender<()>>,
}

impl Commit {
    fn new(store: &Store) -> Self {
        Self {
            batch: store.batch(),
            shares: HashMap::new(),
            seen: HashSet::new(),
            spaces: HashSet::new(),
            lanes: HashMap::new(),
            order_dirty: false,
            durable: false,
            room: 0,
            outcomes: 0,
            written: Vec::new(),
            synced: Vec::new(),
            answers: Vec::new(),
            answered: Vec::new(),
            close: None,
        }
    }

    /// A lane's counts, to be changed; they are written with what changed them.
    pub fn counts_of<'a>(&mut self, cell: &'a Arc<Cell>) -> MutexGuard<'a, Inner> {
        self.lanes.entry(cell.webhook).or_insert_with(|| Arc::clone(cell));
        cell.lock()
    }

    /// Runs when the batch is written, synced or not.
    pub fn after_write(&mut self, action: impl FnOnce(&Core) + Send + 'static) {
        self.written.push(Box::new(action));
    }

    /// Runs when all of it is durable, and asks for that.
    pub fn after_sync(&mut self, action: impl FnOnce(&Core) + Send + 'static) {
        self.durable = true;
        self.synced.push(Box::new(action));
    }

    /// Runs when all of it is durable and everybody was told.
    pub fn after_answers(&mut self, action: impl FnOnce(&Core) + Send + 'static) {
        self.answered.push(Box::new(action));
    }

    /// Answers when all of it is durable; with `Unknown` if that fails.
    pub fn answer(&mut self, to: oneshot::Sender<Vec<Appended>>, answers: Vec<Appended>) {
        self.durable = true;
        self.answers.push((to, answers));
    }
}

impl Writer {
    /// Of a store that was just opened.
    pub fn new(core: Arc<Core>, store: Arc<Store>, counters: Counters) -> Self {
        let mut space = Space::new(open::home(&core.config.path), core.config.reserve_bytes);
        #[cfg(test)]
        {
            space.pretend = Arc::clone(&core.pretended_space);
        }
        space.ask(counters.live_bytes);
        core.metrics.volume.free.set(gauge(space.free));
        let calendar = core.note_day();
        Self {
            core,
            store,
            space,
            next_seq: counters.next_seq,
            live_bytes: counters.live_bytes,
            drops: Vec::new(),
            calendar,
            evicts: false,
            compaction: None,
            unsynced: None,
            ticked: Instant::now(),
            persisted: counters.now,
            owed: Owed::default(),
        }
    }

    /// Runs until it is told to close, or the store fails; says why in that case.
    /// Then nothing more is taken, everybody was told, and the store was let go but by readers.
    pub fn run(mut self) -> Option<Failed> {
        loop {
            let ops = self.core.inbox.take(self.patience());
            self.owed.add(&ops);
            let (mut ops, mut commit) = (ops.into_iter(), Commit::new(&self.store));
            self.core.set_busy(true);
            // What a panic leaves in memory is let go of with the store, as after any failure.
            let done = catch_unwind(AssertUnwindSafe(|| self.round(&mut commit, &mut ops)));
            let done = done.unwrap_or(Err(StoreError::Panicked));
            self.core.set_busy(false);
            if let Err(cause) = done {
                self.fail(&cause);
                // Who waits for what was taken learns it from the channel's end, which comes
                // when it can be asked why.
                let close = commit.close.take().or_else(|| ops.find_map(Op::into_close));
                drop((ops, commit));
                // A wish to close outlives what it was taken with: whoever has it waits for the end.
                if let Some(close) = close {
                    self.core.send(Op::Close(close));
                }
                return Some(Failed { cause, store: self.store });
            }
            let closing = commit.close.take();
            drop(commit);
            if let Some(closed) = closing {
                self.core.inbox.close().into_iter().for_each(refuse);
                self.end_compaction();
                self.core.end();
                let journal = self.core.config.path.clone();
                drop(self);
                rewrite::mark_clean(&journal);
                let _ = closed.send(());
                return None;
            }
        }
    }

    fn patience(&self) -> Duration {
        if !self.drops.is_empty() || self.evicts {
            return Duration::ZERO;
        }
        let sync = self.unsynced.map(|since| SYNC_WITHIN.saturating_sub(since.elapsed()));
        let tick = TICK.saturating_sub(self.ticked.elapsed());
        sync.unwrap_or(tick).min(tick)
    }

    fn round(&mut self, commit: &mut Commit, ops: &mut std::vec::IntoIter<Op>) -> Result<(), StoreError> {
        #[cfg(test)]
        assert!(
            ops.as_slice().is_empty() || !self.core.panics.swap(false, std::sync::atomic::Ordering::Relaxed),
            "as the test wants it"
        );
        for op in ops {
            self.apply(commit, op)?;
        }
        self.drop_some(commit)?;
        if self.ticked.elapsed() >= TICK {
            self.ticked = Instant::now();
            self.tick(commit)?;
        } else if self.evicts {
            self.evicts = self.evict(commit, self.core.clock.now())?;
        }
        if commit.durable {
            point::reach("gathered");
        }
        self.write(commit)?;
        let overdue = self.unsynced.is_some_and(|since| since.elapsed() >= SYNC_WITHIN);
        if overdue || (commit.durable && self.unsynced.is_some()) {
            point::reach("committed");
            let took = self.store.sync()?;
            point::reach("synced");
            self.core.metrics.volume.fsync.observe(took.as_secs_f64());
            self.unsynced = None;
            self.core.set_durable(self.next_seq);
        }
        for action in commit.synced.drain(..) {
            action(&self.core);
        }
        for (to, answers) in commit.answers.drain(..) {
            let _ = to.send(answers);
        }
        self.owed.room -= commit.room;
        self.core.room.add_permits(commit.room);
        for action in commit.answered.drain(..) {
            action(&self.core);
        }
        Ok(())
    }

    fn apply(&mut self, commit: &mut Commit, op: Op) -> Result<(), StoreError> {
        match op {
            Op::Append(batch) => self.append(commit, batch),
            Op::Settle(settle) => self.settle(commit, settle),
            Op::Park(parking) => self.park(commit, &parking),
            Op::State(state) => self.set_state(commit, state),
            Op::Broken(cause) => Err(cause),
            Op::Barrier(answer) => {
                commit.after_write(move |_| {
                    let _ = answer.send(());
                });
                Ok(())
            }
            Op::Forget(forget) => self.forget(commit, forget),
            Op::Drop(webhook, answer) => {
                self.begin_drop(webhook, answer);
                Ok(())
            }
            Op::Close(answer) => {
                commit.close = Some(answer);
                // Once more, when the low-water marks are where they belong.
                self.write(commit)?;
                #[cfg(test)]
                super::tests::recount::check_written(&self.store, &self.core.lanes, &self.core.spaces);
                self.core.lanes.all().iter().for_each(|cell| drop(commit.counts_of(cell)));
                commit.durable = true;
                Ok(())
            }
        }
    }

    /// Writes what a commit has gathered, and leaves it empty but for what
    /// waits for the sync.
    pub fn write(&mut self, commit: &mut Commit) -> Result<(), StoreError> {
        for space in commit.spaces.drain() {
            commit.batch.put(&self.store.spaces, space.to_be_bytes(), self.core.spaces.record(space));
        }
        for (seq, left) in commit.shares.drain() {
            if left == 0 {
                commit.batch.remove(&self.store.shares, keys::seq(seq));
            } else {
                commit.batch.put(&self.store.shares, keys::seq(seq), left.to_be_bytes());
            }
        }
        for (webhook, cell) in commit.lanes.drain() {
            let mut inner = cell.lock();
            inner.raise_low();
            commit.batch.put(&self.store.lanes, *webhook.as_bytes(), inner.encode().as_flattened());
        }
        let now = self.core.clock.now();
        if !commit.batch.is_empty() {
            if let Some(calendar) = self.calendar.take() {
                self.store.put_calendar(&mut commit.batch, &calendar);
            }
            let batch = std::mem::replace(&mut commit.batch, self.store.batch());
            let counters = Counters { next_seq: self.next_seq, live_bytes: self.live_bytes, now };
            self.store.commit(batch, counters)?;
            self.persisted = now;
            self.unsynced.get_or_insert_with(Instant::now);
        }
        commit.order_dirty = false;
        for action in commit.written.drain(..) {
            action(&self.core);
        }
        let outcomes = std::mem::take(&mut commit.outcomes);
        self.owed.outcomes -= outcomes;
        self.core.outcomes.add_permits(outcomes);
        Ok(())
    }

    fn tick(&mut self, commit: &mut Commit) -> Result<(), StoreError> {
        let now = self.core.clock.now();
        self.calendar = self.core.note_day().or(self.calendar.take());
        self.expire(commit, now)?;
        self.evicts = self.evict(commit, now)?;
        // The clock's time is kept while something ages by it.
        let aging = self.live_bytes > 0 && now.since(self.persisted) >= Duration::from_secs(10);
        if aging {
            // Any write keeps it.
            self.core.lanes.all().iter().take(1).for_each(|cell| drop(commit.counts_of(cell)));
        }
        self.space.ask(self.live_bytes);
        self.compact_if_worth();
        let metrics = &self.core.metrics;
        metrics.live.set(gauge(self.live_bytes));
        metrics.volume.disk.set(gauge(self.store.disk_bytes()?));
        metrics.volume.free.set(gauge(self.space.free));
        metrics.volume.window.set(self.core.spaces.held(now).as_secs_f64());
        Ok(())
    }

    /// Gets back, on a thread of its own, the room of what has ended. What has not ended is
    /// written again meanwhile; where there is no room for that, it is left to the library,
    /// which compacts a few megabytes at a time.
    fn compact_if_worth(&mut self) {
        let running = self.compaction.as_ref().is_some_and(|thread| !thread.is_finished());
        let fits = self.space.has(self.live_bytes);
        let Some(garbage) = self.store.garbage(self.live_bytes).filter(|_| !running && fits) else {
            return;
        };
        let store = Arc::clone(&self.store);
        let compaction = std::thread::Builder::new().name("compaction".to_owned()).spawn(move || {
            tracing::info!(bytes = garbage, "compacting the journal");
            if let Err(cause) = store.compact() {
                tracing::error!(error = %cause, "cannot compact the journal");
            }
        });
        self.compaction = compaction.ok();
    }

    fn end_compaction(&mut self) {
        if let Some(compaction) = self.compaction.take() {
            let _ = compaction.join();
        }
    }

    /// Lets go of the store, and tells everybody who waits.
    fn fail(&mut self, cause: &StoreError) {
        let left = self.core.inbox.refuse();
        self.owed.add(&left);
        self.core.let_go(cause.to_string());
        left.into_iter().for_each(refuse);
        let Owed { room, outcomes } = std::mem::take(&mut self.owed);
        self.core.room.add_permits(room);
        self.core.outcomes.add_permits(outcomes);
        self.end_compaction();
    }
}

fn gauge(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn refuse(op: Op) {
    match op {
        Op::Append(batch) => {
            let refused = Appended::Refused(RefusedReason::Unavailable);
            let _ = batch.answer.send(vec![refused; batch.items.len()]);
        }
        Op::State(state) => drop(state.answer.send(Err(Lost))),
        // Who waits for these learns it from the channel's end.
        Op::Settle(_)
        | Op::Park(_)
        | Op::Broken(_)
        | Op::Barrier(_)
        | Op::Forget(_)
        | Op::Drop(..)
        | Op::Close(_) => {}
    }
}
