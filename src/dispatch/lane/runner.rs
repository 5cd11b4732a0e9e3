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
//! job began with, nothing asks for a decision, and its destination has room;
//! everything else is the lane's. While a connection is made the view may become
//! another: what it forbids by then is not sent, and goes back untried.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use prometheus_client::metrics::gauge::Gauge;

use super::redaction::redact;
use super::work::{Job, LeaseOf, Task, Terms, Work};
use crate::dispatch::errand::{Answered, Errand, Purpose, Tried};
use crate::dispatch::request::Sender;
use crate::dispatch::share::Place;
use crate::dispatch::stats::LastFailure;
use crate::dispatch::verdict::{self, Verdict};
use crate::journal::inspect::{AttemptKind, AttemptNext, EventName};
use crate::journal::{Attempt, DeathNote, Journal, Lease as _, Outcome, Settled};
use crate::model::{Event, Jitter, Timestamp};
use crate::outbound::{Exchange, Pass, Untried};
use crate::subscriptions::{Known, Standing, View};

/// Runs until the lane lets it go.
pub(super) async fn run<J: Journal>(work: Arc<Work<J>>, mut job: Job<J>) {
    loop {
        match deliver(&work, job).await {
            Ok(()) => {}
            Err(NotTried { task, why: Untried::NoRoom(no_room) }) => work.give_back(task, Some(no_room)),
            Err(NotTried { task, why: Untried::Unwanted(Outdated) }) => work.give_back(task, None),
        }
        // An idle runner is memory, and so their number is bounded.
        let place = work.shared.idle_runners.try_acquire().ok();
        let Some(next) = work.rest(place.is_some()) else { return };
        let Ok(next) = next.await else { return };
        job = next;
    }
}

/// Tries one task after another until nothing is ready, or there is something to decide.
async fn deliver<J: Journal>(work: &Work<J>, job: Job<J>) -> Result<(), NotTried<J>> {
    let Job { mut task, terms, place, mut pass } = job;
    let runner = Runner { work, terms, place };
    loop {
        runner.attempt(task, pass).await?;
        if !runner.goes_on() {
            return Ok(());
        }
        let Some(next) = work.take() else { return Ok(()) };
        (task, pass) = match runner.terms.channel.admit(None) {
            Ok(pass) => (next, pass),
            Err(no_room) => return Err(NotTried { task: next, why: no_room.into() }),
        };
    }
}

/// A task that its destination had no room for, or that was handed out by what no longer holds.
struct NotTried<J: Journal> {
    task: Task<J>,
    why: Untried<Outdated>,
}

/// The newest view does not allow a request as it was made.
#[derive(Debug, PartialEq)]
struct Outdated;

/// A runner with something to do.
struct Runner<'a, J: Journal> {
    work: &'a Work<J>,
    terms: Terms,
    place: Option<Place>,
}

/// A request that was made.
struct Made {
    /// When it began, by the time of day.
    at: Timestamp,
    exchange: Exchange,
    verdict: Verdict,
}

