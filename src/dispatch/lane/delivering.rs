//! A lane that is claimed: leases, and runners that try them.
//!
//! ```text
//! next ─> ready ─> runner: attempt ─> judge ─> settle, again and again
//!           │ in flight, rate, share, room at the destination
//! ```
//!
//! Each turn looks at the newest view first, and so does each runner before its
//! next attempt: no attempt starts by an old one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};

use super::room::{Asked, Room, SLOW};
use super::work::{Counts, Terms, Work};
use super::{End, Lane, runner};
use crate::api::DeliveringReason;
use crate::dispatch::circuit::{self, Permission};
use crate::dispatch::memory::{Mark, Memory};
use crate::journal::{Journal, Lane as _, LaneState};
use crate::model::{Clock, Timestamp};
use crate::outbound::{Channel, Limit};
use crate::subscriptions::{Known, Standing};

/// How long a lane with nothing to do is kept.
const IDLE: Duration = Duration::from_secs(30);
/// Of so many events the probe of an open circuit takes one, whatever the webhook's own limit.
const PROBE_CHOICE: usize = 8;
/// How often a lane that has its share of all attempts looks whether that is more now.
const SHARE_AGAIN: Duration = Duration::from_millis(100);

/// A lane that is claimed.
pub(super) struct Delivering<'a, J: Journal> {
    lane: &'a mut Lane<J>,
    state: Option<LaneState>,
    known: Arc<Known>,
    channel: Channel,
    work: Arc<Work<J>>,
    runners: JoinSet<()>,
    /// When the next attempt may start, while the webhook does not succeed.
    turn: Option<Instant>,
    room: Room,
}

/// What keeps the next attempt from starting.
enum Wait {
    /// Nothing is ready, or an attempt has to end first.
    Event,
    /// The webhook's rate, or its turn.
    Moment(Duration),
    /// The next probe of an open circuit.
    Probe(Duration),
    /// The webhook's share of all attempts.
    Share,
    /// Room at the webhook's destination.
    Room,
}

impl Wait {
    async fn over(self, clock: &Clock) {
        match self {
            Self::Event => std::future::pending().await,
            Self::Moment(duration) => tokio::time::sleep(duration).await,
            Self::Probe(duration) => clock.sleep(duration).await,
            Self::Share => tokio::time::sleep(SHARE_AGAIN).await,
            // Then that is to be told; what it waits for comes by itself.
            Self::Room => tokio::time::sleep(SLOW).await,
        }
    }
}

impl<'a, J: Journal> Delivering<'a, J> {
    pub(super) fn new(
        lane: &'a mut Lane<J>,
        state: Option<LaneState>,
        known: Arc<Known>,
        channel: Channel,
    ) -> Self {
        let circuit = lane.memory.circuit(&known);
        let work = Work::new(lane.shared.clone(), lane.uid, lane.stats.clone(), circuit);
        Self { lane, state, known, channel, work, runners: JoinSet::new(), turn: None, room: Room::default() }
    }

    /// Delivers until something ends it.
    pub(super) async fn run(&mut self, journal: &mut J::Lane) -> End {
        let mut idle = tokio::time::interval(IDLE);
        let mut was_idle = false;
        loop {
            if self.lane.shutdown.is_cancelled() {
                return End::Shutdown;
            }
            if let Some(known) = self.work.take_gone() {
                self.mark_gone(journal, &known).await;
            }
            if let Some(end) = self.look() {
                return end;
            }
            if self.work.circuit_changed() {
                self.note_circuit(journal).await;
            }
            self.work.resume();
            let wait = self.start_ready();
            self.tell_whether_slowed();
            let (most, Counts { ready, busy }) = (self.ahead(), self.work.counts());
            // As many as may run at one time are read ahead, in large pieces.
            let room = if ready <= most / 2 { most - ready } else { 0 };
            // What is asked for takes no more than half of the places beside what is queued.
            let errands_room = (most - ready.min(most)).min(most.div_ceil(2));
            // An open circuit is said to hold the webhook until this lane sees its endpoint proved anew.
            was_idle &= ready == 0 && busy == 0 && !self.work.is_open();
            tokio::select! {
                biased;
                () = self.lane.shutdown.cancelled() => return End::Shutdown,
                // Waiting takes the change as seen, and it is `look` that has to see it. A webhook
                // that is gone closes its view.
                _ = self.lane.view.changed() => self.lane.view.mark_changed(),
                leases = journal.next(room), if room > 0 => match leases {
                    Ok(leases) => {
                        was_idle = false;
                        self.work.add(leases, most / 2);
                    }
                    Err(_) => return End::Lost,
                },
                errands = self.lane.shared.errands.next(self.lane.uid, errands_room), if errands_room > 0 => {
                    was_idle = false;
                    self.work.add_errands(errands);
                }
                () = self.work.decide.notified() => {}
                () = self.room.comes() => {}
                () = wait.over(&self.lane.shared.clock) => {}
                Some(ended) = self.runners.join_next(), if !self.runners.is_empty() => {
                    if !self.ended_well(ended) {
                        return End::Lost;
                    }
                }
                _ = idle.tick() => {
                    if was_idle {
                        return End::Idle;
                    }
                    was_idle = true;
                }
            }
        }
    }

