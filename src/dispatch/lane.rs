//! One webhook's lane: holds, or delivers, within the webhook's bounds.
//!
//! ```text
//!           ┌──────────── held: until the view changes ◄────────────┐
//!           v                                                        │
//! sendable? ── yes ─> claim ─> next ─> ready ─> attempt ─> settle ───┘ not sendable, idle, lost
//! ```
//!
//! **Guarantees.** No attempt starts unless, in the newest view at that
//! moment, the webhook may be sent to. Attempts in flight, attempts a second
//! and leases read ahead are bounded. An attempt that runs is awaited.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::attempt::{Attempt, Ended};
use super::gone::GoneMark;
use super::rate::RateLimit;
use super::stats::{LaneStats, LastFailure};
use super::verdict::{self, GONE, Verdict};
use crate::api::DeliveringReason;
use crate::journal::{ClaimError, Journal, Lane as _, LaneState, Lease as _, Outcome, Settled};
use crate::model::{Jitter, Ordering, WebhookUid};
use crate::outbound::Channel;
use crate::subscriptions::{Known, Standing, View};

/// How long a lane with nothing to do is kept.
const IDLE: Duration = Duration::from_secs(30);
/// How long until a lane that another holds, or a journal that does not answer, is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How often a webhook that is held is looked at although its view has not changed.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How many outcomes may wait for the journal before no more attempts start.
const MOST_SETTLING: usize = 1024;

type LeaseOf<J> = <<J as Journal>::Lane as crate::journal::Lane>::Lease;

/// A lane, before and after it delivers.
pub(super) struct Lane<J: Journal> {
    uid: WebhookUid,
    shared: Arc<Shared<J>>,
    stats: Arc<LaneStats>,
    view: watch::Receiver<View>,
    gone: Option<GoneMark>,
    /// Kept while the webhook is held: a pause must not double what a second allows.
    limit: Option<RateLimit>,
    shutdown: CancellationToken,
}

/// What a lane that does not deliver waits for.
enum Next {
    /// The webhook may be sent to, as far as its view goes.
    Deliver(Arc<Known>),
    /// It is gone, and what is queued with it.
    Drop,
    /// Nothing is known of it, and nothing queued for it.
    Nothing,
}

/// Why delivering ended.
enum End {
    /// The webhook may not be sent to, or wants another order.
    Changed,
    /// There is nothing to deliver.
    Idle,
    /// The lane belongs to another.
    Lost,
    /// The process stops.
    Shutdown,
}

impl<J: Journal> Lane<J> {
    pub(super) fn new(uid: WebhookUid, shared: Arc<Shared<J>>, shutdown: CancellationToken) -> Self {
        let view = shared.subscriptions.follow(uid);
        let stats = shared.board.lane(uid);
        Self { uid, shared, stats, view, gone: None, limit: None, shutdown }
    }

