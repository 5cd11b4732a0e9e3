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

use std::collections::{BTreeSet, HashMap, HashSet};
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
use super::line::Line;
use super::names::{Names, PARTITIONS, partition};
use super::snapshot::Snapshot;
use super::source::Source;
use super::wire::{Change, Number};
use crate::journal::calendar::Calendar;
use crate::journal::clock::JournalClock;
use crate::journal::metrics::Metrics;
use crate::journal::{LaneState, Unavailable};
use crate::model::{Event, EventKey, Ordering, Timestamp, WebhookUid};

/// How long a dispatcher is taken for alive after it last said so.
pub const LEASE: Duration = Duration::from_secs(8);

/// For so long after another dispatcher's lease has ended, an attempt that it began may still
/// run: the longest timeout that a webhook may have.
pub const LAST_ATTEMPT: Duration = Duration::from_secs(30);

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
    pub partitions: Vec<Partition>,
    claims: HashMap<WebhookUid, Claim>,
    /// Deliveries whose outcome is on its way to the log, and whether they end by it.
    settling: HashMap<WebhookUid, HashSet<Number>>,
    offers: BTreeSet<WebhookUid>,
    coming: Coming,
    /// Who waits until a message is read.
    awaited: Vec<(u64, oneshot::Sender<bool>)>,
    generation: u64,
}

/// Events on their way to the log.
#[derive(Default)]
struct Coming {
    by_key: HashMap<EventKey, (Arc<str>, u64)>,
    /// Their bytes, by namespace.
    bytes: HashMap<Arc<str>, u64>,
    all: u64,
}

/// Another dispatcher, or this one.
pub struct Member {
    /// When this dispatcher read that it is alive.
    pub seen: Instant,
    /// What it had read of the log then.
    pub position: u64,
}

/// A partition of the lanes.
pub struct Partition {
    /// Who runs it, as the log says; `None` if it was given back, or never run.
    pub owner: Option<String>,
    /// The sequence of the message that says so: what writes of its owner depend on. 0 if none.
    pub epoch: u64,
    /// It is this dispatcher's, under this epoch.
    pub mine: Option<u64>,
    /// It is about to be given back: nothing new is leased.
    pub leaving: bool,
    /// Lanes with per-user order wait until then for attempts of who had it before.
    pub in_order_from: Option<Instant>,
    outbox: Vec<(WebhookUid, Change)>,
    answers: Vec<oneshot::Sender<bool>>,
    /// Somebody writes what was in the outbox.
    pub writing: bool,
    /// How many times it was lost: what was to be written before then is not.
    term: u64,
    pub wake: Arc<Notify>,
}

/// A lane that is claimed here.
pub struct Claim {
    pub generation: u64,
    pub line: Line,
    pub changed: Arc<Notify>,
}

