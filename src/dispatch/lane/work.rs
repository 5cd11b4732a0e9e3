//! What a lane and its runners share: the leases that are ready, and who is idle.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot, watch};

use crate::dispatch::Shared;
use crate::dispatch::stats::LaneStats;
use crate::journal::Journal;
use crate::model::WebhookUid;
use crate::outbound::Channel;
use crate::subscriptions::{Known, View};

/// A lease of this journal.
pub(super) type LeaseOf<J> = <<J as Journal>::Lane as crate::journal::Lane>::Lease;

/// See the module.
pub(super) struct Work<J: Journal> {
    pub(super) shared: Arc<Shared<J>>,
    pub(super) uid: WebhookUid,
    pub(super) stats: Arc<LaneStats>,
    queue: Mutex<Queue<J>>,
    /// The lane has something to do or to decide.
    pub(super) decide: Notify,
    /// No attempt may start before the lane has decided.
    halted: AtomicBool,
}

struct Queue<J: Journal> {
    /// Leased, and not tried yet.
    ready: VecDeque<LeaseOf<J>>,
    /// When so few are ready, the lane gets more.
    few: usize,
    /// Runners that have something to do.
    busy: usize,
    /// Runners that wait for it. Who was idle last is the first to go on.
    idle: Vec<oneshot::Sender<Job<J>>>,
    /// The version of the webhook whose endpoint said 410.
    gone: Option<Arc<Known>>,
    /// Whoever would be idle ends.
    closed: bool,
}

/// What a runner begins with.
pub(super) struct Job<J: Journal> {
    pub(super) lease: LeaseOf<J>,
    pub(super) terms: Terms,
    /// Of the limit on all webhooks' attempts; a lane's first runner needs none.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

/// How attempts are made, as the lane has decided it last.
pub(super) struct Terms {
    pub(super) known: Arc<Known>,
    pub(super) channel: Channel,
    /// As seen when `known` was read.
    pub(super) view: watch::Receiver<View>,
    /// Whether each attempt has to ask the webhook's rate.
    pub(super) limited: bool,
}

/// How many leases are ready, and how many runners busy.
#[derive(Clone, Copy)]
pub(super) struct Counts {
    pub(super) ready: usize,
    pub(super) busy: usize,
}

impl<J: Journal> Work<J> {
    pub(super) fn new(shared: Arc<Shared<J>>, uid: WebhookUid, stats: Arc<LaneStats>) -> Arc<Self> {
        let queue =
            Queue { ready: VecDeque::new(), few: 0, busy: 0, idle: Vec::new(), gone: None, closed: false };
        let (queue, decide, halted) = (Mutex::new(queue), Notify::new(), AtomicBool::new(false));
        Arc::new(Self { shared, uid, stats, queue, decide, halted })
    }

    pub(super) fn counts(&self) -> Counts {
        let queue = self.lock();
        Counts { ready: queue.ready.len(), busy: queue.busy }
    }

    /// Adds leases. The lane is told when `few` are left.
    pub(super) fn add(&self, leases: Vec<LeaseOf<J>>, few: usize) {
        let mut queue = self.lock();
        queue.ready.extend(leases);
        queue.few = few;
    }

    /// Gives the next lease to a runner that is idle; if there is none, to the
    /// one that is to be made of what is returned.
    pub(super) fn hand_out(&self, terms: Terms, permit: Option<OwnedSemaphorePermit>) -> Option<Job<J>> {
        let mut queue = self.lock();
        let lease = queue.ready.pop_front()?;
        queue.busy += 1;
        let mut job = Job { lease, terms, permit };
        while let Some(idle) = queue.idle.pop() {
            match idle.send(job) {
                Ok(()) => return None,
                // That runner is no more.
                Err(back) => job = back,
            }
        }
        Some(job)
    }

    /// What a busy runner does next.
    pub(super) fn take(&self) -> Option<LeaseOf<J>> {
        let mut queue = self.lock();
        let lease = queue.ready.pop_front();
        let low = lease.is_some() && queue.ready.len() == queue.few;
        drop(queue);
        if low {
            self.decide.notify_one();
        }
        lease
    }

    /// A busy runner is idle from now on. If it `may_wait`, it waits for a job.
    pub(super) fn rest(&self, may_wait: bool) -> Option<oneshot::Receiver<Job<J>>> {
        let mut queue = self.lock();
        queue.busy -= 1;
        let decide = !queue.ready.is_empty() || queue.gone.is_some();
        let job = (may_wait && !queue.closed).then(|| {
            let (sender, receiver) = oneshot::channel();
            queue.idle.push(sender);
            receiver
        });
        drop(queue);
        if decide {
            self.decide.notify_one();
        }
        job
    }

    /// Whether no attempt may start.
    pub(super) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Acquire)
    }

    /// The endpoint of this version of the webhook said 410: no attempt starts
    /// before the lane has decided what that means.
    pub(super) fn gone(&self, known: Arc<Known>) {
        let mut queue = self.lock();
        queue.gone = Some(known);
        self.halted.store(true, Ordering::Release);
    }

    /// What was said by [`Self::gone`].
    pub(super) fn take_gone(&self) -> Option<Arc<Known>> {
        if self.is_halted() { self.lock().gone.take() } else { None }
    }

    /// The lane has decided that attempts may start.
    pub(super) fn resume(&self) {
        if self.is_halted() {
            let queue = self.lock();
            self.halted.store(queue.gone.is_some(), Ordering::Release);
        }
    }

    /// Gives to the journal what is ready, and lets the runners go.
    pub(super) fn close(&self) {
        let mut queue = self.lock();
        self.halted.store(true, Ordering::Release);
        queue.closed = true;
        let (ready, idle) = (std::mem::take(&mut queue.ready), std::mem::take(&mut queue.idle));
        drop(queue);
        drop((ready, idle));
    }

    /// Nothing that is done under this lock leaves it half done.
    fn lock(&self) -> MutexGuard<'_, Queue<J>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