    /// Runs until nothing is left to deliver, the webhook is gone, or `shutdown`.
    pub(super) async fn run(mut self) {
        let shutdown = self.shutdown.clone();
        loop {
            let ordering = match shutdown.run_until_cancelled(self.sendable()).await {
                Some(Next::Deliver(known)) => known.settings.policy.ordering,
                Some(Next::Drop) => return self.drop_queue().await,
                Some(Next::Nothing) | None => return,
            };
            let end = match self.shared.journal.claim(self.uid, ordering).await {
                Ok(lane) => self.deliver(lane, ordering).await,
                Err(ClaimError::Held) => End::Lost,
                Err(ClaimError::Unavailable(error)) => {
                    tracing::warn!(webhook = %self.uid, %error, "a lane could not be claimed");
                    End::Lost
                }
            };
            match end {
                End::Idle | End::Shutdown => return,
                End::Changed => {}
                End::Lost => {
                    if shutdown.run_until_cancelled(tokio::time::sleep(ASK_AGAIN)).await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    /// Waits until the webhook may be sent to, or will not be.
    async fn sendable(&mut self) -> Next {
        loop {
            let heals = match self.standing() {
                Standing::Sendable(known) => return Next::Deliver(known),
                Standing::Gone => return Next::Drop,
                Standing::Held(reason, message) => {
                    let own = matches!(reason, DeliveringReason::Gone | DeliveringReason::ViewStale);
                    self.shared.board.hold(self.uid, &self.stats, own.then_some((reason, message)));
                    reason == DeliveringReason::ViewStale
                }
            };
            let unknown = matches!(&*self.view.borrow(), View::Unknown);
            if unknown {
                match self.shared.journal.depth(self.uid).await {
                    Ok(depth) if depth.pending == 0 => return Next::Nothing,
                    Ok(_) | Err(_) => {}
                }
                if self.confirmed_gone().await {
                    return Next::Drop;
                }
            }
            // A stale view heals without a change, and a webhook that is not in view may be gone.
            let again = if heals { ASK_AGAIN } else { LOOK_AGAIN };
            let _ = tokio::time::timeout(again, self.view.changed()).await;
        }
    }

    /// The webhook's standing in the newest view, with what only the dispatcher knows.
    fn standing(&mut self) -> Standing {
        let standing = self.view.borrow_and_update().standing();
        let Standing::Sendable(known) = standing else {
            return standing;
        };
        if !self.shared.view_is_fresh() {
            let message = "the API server has not confirmed the dispatcher's view for too long".to_owned();
            return Standing::Held(DeliveringReason::ViewStale, message);
        }
        if self.gone.as_ref().is_some_and(|mark| mark.covers(&known)) {
            let message = format!(
                "{} answered 410 Gone; events are held until it proves itself again (annotate with \
                 herald.dev/verify-requested-at) or spec.uri names another endpoint",
                known.settings.uri
            );
            return Standing::Held(DeliveringReason::Gone, message);
        }
        Standing::Sendable(known)
    }

    /// Whether a webhook that no watch has shown does not exist. The journal
    /// knows only its UID; its namespace stands in its deliveries.
    async fn confirmed_gone(&mut self) -> bool {
        if !self.shared.subscriptions.is_ready() {
            return false;
        }
        let Ok(mut lane) = self.shared.journal.claim(self.uid, Ordering::None).await else {
            return false;
        };
        let namespace = match tokio::time::timeout(ASK_AGAIN, lane.next(1)).await {
            Ok(Ok(leases)) => leases.first().map(|lease| lease.delivery().event.namespace.clone()),
            Ok(Err(_)) | Err(_) => None,
        };
        drop(lane);
        let Some(namespace) = namespace else {
            return false;
        };
        match self.shared.subscriptions.confirm_gone(&self.shared.client, &namespace, self.uid).await {
            Ok(gone) => gone,
            Err(error) => {
                tracing::warn!(webhook = %self.uid, %error, "cannot tell whether a webhook still exists");
                false
            }
        }
    }

    async fn drop_queue(&self) {
        match self.shared.journal.drop_webhook(self.uid).await {
            Ok(()) => tracing::info!(webhook = %self.uid, "the webhook is gone; its queue was dropped"),
            Err(error) => {
                tracing::warn!(webhook = %self.uid, %error, "the queue of a webhook that is gone remains");
            }
        }
        self.shared.board.forget(self.uid);
    }

    async fn deliver(&mut self, mut lane: J::Lane, ordering: Ordering) -> End {
        let Ok(state) = lane.state().await else {
            return End::Lost;
        };
        self.gone = state.as_ref().and_then(GoneMark::load);
        // The mark may forbid what the view alone allows.
        let Standing::Sendable(known) = self.standing() else {
            return End::Changed;
        };
        if known.settings.policy.ordering != ordering {
            return End::Changed;
        }
        self.shared.board.hold(self.uid, &self.stats, None);
        self.limit_to(known.settings.policy.max_per_second);
        let Some(channel) = self.channel(&known) else {
            return End::Lost;
        };
        let mut delivering = Delivering {
            lane: self,
            state,
            known,
            channel,
            ready: VecDeque::new(),
            attempts: FuturesUnordered::new(),
            settling: FuturesUnordered::new(),
        };
        let end = delivering.run(&mut lane).await;
        delivering.drain(&mut lane).await;
        end
    }

    fn limit_to(&mut self, most: Option<NonZeroU32>) {
        match (&mut self.limit, most) {
            (Some(limit), Some(most)) => limit.set_most(most),
            (limit, most) => *limit = most.map(|most| RateLimit::new(most, Instant::now())),
        }
    }

    fn channel(&self, known: &Known) -> Option<Channel> {
        let credentials = known.credentials.as_ref().ok()?;
        self.shared
            .outbound
            .channel(&known.settings.uri, &credentials.tls)
            .inspect_err(|error| tracing::warn!(webhook = %self.uid, %error, "no TLS with these settings"))
            .ok()
    }
}

/// A lane that is claimed.
struct Delivering<'a, J: Journal> {
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

impl<J: Journal> Delivering<'_, J> {
    async fn run(&mut self, journal: &mut J::Lane) -> End {
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
    async fn drain(&mut self, journal: &mut J::Lane) {
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
