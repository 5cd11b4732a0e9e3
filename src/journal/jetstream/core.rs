//! What the parts of the engine share: the log as far as it was read, and what this dispatcher
//! does of it.
//!
//! ```text
//! tail ──> fold ──> lines of the lanes that are claimed here ──> leases
//!                                     │ settled
//! log <── writer of the partition <───┘ outbox
//! ```
//!
//! All of it is behind one lock, which is held for as long as one message or one lease takes.

mod claims;
mod coming;
mod partition;

use std::collections::{BTreeSet, HashMap};
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering as Atomic};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::Client;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use super::Config;
use super::bodies::Bodies;
use super::fold::{Effect, Fold, LaneRecord};
use super::names::{Names, PARTITIONS, partition};
use super::snapshot::Snapshot;
use super::source::Source;
use super::wire::{Change, Number};
use crate::journal::calendar::Calendar;
use crate::journal::clock::JournalClock;
use crate::journal::metrics::Metrics;
use crate::journal::{LaneState, Unavailable};
use crate::model::{Event, Ordering, Timestamp, WebhookUid};

pub use self::claims::{Claim, Leased};
use self::coming::Coming;
use self::partition::Owned;
pub use self::partition::{Outgoing, Partition};

/// How long a dispatcher is taken for alive after it last said so.
pub const LEASE: Duration = Duration::from_secs(8);

/// How often it is asked whether the journal is open.
const LOOK: Duration = Duration::from_millis(50);

/// Bytes of what waits to be appended.
pub const WAITING_BYTES: usize = 32 << 20;

/// Outcomes that are on their way to the log.
pub const OUTCOMES: usize = 65_536;

/// What all parts share.
pub struct Core {
    pub config: Config,
    pub clock: JournalClock,
    pub client: Client,
    pub names: Names,
    /// What this dispatcher is called among the others.
    pub me: String,
    pub bodies: Bodies,
    /// The stream of dead letters.
    pub letters: Source,
    /// The stream of events.
    pub log: Source,
    /// The stream of attempts.
    pub attempts: Source,
    /// The stream of snapshots.
    pub snapshots: Source,
    /// A part of the log is gone that was not read.
    pub broken: AtomicBool,
    pub metrics: Metrics,
    /// Everything but the writers ends.
    pub shutdown: CancellationToken,
    /// Nothing more is sent: the writers end when they have written.
    pub writers_end: CancellationToken,
    /// Room for what waits to be appended.
    pub room: Semaphore,
    /// Room for outcomes.
    pub outcomes: Semaphore,
    /// Told whenever the fold has moved or ownership has changed.
    pub moved: Notify,
    /// Told when what was stored is not read.
    pub behind: Notify,
    /// Told when a webhook is offered.
    pub offered: Notify,
    /// Told when an append has ended.
    pub appended: Notify,
    /// The log was read up to where it ended when this dispatcher began.
    pub caught_up: AtomicBool,
    inner: Mutex<Inner>,
}

/// What is behind the lock.
pub struct Inner {
    pub fold: Fold,
    /// The last message that was read.
    pub position: u64,
    pub members: HashMap<String, Member>,
    /// Until when this dispatcher may act for what it owns.
    pub lease_until: Option<Instant>,
    /// Since when no renewal has failed: before, what others said may not have come here.
    pub well_since: Option<Instant>,
    pub partitions: Vec<Partition>,
    offers: BTreeSet<WebhookUid>,
    /// Events on their way to the log.
    pub coming: Coming,
    /// Who waits until a message is read.
    awaited: Vec<(u64, oneshot::Sender<bool>)>,
    generation: u64,
}

/// Another dispatcher, or this one.
pub struct Member {
    /// When this dispatcher read that it is alive.
    pub seen: Instant,
    /// What it had read of the log then.
    pub position: u64,
}

impl Member {
    /// Whether it was heard within a lease.
    pub fn is_heard(&self, now: Instant) -> bool {
        now < self.seen + LEASE
    }
}

