//! Takes one delivery after another of a lane to its endpoint: a task.
//!
//! ```text
//! lane ── job ──> attempt ─> judge ─> settle ── the next that is ready ──┐
//!          ^         ^                    │                              │
//!          │         └────────────────────┼──────────────────────────────┘
//!          └───────────── idle <──────────┘ nothing ready, or something to decide
//! ```
//!
//! Runners spread a lane over all cores, and spare its task a turn for each
//! delivery. A runner goes on by itself only while the view is the one that its
//! job began with, and nothing asks for a decision; everything else is the lane's.

use std::sync::Arc;
use std::time::Instant;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::OwnedSemaphorePermit;

use super::work::{Job, LeaseOf, Terms, Work};
use crate::dispatch::request::Sender;
use crate::dispatch::stats::LastFailure;
use crate::dispatch::verdict::{self, Verdict};
use crate::journal::{Journal, Lease as _, Outcome, Settled};
use crate::model::Jitter;

/// Runs until the lane lets it go.
pub(super) async fn run<J: Journal>(work: Arc<Work<J>>, mut job: Job<J>) {
    loop {
        deliver(&work, job).await;
        // An idle runner is memory, and so their number is bounded.
        let place = work.shared.idle_runners.try_acquire().ok();
        let Some(next) = work.rest(place.is_some()) else { return };
        let Ok(next) = next.await else { return };
        job = next;
    }
}

/// Tries one delivery after another until nothing is ready, or there is something to decide.
async fn deliver<J: Journal>(work: &Work<J>, job: Job<J>) {
    let Job { mut lease, terms, permit } = job;
    let runner = Runner { work, terms, permit };
    loop {
        runner.attempt(lease).await;
        if !runner.goes_on() {
            return;
        }
        let Some(next) = work.take() else { return };
        lease = next;
    }
}

/// A runner with something to do.
struct Runner<'a, J: Journal> {
    work: &'a Work<J>,
    terms: Terms,
    permit: Option<OwnedSemaphorePermit>,
}

impl<J: Journal> Runner<'_, J> {
    /// Whether the next attempt needs no decision of the lane.
    fn goes_on(&self) -> bool {
        let shared = &self.work.shared;
        // Who waits for a permit gets this one.
        let wanted = self.permit.is_some() && shared.permits.available_permits() == 0;
        !self.terms.limited
            && !wanted
            && !self.work.is_halted()
            && !self.work.is_open()
            && !self.terms.view.has_changed().unwrap_or(true)
            && shared.view_is_fresh()
    }

    /// Tries one delivery, and tells the journal what came of it.
    async fn attempt(&self, lease: LeaseOf<J>) {
        let known = &self.terms.known;
        let Ok(credentials) = &known.credentials else {
            // The lane has made sure; without credentials the lease goes back by being dropped.
            return;
        };
        let shared = &*self.work.shared;
        let metrics = &shared.metrics;
        let sender = Sender {
            webhook: known.uid,
            payload: known.settings.payload,
            api_key: &credentials.api_key,
            signing: credentials.signing.as_ref(),
        };
        let request = sender.request(&lease.delivery().event, shared.clock.now(), None);
        let policy = &known.settings.policy;
        let started = Instant::now();
        let exchange = {
            let _in_flight = InFlight::new(&metrics.in_flight);
            self.terms.channel.exchange(request, policy.timeout).await
        };
        metrics.attempt_seconds.observe(started.elapsed().as_secs_f64());
        let now = shared.clock.now();
        let verdict = verdict::judge(&exchange.end, now);
        // Before anything else, so that nothing more starts.
        match &verdict {
            Verdict::Delivered => self.work.delivered(),
            Verdict::Failed(failed) => self.work.failed(&lease, failed, &self.terms),
            Verdict::Gone => self.work.gone(known.clone()),
        }
        let outcome = verdict::next(&verdict, lease.delivery().failures, policy, Jitter::draw());
        let failure = verdict.failure();
        if let Some((reason, message)) = failure {
            metrics.failed(reason);
            self.work.stats.failure(LastFailure { at: now, reason, message: message.to_owned() });
        } else {
            metrics.delivered.inc();
            let latency = now.since(lease.delivery().accepted_at);
            metrics.latency_seconds.observe(latency.as_secs_f64());
            self.work.stats.success(now);
        }
        let consequence = match (&outcome, failure) {
            (Outcome::Dead(note), Some((reason, _))) => Consequence::Death(reason, note.message.clone()),
            (Outcome::Retry { .. }, _) => Consequence::Retry,
            (Outcome::Done | Outcome::Release | Outcome::Dead(_), _) => Consequence::None,
        };
        let settled = lease.settle(outcome).await;
        self.settled(settled, consequence);
    }

    fn settled(&self, settled: Settled, consequence: Consequence) {
        let work = &self.work;
        work.shared.board.settled(work.uid, &work.stats);
        let metrics = &work.shared.metrics;
        match (settled, consequence) {
            (Settled::Ok, Consequence::None) => {}
            (Settled::Ok, Consequence::Retry) => {
                metrics.retried.inc();
            }
            (Settled::Ok, Consequence::Death(reason, message)) => {
                metrics.dead(reason);
                tracing::warn!(
                    namespace = self.terms.known.object.namespace,
                    webhook = self.terms.known.object.name,
                    reason,
                    message,
                    "a delivery became a dead letter"
                );
            }
            (Settled::Stale, _) => tracing::info!(webhook = %work.uid, "an outcome came too late"),
            (Settled::Unknown, _) => {
                tracing::warn!(webhook = %work.uid, "the journal may have missed an outcome");
            }
        }
    }
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

/// Counts an attempt as in flight, also when its task is ended.
struct InFlight<'a>(&'a Gauge);

impl<'a> InFlight<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
