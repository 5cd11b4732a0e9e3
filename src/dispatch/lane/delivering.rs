//! A lane that is claimed: leases, attempts, outcomes.
//!
//! ```text
//! next ─> ready ─> attempt ─> judge ─> settle
//!           │ in flight, rate, permits
//! ```
//!
//! Each turn looks at the newest view first, so no attempt starts by an old one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::OwnedSemaphorePermit;

use super::{End, Lane};
use crate::dispatch::attempt::{Attempt, Ended};
use crate::dispatch::gone::GoneMark;
use crate::dispatch::stats::LastFailure;
use crate::dispatch::verdict::{self, GONE, Verdict};
use crate::journal::{Journal, Lane as _, LaneState, Lease as _, Outcome, Settled};
use crate::model::Jitter;
use crate::outbound::Channel;
use crate::subscriptions::{Known, Standing};

/// How long a lane with nothing to do is kept.
const IDLE: Duration = Duration::from_secs(30);
/// How many outcomes may wait for the journal before no more attempts start.
const MOST_SETTLING: usize = 1024;

type LeaseOf<J> = <<J as Journal>::Lane as crate::journal::Lane>::Lease;

/// A lane that is claimed.
pub(super) struct Delivering<'a, J: Journal> {
    lane: &'a mut Lane<J>,
    state: Option<LaneState>,
    known: Arc<Known>,
    channel: Channel,
    /// Leased, and not tried yet.
    ready: VecDeque<LeaseOf<J>>,
    attempts: FuturesUnordered<BoxFuture<'static, Ended<LeaseOf<J>>>>,
    settling: FuturesUnordered<BoxFuture<'static, (Settled, Consequence)>>,
}

/// What an outcome means beyond its end: told when the journal has taken it.
enum Consequence {
    /// It was delivered.
    None,
    /// It is tried again.
    Retry,
    /// It is a dead letter.
    Death(&'static str, String),
}

/// What keeps the next attempt from starting.
enum Wait {
    /// Nothing is ready, or an attempt has to end first.
    Event,
    /// The webhook's rate.
    Rate(Duration),
    /// The limit on all webhooks' attempts.
    Permit,
}

impl<'a, J: Journal> Delivering<'a, J> {
    pub(super) fn new(
        lane: &'a mut Lane<J>,
        state: Option<LaneState>,
        known: Arc<Known>,
        channel: Channel,
    ) -> Self {
        Self {
            lane,
            state,
            known,
            channel,
            ready: VecDeque::new(),
            attempts: FuturesUnordered::new(),
            settling: FuturesUnordered::new(),
        }
    }

    /// Delivers until something ends it.
    pub(super) async fn run(&mut self, journal: &mut J::Lane) -> End {
        loop {
            if self.lane.shutdown.is_cancelled() {
                return End::Shutdown;
            }
            if let Some(end) = self.look() {
                return end;
            }
            let wait = self.start_ready();
            let most = usize::from(self.known.settings.policy.max_in_flight.get());
            let room = (2 * most).saturating_sub(self.ready.len() + self.attempts.len());
            let idle = self.ready.is_empty() && self.attempts.is_empty() && self.settling.is_empty();
            let permits = self.lane.shared.permits.clone();
            tokio::select! {
                biased;
                Some(ended) = self.attempts.next(), if !self.attempts.is_empty() => self.ended(journal, ended).await,
                Some((settled, consequence)) = self.settling.next(), if !self.settling.is_empty() => self.settled(settled, consequence),
                () = self.lane.shutdown.cancelled() => return End::Shutdown,
                // Waiting takes the change as seen, and it is `look` that has to see it. A webhook
                // that is gone closes its view.
                _ = self.lane.view.changed() => self.lane.view.mark_changed(),
                leases = journal.next(room), if room > 0 => match leases {
                    Ok(leases) => self.ready.extend(leases),
                    Err(_) => return End::Lost,
                },
                () = rate(&wait), if matches!(wait, Wait::Rate(_)) => {}
                permit = permits.acquire_owned(), if matches!(wait, Wait::Permit) => {
                    // Given back for `start_ready` to take: the wait was for there being one.
                    drop(permit);
                }
                () = tokio::time::sleep(IDLE), if idle => return End::Idle,
            }
        }
    }

    /// Takes note of a newer view; an end if it stops this run.
    fn look(&mut self) -> Option<End> {
        let changed = self.lane.view.has_changed().unwrap_or(true);
        if !changed && self.lane.shared.view_is_fresh() {
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
        }
        self.known = known;
        None
    }

    /// Starts what may start now.
    fn start_ready(&mut self) -> Wait {
        let most = usize::from(self.known.settings.policy.max_in_flight.get());
        while self.attempts.len() < most && self.settling.len() < MOST_SETTLING && !self.ready.is_empty() {
            // A lane is always granted one attempt, whatever the others do.
            let permit = if self.attempts.is_empty() {
                None
            } else {
                match self.lane.shared.permits.clone().try_acquire_owned() {
                    Ok(permit) => Some(permit),
                    Err(_) => return Wait::Permit,
                }
            };
            if let Some(limit) = &mut self.lane.limit
                && let Err(wait) = limit.start(Instant::now())
            {
                return Wait::Rate(wait);
            }
            if let Some(lease) = self.ready.pop_front() {
                self.start(lease, permit);
            }
        }
        Wait::Event
    }