impl Core {
    /// Of a log that was not read yet.
    pub fn new(
        config: Config,
        clock: JournalClock,
        client: Client,
        names: Names,
        me: String,
        metrics: Metrics,
        [log, letters, attempts, snapshots]: [Source; 4],
    ) -> Self {
        let bodies = Bodies::new(log.clone(), config.recent_bytes);
        let fold = Fold::new(config.limits.window);
        let inner = Inner {
            fold,
            position: 0,
            members: HashMap::new(),
            lease_until: None,
            well_since: None,
            partitions: (0..PARTITIONS).map(|_| Partition::default()).collect(),
            offers: BTreeSet::new(),
            coming: Coming::default(),
            awaited: Vec::new(),
            generation: 0,
        };
        Self {
            config,
            clock,
            client,
            names,
            me,
            bodies,
            letters,
            log,
            attempts,
            snapshots,
            broken: AtomicBool::new(false),
            metrics,
            shutdown: CancellationToken::new(),
            writers_end: CancellationToken::new(),
            room: Semaphore::new(WAITING_BYTES),
            outcomes: Semaphore::new(OUTCOMES),
            moved: Notify::new(),
            behind: Notify::new(),
            offered: Notify::new(),
            appended: Notify::new(),
            caught_up: AtomicBool::new(false),
            inner: Mutex::new(inner),
        }
    }

    /// What is behind the lock.
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the log has been read, and its server is there.
    pub fn is_connected(&self) -> bool {
        self.caught_up()
            && self.client.connection_state() == async_nats::connection::State::Connected
            && !self.shutdown.is_cancelled()
    }

    /// The same, and something was stored of late.
    pub fn is_open(&self) -> bool {
        self.is_connected() && self.lock().lease_is_good(Instant::now())
    }

    /// Waits until it is so.
    pub async fn when(&self, is_so: impl Fn(&Self) -> bool) {
        loop {
            let moved = self.moved.notified();
            if is_so(self) {
                return;
            }
            // The connection says nothing when it is there again.
            let _ = tokio::time::timeout(LOOK, moved).await;
        }
    }

    /// Whether the log has been read.
    pub fn caught_up(&self) -> bool {
        self.caught_up.load(Atomic::Acquire)
    }

    /// What time of day it is when. All dispatchers go by one clock, so that this one knows how
    /// far it is from the time of day now.
    pub fn calendar(&self) -> Calendar {
        Calendar::new(vec![(self.clock.now(), self.clock.time_of_day())])
    }

    /// Why not.
    pub fn unavailable(&self) -> Unavailable {
        Unavailable(
            if self.shutdown.is_cancelled() {
                "it is closed"
            } else if self.caught_up() {
                "NATS cannot be reached"
            } else {
                "the log is being read"
            }
            .to_owned(),
        )
    }

    /// Goes on from a snapshot.
    pub fn begin_with(&self, snapshot: Snapshot) {
        let mut inner = self.lock();
        inner.position = snapshot.position;
        inner.fold = snapshot.fold;
        for (part, (epoch, owner)) in inner.partitions.iter_mut().zip(snapshot.owners) {
            part.epoch = epoch;
            part.owner = Some(owner).filter(|owner| !owner.is_empty());
        }
    }

    /// An event, wherever it stands in the log now.
    pub async fn event(&self, number: Number) -> Result<Option<Arc<Event>>, Unavailable> {
        let place = self.lock().fold.place(number);
        self.bodies.get(place).await
    }

    /// Before then nothing that was accepted is still delivered.
    pub fn cutoff(&self, now: Timestamp) -> Timestamp {
        now.before(self.config.limits.retention)
    }

    /// Hands effects of what was read to the lanes that are claimed here.
    pub fn follow(&self, inner: &mut Inner, effects: Vec<Effect>) {
        let mut offered = false;
        for effect in effects {
            offered |= inner.follow(&effect);
        }
        if offered {
            self.offered.notify_one();
        }
    }

    /// The partition is this dispatcher's no more: its lanes are lost, and what was on its way.
    pub fn lose(&self, inner: &mut Inner, index: usize) {
        let Some(part) = inner.partitions.get_mut(index) else { return };
        let lost = part.lose();
        self.outcomes.add_permits(lost.iter().filter(|(_, change)| is_outcome(change)).count());
        inner.offers.retain(|webhook| partition(*webhook) != index);
        self.moved.notify_waiters();
    }