impl<J: Journal> Runner<'_, J> {
    /// Whether the next attempt needs no decision of the lane.
    fn goes_on(&self) -> bool {
        let shared = &self.work.shared;
        let succeeds = self.work.stats.succeeds();
        let wanted = self.place.is_some() && shared.places.are_wanted(succeeds);
        !self.terms.limited
            && !wanted
            && succeeds
            && !self.work.is_halted()
            && !self.work.is_open()
            && !self.terms.view.has_changed().unwrap_or(true)
            && shared.view_is_fresh(&self.terms.known.object.namespace)
    }

    /// Tries one task, and tells whoever waits what came of it.
    async fn attempt(&self, task: Task<J>, pass: Pass) -> Result<(), NotTried<J>> {
        let header = match &task {
            // It goes back to the journal, which leases it again if the lane is still ours.
            Task::Delivery(lease) if !lease.is_good() => return Ok(()),
            Task::Delivery(_) => None,
            // Who asked for it has gone: so a Replay that is deleted sends no more.
            Task::Errand(errand) if errand.answer.is_closed() => return Ok(()),
            Task::Errand(errand) => errand.header(),
        };
        // Not once another dispatcher may run the lane.
        let is_ours = || match &task {
            Task::Delivery(lease) => lease.is_good(),
            Task::Errand(_) => true,
        };
        let lost = async {
            match &task {
                Task::Delivery(lease) => lease.lost().await,
                Task::Errand(_) => std::future::pending().await,
            }
        };
        let made = tokio::select! {
            biased;
            made = self.request(task.event(), header, pass, is_ours) => made,
            () = lost => Ok(None),
        };
        let made = match made {
            Ok(Some(made)) => made,
            // The lane has made sure of credentials; what was not tried or broken off goes back by
            // being dropped.
            Ok(None) => return Ok(()),
            Err(why) => return Err(NotTried { task, why }),
        };
        match task {
            Task::Delivery(lease) => self.delivered(lease, made).await,
            Task::Errand(errand) => self.answered(errand, made),
        }
        Ok(())
    }

    /// Makes the request, and tells the circuit.
    async fn request(
        &self,
        event: &Event,
        header: Option<(HeaderName, HeaderValue)>,
        pass: Pass,
        is_ours: impl Fn() -> bool + Send,
    ) -> Result<Option<Made>, Untried<Outdated>> {
        let known = &self.terms.known;
        let Ok(credentials) = known.credentials.as_ref() else { return Ok(None) };
        let shared = &*self.work.shared;
        let metrics = &shared.metrics;
        let sender = Sender {
            webhook: known.uid,
            payload: known.settings.payload,
            api_key: &credentials.api_key,
            signing: credentials.signing.as_ref(),
        };
        let at = shared.clock.now();
        let request = sender.request(event, at, header);
        let exchange = {
            let _in_flight = InFlight::new(&metrics.in_flight);
            let limit = known.settings.policy.timeout;
            self.terms.channel.try_exchange_while(request, limit, pass, || self.is_wanted(&is_ours)).await?
        };
        metrics.attempt_seconds.observe(exchange.phases.total().as_secs_f64());
        let now = shared.clock.now();
        let verdict = verdict::judge(&exchange.end, now);
        // Before anything else, so that nothing more starts.
        match &verdict {
            Verdict::Delivered => self.work.delivered(),
            Verdict::Failed(failed) => self.work.failed(event, failed, &self.terms),
            Verdict::Gone => self.work.gone(known.clone()),
        }
        if let Some((reason, message)) = verdict.failure() {
            metrics.failed(reason);
            self.work.stats.failure(LastFailure { at: now, reason, message: message.to_owned() });
        } else {
            self.work.succeeded(now);
        }
        Ok(Some(Made { at, exchange, verdict }))
    }

    /// Whether the request may still be sent as it was made.
    fn is_wanted(&self, is_ours: impl Fn() -> bool) -> Result<(), Outdated> {
        let Terms { known, view, .. } = &self.terms;
        let fresh = self.work.shared.view_is_fresh(&known.object.namespace);
        if fresh && is_ours() && allows(&view.borrow(), known) { Ok(()) } else { Err(Outdated) }
    }

    /// Tells the journal what came of a delivery.
    async fn delivered(&self, lease: LeaseOf<J>, made: Made) {
        let shared = &*self.work.shared;
        let delivery = lease.delivery();
        let policy = &self.terms.known.settings.policy;
        let outcome = verdict::next(&made.verdict, delivery.failures, policy, Jitter::draw());
        let failure = made.verdict.failure();
        if failure.is_none() {
            shared.metrics.delivered.inc();
            let latency = shared.journal.now().since(delivery.accepted_at);
            shared.metrics.latency_seconds.observe(latency.as_secs_f64());
        }
        let (next, consequence) = match (&outcome, failure) {
            (Outcome::Dead(note), Some((reason, _))) => {
                (AttemptNext::Dead, Consequence::Death(reason, note.message.clone()))
            }
            (Outcome::Retry { after }, _) => (AttemptNext::Retry(*after), Consequence::Retry),
            (Outcome::Done | Outcome::Release | Outcome::Dead(_), _) => {
                (AttemptNext::Nothing, Consequence::None)
            }
        };
        let number = delivery.failures.saturating_add(1);
        self.note(&delivery.event, AttemptKind::Delivery, number, next, &made);
        let settled = lease.settle(outcome).await;
        self.settled(settled, consequence);
    }

    /// Tells who asked for it.
    fn answered(&self, errand: Errand, made: Made) {
        let kind = match &errand.purpose {
            Purpose::Trial => AttemptKind::Test,
            Purpose::Replay(name) => AttemptKind::Replay(name.clone()),
        };
        self.note(&errand.event, kind, 1, AttemptNext::Nothing, &made);
        self.work.shared.board.settled(self.work.uid, &self.work.stats);
        let tried = Tried {
            message_id: EventName::from(&*errand.event).message_id(self.work.uid),
            status: made.status(),
            failure: made.failure(),
            phases: made.exchange.phases,
            body: self.without_api_key(made.exchange.end.map(|answer| answer.body).unwrap_or_default()),
        };
        // Nobody may wait for it any more.
        let _ = errand.answer.send(Answered::Tried(tried));
    }

    /// Many servers answer with the request: who may try a webhook is not who may read its key.
    fn without_api_key(&self, body: Bytes) -> Bytes {
        match &self.terms.known.credentials {
            Ok(credentials) => redact(body, credentials.api_key.as_bytes()),
            Err(_) => body,
        }
    }

    fn note(&self, event: &Event, kind: AttemptKind, number: u16, next: AttemptNext, made: &Made) {
        self.work.shared.journal.note(Attempt {
            at: made.at,
            event: EventName::from(event),
            webhook: self.work.uid,
            kind,
            number,
            status: made.status(),
            failure: made.failure(),
            next,
            phases: made.exchange.phases,
        });
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

/// Whether the newest view allows what was made of an older one: to send to this
/// endpoint, with this key. A rotated key makes another request.
fn allows(newest: &View, known: &Known) -> bool {
    let Standing::Sendable(newest) = newest.standing() else { return false };
    let (Ok(now), Ok(then)) = (&newest.credentials, &known.credentials) else { return false };
    newest.settings.uri == known.settings.uri && now.tls == then.tls && now.api_key == then.api_key
}

impl Made {
    fn status(&self) -> Option<u16> {
        self.exchange.end.as_ref().ok().map(|answer| answer.status.as_u16())
    }

    fn failure(&self) -> Option<DeathNote> {
        let (reason, message) = self.verdict.failure()?;
        Some(DeathNote { reason: reason.to_owned(), message: message.to_owned() })
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;
    use crate::subscriptions::samples;

    #[test]
    fn only_what_the_newest_view_allows_as_it_was_made_is_written() {
        let then = samples::known(|_| {});
        let newest = |edit: fn(&mut serde_json::Value)| View::Known(Arc::new(samples::known(edit)));
        assert!(allows(&newest(|_| {}), &then));
        // Herald's own writes to the status, and what concerns other requests, hold nothing up.
        assert!(allows(&newest(|it| it["spec"]["events"] = json!(["User deleted"])), &then));
        assert!(allows(&newest(|it| it["spec"]["delivery"] = json!({"maxInFlight": 7})), &then));
        assert!(allows(&newest(|it| it["metadata"]["resourceVersion"] = json!("8")), &then));

        assert!(!allows(&newest(|it| it["spec"]["enabled"] = json!(false)), &then));
        let moved_and_proved = newest(|it| {
            it["spec"]["uri"] = json!("https://other.example.com/");
            it["status"]["verification"]["uri"] = json!("https://other.example.com/");
        });
        assert!(matches!(moved_and_proved.standing(), Standing::Sendable(_)));
        assert!(!allows(&moved_and_proved, &then));
        assert!(!allows(&newest(|it| it["status"]["verification"] = json!(null)), &then));
        let with = |change: fn(&mut Known)| {
            let mut known = samples::known(|_| {});
            change(&mut known);
            View::Known(Arc::new(known))
        };
        let rotated = with(|known| {
            known.credentials.as_mut().unwrap().api_key = HeaderValue::from_static("another");
        });
        assert!(!allows(&rotated, &then));
        assert!(!allows(&View::Gone, &then));
        assert!(!allows(&View::Unknown, &then));
    }
}