    fn most(&self) -> usize {
        usize::from(self.known.settings.policy.max_in_flight.get())
    }

    /// How many are read ahead: enough for a probe to have a choice.
    fn ahead(&self) -> usize {
        if self.work.is_open() { self.most().max(PROBE_CHOICE) } else { self.most() }
    }

    /// Takes note of a newer view; an end if it stops this run.
    fn look(&mut self) -> Option<End> {
        let changed = self.lane.view.has_changed().unwrap_or(true);
        if !changed && self.lane.shared.view_is_fresh(&self.known.object.namespace) {
            return None;
        }
        let Standing::Sendable(known) = self.lane.standing() else {
            return Some(End::Changed);
        };
        let (old, new) = (&self.known.settings, &known.settings);
        if old.policy.ordering != new.policy.ordering {
            return Some(End::Changed);
        }
        self.lane.limit_to(new.policy.max_per_second);
        let tls = |known: &Known| known.credentials.as_ref().ok().map(|c| c.tls.clone());
        if old.uri != new.uri || tls(&self.known) != tls(&known) {
            let Some(channel) = self.lane.channel(&known) else {
                return Some(End::Lost);
            };
            self.channel = channel;
            // What there was no room for was the other's.
            drop(self.work.take_no_room());
            self.room.leave();
        }
        if Mark::of(&self.known) != Mark::of(&known) {
            self.work.reset_circuit();
        }
        self.known = known;
        None
    }

    /// Starts what may start now.
    fn start_ready(&mut self) -> Wait {
        if let Some(no_room) = self.work.take_no_room() {
            self.room.wait_for(no_room, Instant::now());
        }
        let wait = self.start_while_ready();
        if !matches!(wait, Wait::Room) {
            self.room.leave();
        }
        wait
    }

    fn start_while_ready(&mut self) -> Wait {
        let most = self.most();
        loop {
            let Counts { ready, busy } = self.work.counts();
            if ready == 0 || busy >= most || self.work.is_halted() {
                return Wait::Event;
            }
            let permission = self.work.permission(busy);
            match permission {
                Permission::Free | Permission::Probe { .. } => {}
                Permission::At(moment) => {
                    return Wait::Probe(circuit::until(moment, self.lane.shared.journal.now()));
                }
                Permission::AfterProbe => return Wait::Event,
            }
            let now = Instant::now();
            let (waited, more) = match self.room.ask(now) {
                Asked::Granted(waited) => (waited, true),
                // One that needs no new connection goes before the lane's turn for another.
                Asked::Waits(Limit::Connects) if self.channel.has_idle() => (None, false),
                Asked::Waits(_) => return Wait::Room,
            };
            let (places, succeeds) = (&self.lane.shared.places, self.lane.stats.succeeds());
            // A lane is always granted one attempt, whatever the others do.
            let place = if busy == 0 {
                None
            } else {
                let Some(place) = places.take(busy, succeeds) else { return Wait::Share };
                Some(place)
            };
            if !succeeds {
                let turn = *self.turn.get_or_insert_with(|| places.turn(now));
                if turn > now {
                    return Wait::Moment(turn - now);
                }
            }
            let pass = match self.channel.admit(waited) {
                Ok(pass) => pass,
                Err(no_room) => {
                    self.room.wait_for(no_room, now);
                    return Wait::Room;
                }
            };
            if let Some(limit) = &mut self.lane.limit
                && let Err(wait) = limit.start(now)
            {
                return Wait::Moment(wait);
            }
            self.turn = None;
            let terms = Terms {
                known: self.known.clone(),
                channel: self.channel.clone(),
                view: self.lane.view.clone(),
                limited: self.lane.limit.is_some(),
            };
            if let Some(job) = self.work.hand_out(terms, place, pass, permission) {
                self.runners.spawn(runner::run(self.work.clone(), job));
            }
            if !more {
                return Wait::Room;
            }
        }
    }