    /// The log says who runs a partition from now on.
    pub fn own(&self, inner: &mut Inner, index: usize, epoch: u64, owner: Option<&str>) {
        let Some(part) = inner.partitions.get_mut(index) else { return };
        match part.own(epoch, owner, owner == Some(self.me.as_str())) {
            Owned::AsBefore => {}
            Owned::Lost => {
                self.metrics.nats.lost.inc();
                tracing::warn!(partition = index, owner, "another dispatcher has taken a partition over");
                self.lose(inner, index);
            }
            Owned::Won { from_another } => {
                if from_another {
                    self.metrics.nats.takeovers.inc();
                }
                inner.offer_all(index);
                self.offered.notify_one();
                tracing::debug!(partition = index, epoch, "a partition is run here");
            }
        }
    }

    /// Webhooks with deliveries whose lane nobody here holds.
    pub async fn unclaimed(&self) -> Vec<WebhookUid> {
        loop {
            let offers = mem::take(&mut self.lock().offers);
            if !offers.is_empty() {
                return offers.into_iter().collect();
            }
            self.offered.notified().await;
        }
    }
}

/// Whether a change took a place of [`Core::outcomes`].
pub const fn is_outcome(change: &Change) -> bool {
    match change {
        Change::Ended(_) | Change::Retry { .. } | Change::Dead { .. } => true,
        Change::Forgotten(_) | Change::Evicted(_) | Change::State(_) | Change::Dropped => false,
    }
}

impl Inner {
    /// The partition of a webhook's lane, and what the log says.
    fn part(&mut self, webhook: WebhookUid) -> Option<(&Fold, &mut Partition)> {
        let Self { fold, partitions, .. } = self;
        partitions.get_mut(partition(webhook)).map(|part| (&*fold, part))
    }

    /// A change goes to the log, after those before it.
    pub fn send(&mut self, webhook: WebhookUid, change: Change) {
        if let Some((_, part)) = self.part(webhook) {
            part.send(webhook, change);
        }
    }

    /// Whether this dispatcher may act for what it owns.
    pub fn lease_is_good(&self, now: Instant) -> bool {
        self.lease_until.is_some_and(|until| now < until)
    }

    /// Whether this dispatcher may act for a partition now.
    pub fn may_act(&self, index: usize, now: Instant) -> bool {
        self.lease_is_good(now) && self.partitions.get(index).is_some_and(|part| part.mine.is_some())
    }

    /// Whether a dispatcher is alive, as far as this one has heard: while it was in trouble itself, it
    /// may have heard nobody.
    pub fn is_alive(&self, id: &str, now: Instant) -> bool {
        let heard = self.members.get(id).map(|member| member.seen);
        heard.is_some_and(|seen| now < self.well_since.map_or(seen, |well| well.max(seen)) + LEASE)
    }

    /// The partitions that are so, each with the message that says who runs it.
    pub fn those(&self, are_so: impl Fn(&Partition) -> bool) -> Vec<(usize, u64)> {
        let all = (0..).zip(&self.partitions);
        all.filter(|(_, part)| are_so(part)).map(|(index, part)| (index, part.epoch)).collect()
    }

    /// Whether `webhook` is to be offered because of it.
    fn follow(&mut self, effect: &Effect) -> bool {
        let webhook = effect.webhook();
        let wanted = self.part(webhook).is_some_and(|(fold, part)| part.claims.follow(fold, effect));
        if matches!(effect, Effect::Dropped(_)) {
            self.offers.remove(&webhook);
        }
        wanted && self.offer(webhook)
    }

    /// Offers a webhook to whoever waits for one, if its lane is this dispatcher's to run.
    fn offer(&mut self, webhook: WebhookUid) -> bool {
        let free =
            self.part(webhook).is_some_and(|(_, part)| part.mine.is_some() && !part.claims.has(webhook));
        free && self.offers.insert(webhook)
    }

    /// Offers every webhook of a partition of which there is anything.
    fn offer_all(&mut self, index: usize) {
        let Self { fold, partitions, offers, .. } = self;
        let Some(part) = partitions.get(index) else { return };
        let has_any = |lane: &LaneRecord| !lane.entries.is_empty() || lane.state.is_some();
        let waiting = fold.lanes().filter(|(webhook, lane)| partition(*webhook) == index && has_any(lane));
        offers.extend(waiting.map(|(webhook, _)| webhook).filter(|webhook| !part.claims.has(*webhook)));
    }