impl Core {
    /// Of a log that was not read yet.
    pub fn new(
        config: Config,
        clock: JournalClock,
        client: Client,
        names: Names,
        me: String,
        [log, letters, attempts, snapshots]: [Source; 4],
    ) -> Self {
        let bodies = Bodies::new(log.clone(), config.recent_bytes);
        let fold = Fold::new(config.window);
        let partition = || Partition {
            owner: None,
            epoch: 0,
            mine: None,
            leaving: false,
            in_order_from: None,
            outbox: Vec::new(),
            answers: Vec::new(),
            writing: false,
            term: 0,
            wake: Arc::default(),
        };
        let inner = Inner {
            fold,
            position: 0,
            members: HashMap::new(),
            lease_until: None,
            partitions: (0..PARTITIONS).map(|_| partition()).collect(),
            claims: HashMap::new(),
            settling: HashMap::new(),
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
            metrics: Metrics::default(),
            shutdown: CancellationToken::new(),
            writers_end: CancellationToken::new(),
            room: Semaphore::new(WAITING_BYTES),
            outcomes: Semaphore::new(OUTCOMES),
            moved: Notify::new(),
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
    pub fn is_open(&self) -> bool {
        self.caught_up()
            && self.client.connection_state() == async_nats::connection::State::Connected
            && !self.shutdown.is_cancelled()
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
        now.before(self.config.retention)
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
        part.mine = None;
        part.leaving = false;
        part.term += 1;
        let lost = mem::take(&mut part.outbox);
        self.outcomes.add_permits(lost.iter().filter(|(_, change)| is_outcome(change)).count());
        part.answers.clear();
        part.wake.notify_one();
        inner.settling.retain(|webhook, _| partition(*webhook) != index);
        inner.claims.retain(|webhook, claim| {
            let lost = partition(*webhook) == index;
            if lost {
                claim.changed.notify_one();
            }
            !lost
        });
        inner.offers.retain(|webhook| partition(*webhook) != index);
        self.moved.notify_waiters();
    }

    /// The log says who runs a partition from now on.
    pub fn own(&self, inner: &mut Inner, index: usize, epoch: u64, owner: Option<&str>) {
        let Some(part) = inner.partitions.get_mut(index) else { return };
        let before = mem::replace(&mut part.owner, owner.map(str::to_owned));
        part.epoch = epoch;
        let mine = owner == Some(self.me.as_str());
        match (part.mine, mine) {
            (None, false) => {}
            (Some(_), true) => part.mine = Some(epoch),
            (Some(_), false) => {
                tracing::warn!(partition = index, owner, "another dispatcher has taken a partition over");
                self.lose(inner, index);
            }
            // All that the last owner wrote was read by now.
            (None, true) => {
                part.mine = Some(epoch);
                part.leaving = false;
                // It was not given back: attempts of its owner may still run.
                part.in_order_from = before.map(|_| Instant::now() + LAST_ATTEMPT);
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

/// What a partition's writer takes at a time.
pub struct Outgoing {
    pub term: u64,
    pub changes: Vec<(WebhookUid, Change)>,
    pub answers: Vec<oneshot::Sender<bool>>,
}

impl Inner {
    /// A change goes to the log, after those before it.
    pub fn send(&mut self, webhook: WebhookUid, change: Change) {
        if let Some(part) = self.partitions.get_mut(partition(webhook)) {
            part.outbox.push((webhook, change));
            part.wake.notify_one();
        }
    }

    /// As [`Self::send`]; answers when it was written and read, and not at all if it was not.
    pub fn send_and_wait(&mut self, webhook: WebhookUid, change: Change) -> oneshot::Receiver<bool> {
        let (answer, written) = oneshot::channel();
        if let Some(part) = self.partitions.get_mut(partition(webhook)) {
            part.answers.push(answer);
        }
        self.send(webhook, change);
        written
    }

    /// Whether this dispatcher may act for a partition now.
    pub fn may_act(&self, index: usize, now: Instant) -> bool {
        self.lease_until.is_some_and(|until| now < until)
            && self.partitions.get(index).is_some_and(|part| part.mine.is_some())
    }

    /// The partitions that are so, each with the message that says who runs it.
    pub fn those(&self, are_so: impl Fn(&Partition) -> bool) -> Vec<(usize, u64)> {
        let all = (0..).zip(&self.partitions);
        all.filter(|(_, part)| are_so(part)).map(|(index, part)| (index, part.epoch)).collect()
    }

    /// What is to be written of a partition; `None` if there is nothing, or it is another's.
    pub fn take_outbox(&mut self, index: usize, most: usize) -> Option<Outgoing> {
        let part = self.partitions.get_mut(index)?;
        part.mine?;
        let mut weight = 0;
        let fits = |(_, change): &&(WebhookUid, Change)| {
            weight += change.weight();
            weight <= most
        };
        let count = part.outbox.iter().take_while(fits).count().max(1).min(part.outbox.len());
        if count == 0 {
            return None;
        }
        let rest = part.outbox.split_off(count);
        let changes = mem::replace(&mut part.outbox, rest);
        // Whoever waits, waits for all that was sent before.
        let answers = if part.outbox.is_empty() { mem::take(&mut part.answers) } else { Vec::new() };
        part.writing = true;
        Some(Outgoing { term: part.term, changes, answers })
    }

    /// The number of the ownership under which something of this term may be written; `None` if it
    /// may not any more.
    pub fn epoch(&self, index: usize, term: u64) -> Option<u64> {
        self.partitions.get(index).filter(|part| part.term == term).and_then(|part| part.mine)
    }

    /// Whether nothing of a partition is leased or on its way.
    pub fn is_quiet(&self, index: usize) -> bool {
        let part = self.partitions.get(index);
        let leased = self
            .claims
            .iter()
            .any(|(webhook, claim)| partition(*webhook) == index && claim.line.leased() > 0);
        !leased && part.is_some_and(|part| part.outbox.is_empty() && !part.writing)
    }

    /// Whether `webhook` is to be offered because of it.
    fn follow(&mut self, effect: &Effect) -> bool {
        match *effect {
            Effect::Added(webhook, number) => {
                let Some(entry) = self.fold.lane(webhook).and_then(|lane| lane.entries.get(&number)) else {
                    return false;
                };
                if let Some(claim) = self.claims.get_mut(&webhook) {
                    claim.line.add(number, entry.user, entry.at);
                    claim.changed.notify_one();
                    return false;
                }
                self.offer(webhook)
            }
            Effect::Ended(webhook, number, user) => {
                self.settled(webhook, number);
                let Self { fold, claims, .. } = self;
                if let Some(claim) = claims.get_mut(&webhook) {
                    claim.line.end(number, user, |next| due(fold, webhook, next));
                    claim.changed.notify_one();
                }
                false
            }
            Effect::Retried(webhook, number, at) => {
                self.settled(webhook, number);
                if let Some(claim) = self.claims.get_mut(&webhook) {
                    claim.line.retry(number, at);
                    claim.changed.notify_one();
                    return false;
                }
                self.offer(webhook)
            }
            Effect::Dropped(webhook) => {
                self.settling.remove(&webhook);
                self.offers.remove(&webhook);
                if let Some(claim) = self.claims.remove(&webhook) {
                    claim.changed.notify_one();
                }
                false
            }
        }
    }

    fn settled(&mut self, webhook: WebhookUid, number: Number) {
        if let Some(numbers) = self.settling.get_mut(&webhook) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.settling.remove(&webhook);
            }
        }
    }

    /// Offers a webhook to whoever waits for one, if its lane is this dispatcher's to run.
    fn offer(&mut self, webhook: WebhookUid) -> bool {
        let mine = self.partitions.get(partition(webhook)).is_some_and(|part| part.mine.is_some());
        mine && !self.claims.contains_key(&webhook) && self.offers.insert(webhook)
    }

    /// Offers every webhook of a partition of which there is anything.
    fn offer_all(&mut self, index: usize) {
        let has_any = |lane: &LaneRecord| !lane.entries.is_empty() || lane.state.is_some();
        let waiting =
            self.fold.lanes().filter(|(webhook, lane)| partition(*webhook) == index && has_any(lane));
        let waiting: Vec<_> = waiting.map(|(webhook, _)| webhook).collect();
        self.offers.extend(waiting.into_iter().filter(|webhook| !self.claims.contains_key(webhook)));
    }

    /// The lease of this dispatcher is good until then.
    pub fn renewed(&mut self, until: Instant) {
        let was_good = self.lease_until.is_some_and(|until| Instant::now() < until);
        self.lease_until = Some(until);
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
        let index = partition(webhook);
        let part = self.partitions.get(index)?;
        let in_order = ordering == Ordering::None || part.in_order_from.is_none_or(|from| from <= now);
        if !self.may_act(index, now) || part.leaving || !in_order || self.claims.contains_key(&webhook) {
            return None;
        }
        self.generation += 1;
        let mut line = Line::new(ordering);
        let settling = self.settling.get(&webhook);
        if let Some(lane) = self.fold.lane(webhook) {
            for (number, entry) in &lane.entries {
                if settling.is_some_and(|settling| settling.contains(number)) {
                    line.add_settled(*number, entry.user);
                } else {
                    line.add(*number, entry.user, entry.at);
                }
            }
        }
        self.offers.remove(&webhook);
        let changed = Arc::new(Notify::new());
        let claim = Claim { generation: self.generation, line, changed: Arc::clone(&changed) };
        self.claims.insert(webhook, claim);
        Some((self.generation, changed))
    }

    /// The claim, if it is still this one, and may be acted for.
    pub fn claimed(&mut self, webhook: WebhookUid, generation: u64) -> Option<&mut Claim> {
        self.claims.get_mut(&webhook).filter(|claim| claim.generation == generation)
    }

    /// A lane is given back; whether it is offered again.
    pub fn unclaim(&mut self, webhook: WebhookUid, generation: u64) -> bool {
        if self.claimed(webhook, generation).is_none() {
            return false;
        }
        self.claims.remove(&webhook);
        let waits = self.fold.lane(webhook).is_some_and(|lane| !lane.entries.is_empty());
        waits && self.offer(webhook)
    }

    /// What came of a lease: from now on it is on its way. `false` if the lease is none any more.
    pub fn settle(
        &mut self,
        webhook: WebhookUid,
        generation: u64,
        number: Number,
        user: u64,
        ended: bool,
    ) -> bool {
        let Self { fold, claims, settling, .. } = self;
        let claim = claims.get_mut(&webhook).filter(|claim| claim.generation == generation);
        let Some(claim) = claim.filter(|claim| claim.line.is_leased(number)) else {
            return false;
        };
        claim.line.settle(number, user, ended, |next| due(fold, webhook, next));
        settling.entry(webhook).or_default().insert(number);
        claim.changed.notify_one();
        true
    }

    /// Takes a delivery out of what may be leased, to end it; `false` if somebody has it, or it
    /// is ending.
    pub fn withdraw(&mut self, webhook: WebhookUid, number: Number) -> bool {
        let claim = self.claims.get_mut(&webhook);
        if claim.as_ref().is_some_and(|claim| claim.line.is_leased(number)) {
            return false;
        }
        if let Some(claim) = claim {
            claim.line.withdraw(number);
        }
        self.settling.entry(webhook).or_default().insert(number)
    }

    /// A delivery that was withdrawn may be leased after all.
    pub fn restore(&mut self, webhook: WebhookUid, number: Number) {
        self.settled(webhook, number);
        if let Some(claim) = self.claims.get_mut(&webhook) {
            claim.line.release(number);
            claim.changed.notify_one();
        }
    }

    /// Whoever waits for a lane of the partition looks at it again.
    pub fn wake_claims(&self, index: usize) {
        for (webhook, claim) in &self.claims {
            if partition(*webhook) == index {
                claim.changed.notify_one();
            }
        }
    }

    /// Whether a delivery waits for an earlier one of its user.
    pub fn is_behind(&self, webhook: WebhookUid, number: Number, user: u64) -> bool {
        self.claims.get(&webhook).is_some_and(|claim| claim.line.is_behind(number, user))
    }

    /// Bytes that wait, of a namespace and of all, with those that are on their way to the log.
    pub fn waiting(&self, namespace: &str) -> (u64, u64) {
        let coming = self.coming.bytes.get(namespace).copied().unwrap_or(0);
        (self.fold.queued(namespace) + coming, self.fold.live() + self.coming.all)
    }

    /// Whether an event is on its way to the log.
    pub fn is_coming(&self, key: &EventKey) -> bool {
        self.coming.by_key.contains_key(key)
    }

    /// From now on it is.
    pub fn comes(&mut self, key: EventKey, namespace: &Arc<str>, bytes: u64) {
        self.coming.by_key.insert(key, (Arc::clone(namespace), bytes));
        *self.coming.bytes.entry(Arc::clone(namespace)).or_default() += bytes;
        self.coming.all += bytes;
    }

    /// It was read, or is not coming; whether it was.
    pub fn came(&mut self, key: &EventKey) -> bool {
        let Some((namespace, bytes)) = self.coming.by_key.remove(key) else { return false };
        self.coming.all = self.coming.all.saturating_sub(bytes);
        if let Some(left) = self.coming.bytes.get_mut(&namespace) {
            *left = left.saturating_sub(bytes);
            if *left == 0 {
                self.coming.bytes.remove(&namespace);
            }
        }
        true
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
}

fn due(fold: &Fold, webhook: WebhookUid, number: Number) -> Option<Timestamp> {
    fold.lane(webhook).and_then(|lane| lane.entries.get(&number)).and_then(|entry| entry.at)
}
