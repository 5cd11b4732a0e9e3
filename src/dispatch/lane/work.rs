//! What a lane and its runners share: the tasks that are ready, and who is idle.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot, watch};

use crate::dispatch::Shared;
use crate::dispatch::circuit::{Circuit, OpenCircuit, Permission};
use crate::dispatch::errand::{Errand, Purpose};
use crate::dispatch::share::Place;
use crate::dispatch::stats::LaneStats;
use crate::dispatch::verdict::Failed;
use crate::journal::{Journal, Lease as _};
use crate::model::{Event, Jitter, Timestamp, WebhookUid};
use crate::outbound::{Channel, NoRoom, Pass};
use crate::subscriptions::{Known, View};

/// A lease of this journal.
pub(super) type LeaseOf<J> = <<J as Journal>::Lane as crate::journal::Lane>::Lease;

/// What a runner tries.
pub(super) enum Task<J: Journal> {
    /// A delivery of the journal's.
    Delivery(LeaseOf<J>),
    /// What somebody asked for.
    Errand(Errand),
}

impl<J: Journal> Task<J> {
    pub(super) fn event(&self) -> &Event {
        match self {
            Self::Delivery(lease) => &lease.delivery().event,
            Self::Errand(errand) => &errand.event,
        }
    }

    /// How many attempts of it have failed.
    pub(super) fn failures(&self) -> u16 {
        match self {
            Self::Delivery(lease) => lease.delivery().failures,
            Self::Errand(_) => 0,
        }
    }

    fn is_trial(&self) -> bool {
        matches!(self, Self::Errand(errand) if errand.purpose == Purpose::Trial)
    }
}

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
    circuit: Mutex<Circuit>,
    /// Something has failed since the last delivery: only then has the circuit
    /// to hear of deliveries.
    troubled: AtomicBool,
    /// The circuit is open: it is the lane that starts the next attempt.
    open: AtomicBool,
    /// The circuit is another than the lane has seen.
    changed: AtomicBool,
}

struct Queue<J: Journal> {
    /// Not tried yet.
    ready: VecDeque<Task<J>>,
    /// When so few are ready, the lane gets more.
    few: usize,
    /// Runners that have something to do.
    busy: usize,
    /// Runners that wait for it. Who was idle last is the first to go on.
    idle: Vec<oneshot::Sender<Job<J>>>,
    /// The version of the webhook whose endpoint said 410.
    gone: Option<Arc<Known>>,
    /// What the destination had no room for, when a runner gave a task back.
    no_room: Option<NoRoom>,
    /// Whoever would be idle ends.
    closed: bool,
}

/// What a runner begins with.
pub(super) struct Job<J: Journal> {
    pub(super) task: Task<J>,
    pub(super) terms: Terms,
    /// Of the limit on all webhooks' attempts; a lane's first runner needs none.
    pub(super) place: Option<Place>,
    /// Of the limits of the webhook's host, for the first task.
    pub(super) pass: Pass,
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

/// How many tasks are ready, and how many runners busy.
#[derive(Clone, Copy)]
pub(super) struct Counts {
    pub(super) ready: usize,
    pub(super) busy: usize,
}

impl<J: Journal> Work<J> {
    pub(super) fn new(
        shared: Arc<Shared<J>>,
        uid: WebhookUid,
        stats: Arc<LaneStats>,
        circuit: Option<OpenCircuit>,
    ) -> Arc<Self> {
        let queue = Queue {
            ready: VecDeque::new(),
            few: 0,
            busy: 0,
            idle: Vec::new(),
            gone: None,
            no_room: None,
            closed: false,
        };
        let remembered = circuit.is_some();
        let circuit = Circuit::new(shared.circuit_threshold, circuit);
        let is_open = circuit.open().is_some();
        Arc::new(Self {
            shared,
            uid,
            stats,
            queue: Mutex::new(queue),
            decide: Notify::new(),
            halted: AtomicBool::new(false),
            troubled: AtomicBool::new(is_open),
            open: AtomicBool::new(is_open),
            changed: AtomicBool::new(remembered),
            circuit: Mutex::new(circuit),
        })
    }

    pub(super) fn counts(&self) -> Counts {
        let queue = self.lock();
        Counts { ready: queue.ready.len(), busy: queue.busy }
    }

    /// Adds leases. The lane is told when `few` are left.
    pub(super) fn add(&self, leases: Vec<LeaseOf<J>>, few: usize) {
        let mut queue = self.lock();
        queue.ready.extend(leases.into_iter().map(Task::Delivery));
        queue.few = few;
    }