    fn start(&mut self, lease: LeaseOf<J>, permit: Option<OwnedSemaphorePermit>) {
        let Ok(credentials) = &self.known.credentials else {
            // `look` has made sure; without credentials the lease goes back by being dropped.
            return;
        };
        let now = self.lane.shared.clock.now();
        let attempt = Attempt::new(lease, &self.known, credentials, now);
        self.lane.shared.metrics.in_flight.inc();
        self.attempts.push(Box::pin(attempt.run(
            self.channel.clone(),
            self.known.settings.policy.timeout,
            permit,
        )));
    }

    async fn ended(&mut self, journal: &mut J::Lane, ended: Ended<LeaseOf<J>>) {
        let shared = self.lane.shared.clone();
        let now = shared.clock.now();
        let metrics = &shared.metrics;
        metrics.in_flight.dec();
        metrics.attempt_seconds.observe(ended.took.as_secs_f64());
        let verdict = verdict::judge(&ended.end, now);
        let failures = ended.lease.delivery().failures;
        let outcome = verdict::next(&verdict, failures, &self.known.settings.policy, Jitter::draw());
        let reason = match &verdict {
            Verdict::Delivered => {
                metrics.delivered.inc();
                let accepted_at = ended.lease.delivery().accepted_at;
                metrics.latency_seconds.observe(shared.clock.now().since(accepted_at).as_secs_f64());
                self.lane.stats.success(now);
                ""
            }
            Verdict::Gone => GONE,
            Verdict::Failed(failed) => failed.reason.as_str(),
        };
        if !reason.is_empty() {
            metrics.failed(reason);
            let message = match &verdict {
                Verdict::Failed(failed) => failed.message.clone(),
                Verdict::Gone | Verdict::Delivered => "the endpoint answered 410 Gone".to_owned(),
            };
            self.lane.stats.failure(LastFailure { at: now, reason, message });
        }
        let consequence = match &outcome {
            Outcome::Done | Outcome::Release => Consequence::None,
            Outcome::Retry { .. } => Consequence::Retry,
            Outcome::Dead(note) => Consequence::Death(reason, note.message.clone()),
        };
        let lease = ended.lease;
        self.settling.push(Box::pin(async move { (lease.settle(outcome).await, consequence) }));
        if verdict == Verdict::Gone && ended.known.settings.uri == self.known.settings.uri {
            self.mark_gone(journal, &ended.known).await;
        }
    }

    async fn mark_gone(&mut self, journal: &mut J::Lane, known: &Known) {
        let Some(mark) = GoneMark::of(known) else {
            return;
        };
        if self.lane.gone.as_ref() == Some(&mark) {
            return;
        }
        tracing::warn!(
            namespace = known.object.namespace,
            webhook = known.object.name,
            "the endpoint answered 410 Gone; what is queued for it is held"
        );
        let new = GoneMark::store(Some(mark.clone()));
        self.lane.gone = Some(mark);
        if let Ok(true) = journal.compare_and_set(self.state.as_ref(), new.clone()).await {
            self.state = Some(new);
        }
        // Look again at once: the mark is part of the standing.
        self.lane.view.mark_changed();
    }

    fn settled(&self, settled: Settled, consequence: Consequence) {
        self.lane.shared.board.settled(self.lane.uid, &self.lane.stats);
        let metrics = &self.lane.shared.metrics;
        match (settled, consequence) {
            (Settled::Ok, Consequence::None) => {}
            (Settled::Ok, Consequence::Retry) => {
                metrics.retried.inc();
            }
            (Settled::Ok, Consequence::Death(reason, message)) => {
                metrics.dead(reason);
                tracing::warn!(
                    namespace = self.known.object.namespace,
                    webhook = self.known.object.name,
                    reason,
                    message,
                    "a delivery became a dead letter"
                );
            }
            (Settled::Stale, _) => tracing::info!(webhook = %self.lane.uid, "an outcome came too late"),
            (Settled::Unknown, _) => {
                tracing::warn!(webhook = %self.lane.uid, "the journal may have missed an outcome");
            }
        }
    }

    /// Lets what runs end; gives back what has not begun.
    pub(super) async fn drain(&mut self, journal: &mut J::Lane) {
        self.ready.clear();
        while let Some(ended) = self.attempts.next().await {
            self.ended(journal, ended).await;
        }
        while let Some((settled, consequence)) = self.settling.next().await {
            self.settled(settled, consequence);
        }
    }
}

async fn rate(wait: &Wait) {
    match wait {
        Wait::Rate(duration) => tokio::time::sleep(*duration).await,
        Wait::Event | Wait::Permit => std::future::pending().await,
    }
}