    /// The lease of this dispatcher is good until then; whether that failed before.
    pub fn renewed(&mut self, until: Instant, failed: bool) {
        let was_good = self.lease_is_good(Instant::now());
        self.lease_until = Some(until);
        if failed || self.well_since.is_none() {
            self.well_since = Some(Instant::now());
        }
        if was_good {
            return;
        }
        // Whoever looked meanwhile was told that no lane is this dispatcher's.
        for (index, _) in self.those(|part| part.mine.is_some()) {
            self.offer_all(index);
        }
    }

    /// Claims a lane; `None` if it is another's, or claimed already, or has to wait.
    pub fn claim(
        &mut self,
        webhook: WebhookUid,
        ordering: Ordering,
        now: Instant,
    ) -> Option<(u64, Arc<Notify>)> {
        if !self.may_act(partition(webhook), now) {
            return None;
        }
        let generation = self.generation + 1;
        let (fold, part) = self.part(webhook)?;
        let in_order = ordering == Ordering::None || part.in_order_from.is_none_or(|from| from <= now);
        if part.leaving || !in_order || part.claims.has(webhook) {
            return None;
        }
        let changed = part.claims.add(fold, webhook, ordering, generation);
        self.generation = generation;
        self.offers.remove(&webhook);
        Some((generation, changed))
    }

    /// The claim, if it is still this one, and may be acted for.
    pub fn claimed(&mut self, webhook: WebhookUid, generation: u64) -> Option<&mut Claim> {
        self.part(webhook)?.1.claims.get(webhook, generation)
    }

    /// A lane is given back; whether it is offered again.
    pub fn unclaim(&mut self, webhook: WebhookUid, generation: u64) -> bool {
        let Some((fold, part)) = self.part(webhook) else { return false };
        let waits = fold.lane(webhook).is_some_and(|lane| !lane.entries.is_empty());
        part.claims.remove(webhook, generation) && waits && self.offer(webhook)
    }

    /// What came of a lease: from now on it is on its way. `false` if the lease is none any more.
    pub fn settle(&mut self, leased: Leased, ended: bool) -> bool {
        self.part(leased.webhook).is_some_and(|(fold, part)| part.claims.settle(fold, leased, ended))
    }

    /// Takes a delivery out of what may be leased, to end it; `false` if somebody has it, or it
    /// is ending.
    pub fn withdraw(&mut self, webhook: WebhookUid, number: Number) -> bool {
        self.part(webhook).is_some_and(|(_, part)| part.claims.withdraw(webhook, number))
    }

    /// A delivery that was withdrawn may be leased after all.
    pub fn restore(&mut self, webhook: WebhookUid, number: Number) {
        if let Some((_, part)) = self.part(webhook) {
            part.claims.restore(webhook, number);
        }
    }

    /// Whether a delivery waits for an earlier one of its user.
    pub fn is_behind(&self, webhook: WebhookUid, number: Number, user: u64) -> bool {
        let part = self.partitions.get(partition(webhook));
        part.is_some_and(|part| part.claims.is_behind(webhook, number, user))
    }

    /// Bytes that wait, of a namespace and of all, with those that are on their way to the log.
    pub fn waiting(&self, namespace: &str) -> (u64, u64) {
        let (of_it, of_all) = self.coming.bytes(namespace);
        (self.fold.queued(namespace) + of_it, self.fold.live() + of_all)
    }

    /// Answers when a message of the log was read.
    pub fn when_read(&mut self, sequence: u64, answer: oneshot::Sender<bool>) {
        if sequence <= self.position {
            let _ = answer.send(true);
        } else {
            self.awaited.push((sequence, answer));
        }
    }

    /// A message was read.
    pub fn read_to(&mut self, sequence: u64) {
        self.position = sequence;
        for (_, answer) in self.awaited.extract_if(.., |(awaited, _)| *awaited <= sequence) {
            let _ = answer.send(true);
        }
    }

    /// What a lane's holder remembers.
    pub fn state(&self, webhook: WebhookUid) -> Option<LaneState> {
        self.fold.lane(webhook).and_then(|lane| lane.state.clone())
    }

    /// Replaces it; answers when that was written and read, and not at all if it was not.
    pub fn write_state(&mut self, webhook: WebhookUid, state: LaneState) -> Option<oneshot::Receiver<bool>> {
        self.part(webhook).map(|(_, part)| part.send_and_wait(webhook, Change::State(state)))
    }
}