    /// Adds what was asked for; somebody waits for a trial, so it is the next.
    pub(super) fn add_errands(&self, errands: Vec<Errand>) {
        let mut queue = self.lock();
        for errand in errands {
            match errand.purpose {
                Purpose::Trial => queue.ready.push_front(Task::Errand(errand)),
                Purpose::Replay(_) => queue.ready.push_back(Task::Errand(errand)),
            }
        }
    }

    /// Whether an attempt may start, as far as the circuit goes. A trial is a
    /// probe that nobody has to wait for.
    pub(super) fn permission(&self, busy: usize) -> Permission {
        let permission = self.circuit().permission(busy, self.shared.journal.now());
        match permission {
            Permission::At(_) if self.lock().ready.front().is_some_and(Task::is_trial) => {
                Permission::Probe { not: None }
            }
            Permission::Free | Permission::Probe { .. } | Permission::At(_) | Permission::AfterProbe => {
                permission
            }
        }
    }

    /// Gives the next task to a runner that is idle; if there is none, to the
    /// one that is to be made of what is returned. As a probe, it takes another
    /// event than the one of the probe before, and one that has failed least.
    pub(super) fn hand_out(
        &self,
        terms: Terms,
        place: Option<Place>,
        pass: Pass,
        permission: Permission,
    ) -> Option<Job<J>> {
        let mut queue = self.lock();
        let task = match permission {
            Permission::Free => queue.ready.pop_front()?,
            Permission::Probe { not } => {
                let rank = |task: &Task<J>| (not == Some(task.event().key()), task.failures());
                let (index, _) = queue.ready.iter().enumerate().min_by_key(|(_, task)| rank(task))?;
                let task = queue.ready.remove(index)?;
                self.circuit().begin_probe(task.event().key());
                task
            }
            Permission::At(_) | Permission::AfterProbe => return None,
        };
        queue.busy += 1;
        let mut job = Job { task, terms, place, pass };
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
    pub(super) fn take(&self) -> Option<Task<J>> {
        let mut queue = self.lock();
        let task = queue.ready.pop_front();
        let low = task.is_some() && queue.ready.len() == queue.few;
        drop(queue);
        if low {
            self.decide.notify_one();
        }
        task
    }

    /// The task was not tried, and is the next again: its destination has no room, or the lane
    /// has to decide anew.
    pub(super) fn give_back(&self, task: Task<J>, no_room: Option<NoRoom>) {
        let mut queue = self.lock();
        if !queue.closed {
            queue.ready.push_front(task);
            queue.no_room = no_room.or(queue.no_room.take());
        }
    }

    /// What there was no room for, if that is news.
    pub(super) fn take_no_room(&self) -> Option<NoRoom> {
        self.lock().no_room.take()
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

    /// An attempt was successful.
    pub(super) fn delivered(&self) {
        if self.troubled.load(Ordering::Acquire) {
            self.follow(Circuit::delivered);
        }
    }

    /// The endpoint took something: if that is news, the webhook's share is larger now.
    pub(super) fn succeeded(&self, at: Timestamp) {
        if self.stats.success(at) {
            self.decide.notify_one();
        }
    }

    /// An attempt of this event failed, under these terms.
    pub(super) fn failed(&self, event: &Event, failed: &Failed, terms: &Terms) {
        let now = self.shared.journal.now();
        let backoff = &terms.known.settings.policy.backoff;
        self.follow(|circuit| circuit.failed(event.key(), failed, backoff, Jitter::draw(), now));
    }

    fn follow(&self, tell: impl FnOnce(&mut Circuit) -> bool) {
        let mut circuit = self.circuit();
        let changed = tell(&mut circuit);
        self.troubled.store(!circuit.is_calm(), Ordering::Release);
        self.open.store(circuit.open().is_some(), Ordering::Release);
        if changed {
            self.changed.store(true, Ordering::Release);
            drop(circuit);
            self.decide.notify_one();
        }
    }

    /// Whether only probes may start.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Whether the circuit has changed since the last call.
    pub(super) fn circuit_changed(&self) -> bool {
        self.changed.swap(false, Ordering::AcqRel)
    }

    /// What there is to remember of the circuit, if it is open.
    pub(super) fn open_circuit(&self) -> Option<OpenCircuit> {
        self.circuit().open().cloned()
    }

    /// The endpoint is another, or has proved itself again: what failed before does not count.
    pub(super) fn reset_circuit(&self) {
        self.follow(|circuit| {
            *circuit = Circuit::new(self.shared.circuit_threshold, None);
            true
        });
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

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing that is done under this lock leaves it half done.
    fn lock(&self) -> MutexGuard<'_, Queue<J>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