    fn tell_whether_slowed(&self) {
        let by = self.room.slowed_by(Instant::now());
        self.lane.shared.board.slow(self.lane.uid, &self.lane.stats, by);
    }

    /// The endpoint of this version of the webhook said 410.
    async fn mark_gone(&mut self, journal: &mut J::Lane, known: &Known) {
        if known.settings.uri != self.known.settings.uri {
            return;
        }
        let Some(mark) = Mark::of(known) else {
            return;
        };
        if self.lane.memory.gone.as_ref() == Some(&mark) {
            return;
        }
        tracing::warn!(
            namespace = known.object.namespace,
            webhook = known.object.name,
            "the endpoint answered 410 Gone; what is queued for it is held"
        );
        self.remember(journal, |memory| memory.gone = Some(mark)).await;
        // Look again at once: the mark is part of the standing.
        self.lane.view.mark_changed();
    }

    /// The circuit has opened, closed, or a probe has failed.
    async fn note_circuit(&mut self, journal: &mut J::Lane) {
        let shared = &self.lane.shared;
        let open = self.work.open_circuit();
        let held = open.as_ref().map(|open| {
            let wait = open.probe_at().since(shared.journal.now());
            // To the second, as people read it.
            let probe_at = Timestamp::from_millis(shared.clock.now().after(wait).as_secs() * 1000);
            (DeliveringReason::CircuitOpen, open.message(shared.circuit_threshold, probe_at))
        });
        if open.is_some() != self.lane.memory.circuit(&self.known).is_some() {
            let (namespace, webhook) = (&self.known.object.namespace, &self.known.object.name);
            if let Some((_, message)) = &held {
                shared.metrics.circuits_opened.inc();
                tracing::warn!(namespace, webhook, message, "the circuit opened");
            } else {
                tracing::info!(namespace, webhook, "the circuit closed");
            }
        }
        shared.board.hold(self.lane.uid, &self.lane.stats, held);
        let circuit = Mark::of(&self.known).zip(open);
        self.remember(journal, |memory| memory.circuit = circuit).await;
    }

    /// Keeps what was found out of the endpoint. Where that fails the lane is
    /// lost, and its next holder finds it out again.
    async fn remember(&mut self, journal: &mut J::Lane, change: impl FnOnce(&mut Memory)) {
        let before = self.lane.memory.clone();
        change(&mut self.lane.memory);
        if self.lane.memory == before {
            return;
        }
        let new = self.lane.memory.store();
        if let Ok(true) = journal.compare_and_set(self.state.as_ref(), new.clone()).await {
            self.state = Some(new);
        }
    }

    /// Whether a runner ended because it was let go. If not, its lease went back to the journal.
    fn ended_well(&self, ended: Result<(), JoinError>) -> bool {
        ended
            // What a panic said is in the log already, as far as it may be.
            .inspect_err(|_| tracing::error!(webhook = %self.lane.uid, "an attempt's task panicked"))
            .is_ok()
    }

    /// Lets what runs end; gives back what has not begun.
    pub(super) async fn drain(&mut self, journal: &mut J::Lane) {
        self.room.leave();
        self.tell_whether_slowed();
        self.work.close();
        while let Some(ended) = self.runners.join_next().await {
            self.ended_well(ended);
        }
        if let Some(known) = self.work.take_gone() {
            self.mark_gone(journal, &known).await;
        }
    }
}
