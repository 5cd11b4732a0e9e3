//! One webhook's lane: holds, or delivers, within the webhook's bounds.
//!
//! ```text
//!           ┌──────────── held: until the view changes ◄────────────┐
//!           v                                                        │
//! sendable? ── yes ─> claim ─> next ─> ready ─> attempt ─> settle ───┘ not sendable, idle, lost
//! ```
//!
//! **Guarantees.** No attempt starts unless, in the newest view at that
//! moment, the webhook may be sent to, and nothing is written on a new
//! connection unless it still may. Attempts in flight, attempts a second
//! and leases read ahead are bounded. An attempt that runs is awaited. What finds
//! no room at its destination was not tried, and waits without a place.

mod delivering;
mod redaction;
mod room;
mod runner;
mod work;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::delivering::Delivering;
use super::Shared;
use super::memory::Memory;
use super::rate::RateLimit;
use super::stats::LaneStats;
use crate::api::DeliveringReason;
use crate::journal::{ClaimError, Journal, Lane as _, Lease as _};
use crate::model::{Ordering, WebhookUid};
use crate::outbound::Channel;
use crate::subscriptions::{Known, Standing, View};

/// How long until a lane that another holds, or a journal that does not answer, is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How often a webhook that is held is looked at although its view has not changed.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// A lane, before and after it delivers.
pub(super) struct Lane<J: Journal> {
    uid: WebhookUid,
    shared: Arc<Shared<J>>,
    stats: Arc<LaneStats>,
    view: watch::Receiver<View>,
    memory: Memory,
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
        Self { uid, shared, stats, view, memory: Memory::default(), limit: None, shutdown }
    }

    /// Runs until nothing is left to deliver, the webhook is gone, or `shutdown`.
    pub(super) async fn run(mut self) {
        let shutdown = self.shutdown.clone();
        loop {
            if !self.shared.journal.runs(self.uid) {
                // Named again once it is this process's; who asked for an attempt asks there.
                self.shared.errands.forget(self.uid);
                return;
            }
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
                    self.shared.errands.refuse_trials(self.uid, reason, &message);
                    let own = matches!(reason, DeliveringReason::Gone | DeliveringReason::ViewStale);
                    self.shared.board.hold(self.uid, &self.stats, own.then_some((reason, message)));
                    reason == DeliveringReason::ViewStale
                }
            };
            let unknown = matches!(&*self.view.borrow(), View::Unknown);
            if unknown {
                match self.shared.journal.depth(self.uid).await {
                    Ok(depth) if depth.pending == 0 => {
                        self.shared.errands.forget(self.uid);
                        return Next::Nothing;
                    }
                    Ok(_) | Err(_) => {}
                }
                if self.confirmed_gone().await {
                    return Next::Drop;
                }
            }
            // A stale view heals without a change, and a webhook that is not in view may be gone.
            let again = if heals { ASK_AGAIN } else { LOOK_AGAIN };
            tokio::select! {
                _ = self.view.changed() => {}
                () = tokio::time::sleep(again) => {}
                () = self.shared.errands.trial(self.uid) => {}
            }
        }
    }

    /// The webhook's standing in the newest view, with what only the dispatcher knows.
    fn standing(&mut self) -> Standing {
        let standing = self.view.borrow_and_update().standing();
        let is_too_old = |known: &Known| !self.shared.view_is_fresh(&known.object.namespace);
        if matches!(&standing, Standing::Sendable(known) if is_too_old(known)) {
            let message =
                "the API server has not confirmed the dispatcher's view of this namespace for too long"
                    .to_owned();
            return Standing::Held(DeliveringReason::ViewStale, message);
        }
        self.memory.restrict(standing)
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
        self.shared.errands.forget(self.uid);
    }

    async fn deliver(&mut self, mut lane: J::Lane, ordering: Ordering) -> End {
        let Ok(state) = lane.state().await else {
            return End::Lost;
        };
        self.memory = state.as_ref().map(Memory::load).unwrap_or_default();
        // The mark may forbid what the view alone allows.
        let Standing::Sendable(known) = self.standing() else {
            return End::Changed;
        };
        if known.settings.policy.ordering != ordering {
            return End::Changed;
        }
        if self.memory.circuit(&known).is_none() {
            self.shared.board.hold(self.uid, &self.stats, None);
        }
        self.limit_to(known.settings.policy.max_per_second);
        let Some(channel) = self.channel(&known) else {
            return End::Lost;
        };
        let mut delivering = Delivering::new(self, state, known, channel);
        let end = delivering.run(&mut lane).await;
        delivering.drain(&mut lane).await;
        end
    }

    fn limit_to(&mut self, most: Option<NonZeroU32>) {
        match (&mut self.limit, most) {
            (Some(limit), Some(most)) => limit.set_most(most),
            (limit, most) => *limit = most.map(|most| RateLimit::new(most, self.shared.started)),
        }
    }

    fn channel(&self, known: &Known) -> Option<Channel> {
        let credentials = known.credentials.as_ref().ok()?;
        self.shared
            .outbound
            .channel(&known.object.namespace, &known.settings.uri, &credentials.tls)
            .inspect_err(|error| tracing::warn!(webhook = %self.uid, %error, "no TLS with these settings"))
            .ok()
    }
}
