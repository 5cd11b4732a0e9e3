//! Challenges under way: tasks of their own, so that a reconcile never waits
//! for an endpoint.
//!
//! ```text
//! reconcile ─ start(order) ─> task: wait for room, and a place ─> challenge ─> outcome kept ─> trigger ─> reconcile
//! ```
//!
//! **Guarantees.** At most one challenge for a Webhook. First tries and tries
//! on demand have places of their own, which repeated tries cannot take: many
//! endpoints that hang for ever do not make a new Webhook wait, nor do many that
//! lead to one host or address: who waits for room there has no place. Every task ends
//! at once when its token is cancelled, and is waited for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::channel::mpsc::UnboundedSender;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::challenge::{ChallengeFailure, challenge};
use super::decide::{Fault, Order, Target, Trial};
use super::metrics::Metrics;
use super::watched::WatchedWebhook;
use crate::api::Reason;
use crate::model::{Clock, EndpointUri, Timestamp};
use crate::outbound::{Channel, Outbound, TlsSettings};

/// Which Webhook: namespace and name.
pub(super) type Name = ObjectRef<WatchedWebhook>;

/// How many challenges run at one time.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// First tries and tries on demand.
    pub first: usize,
    /// Tries after a failure.
    pub again: usize,
}

impl Default for Places {
    fn default() -> Self {
        Self { first: 512, again: 128 }
    }
}

/// The challenges of one term of leadership.
#[derive(Clone)]
pub(super) struct Challenges(Arc<Inner>);

struct Inner {
    outbound: Outbound,
    clock: Clock,
    metrics: Metrics,
    first: Semaphore,
    again: Semaphore,
    tracker: TaskTracker,
    token: CancellationToken,
    under_way: Mutex<UnderWay>,
}

#[derive(Default)]
struct UnderWay {
    last_number: u64,
    by_name: HashMap<Name, State>,
}

enum State {
    Running { number: u64, target: Target, token: CancellationToken },
    Ended(Trial),
}

/// How far the challenge of a Webhook has got.
pub(super) enum Known {
    Nothing,
    Running(Target),
    Ended(Trial),
}

impl Challenges {
    pub(super) fn new(
        outbound: Outbound,
        clock: Clock,
        metrics: Metrics,
        places: Places,
        token: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            outbound,
            clock,
            metrics,
            first: Semaphore::new(places.first),
            again: Semaphore::new(places.again),
            tracker: TaskTracker::new(),
            token,
            under_way: Mutex::default(),
        }))
    }

    pub(super) fn known(&self, name: &Name) -> Known {
        match self.0.under_way().by_name.get(name) {
            None => Known::Nothing,
            Some(State::Running { target, .. }) => Known::Running(target.clone()),
            Some(State::Ended(trial)) => Known::Ended(trial.clone()),
        }
    }

    /// Stops the challenge of a Webhook, or forgets its outcome.
    pub(super) fn forget(&self, name: &Name) {
        if let Some(State::Running { token, .. }) = self.0.under_way().by_name.remove(name) {
            token.cancel();
        }
    }

    /// Starts a challenge. When it has ended, the outcome is kept until it is
    /// forgotten, and `ended` is told.
    pub(super) fn start(
        &self,
        name: Name,
        order: Order,
        uri: EndpointUri,
        tls: TlsSettings,
        ended: UnboundedSender<Name>,
    ) {
        self.forget(&name);
        let token = self.0.token.child_token();
        let number = {
            let mut under_way = self.0.under_way();
            under_way.last_number += 1;
            let number = under_way.last_number;
            let running = State::Running { number, target: order.target.clone(), token: token.clone() };
            under_way.by_name.insert(name.clone(), running);
            number
        };
        let namespace = name.namespace.clone().unwrap_or_default();
        let slot = Slot { inner: self.0.clone(), name, number, ended };
        let inner = self.0.clone();
        self.0.tracker.spawn(async move {
            let tried = inner.attempt(order, &namespace, &uri, &tls);
            if let Some(Some(trial)) = token.run_until_cancelled(tried).await {
                slot.fill(trial);
            }
        });
    }

    /// Waits until every task has ended, after the token was cancelled.
    pub(super) async fn join(&self) {
        self.0.tracker.close();
        self.0.tracker.wait().await;
    }
}

impl Inner {
    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` when the process ends.
    async fn attempt(
        &self,
        order: Order,
        namespace: &str,
        uri: &EndpointUri,
        tls: &TlsSettings,
    ) -> Option<Trial> {
        let places = if order.again { &self.again } else { &self.first };
        let channel = self.outbound.channel(namespace, uri, tls);
        let (began, verdict) = match &channel {
            Err(error) => {
                let fault = Fault { reason: Reason::TLSFailed, message: error.to_string() };
                (self.clock.now(), Err(fault))
            }
            Ok(channel) => {
                let (began, verdict) = self.challenge(places, channel, uri).await?;
                let fault = |failure: ChallengeFailure| Fault {
                    reason: failure.reason(),
                    message: failure.to_string(),
                };
                (began, verdict.map_err(fault))
            }
        };
        self.metrics.challenged(&verdict);
        Some(Trial { order, began, ended: self.clock.now(), verdict })
    }

    /// Challenges when there is a place and room for it, and says when that was. Nothing of the
    /// destination is held while there is no place, nor a place while there is no room.
    async fn challenge(
        &self,
        places: &Semaphore,
        channel: &Channel,
        uri: &EndpointUri,
    ) -> Option<(Timestamp, Result<(), ChallengeFailure>)> {
        let mut waited = None;
        loop {
            let place = if let Ok(place) = places.try_acquire() {
                place
            } else {
                drop(waited.take());
                places.acquire().await.ok()?
            };
            let no_room = match channel.admit(waited.take()) {
                Ok(pass) => {
                    let began = self.clock.now();
                    match challenge(channel, uri, pass).await {
                        Ok(verdict) => return Some((began, verdict)),
                        Err(no_room) => no_room,
                    }
                }
                Err(no_room) => no_room,
            };
            drop(place);
            waited = Some(no_room.wait().await);
        }
    }
}

/// The place of a running challenge in the table. When it goes without an
/// outcome, because the task was stopped or panicked, the place is cleared, so
/// that the Webhook is not taken to be busy for ever.
struct Slot {
    inner: Arc<Inner>,
    name: Name,
    number: u64,
    ended: UnboundedSender<Name>,
}

impl Slot {
    fn fill(self, trial: Trial) {
        self.replace(Some(State::Ended(trial)));
    }

    fn replace(&self, state: Option<State>) {
        let mut under_way = self.inner.under_way();
        let mine = matches!(under_way.by_name.get(&self.name),
            Some(State::Running { number, .. }) if *number == self.number);
        if mine {
            match state {
                Some(state) => under_way.by_name.insert(self.name.clone(), state),
                None => under_way.by_name.remove(&self.name),
            };
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.replace(None);
        // After a panic the next change of the object tries again: at once would be a loop.
        if !std::thread::panicking() {
            // Nobody listens any more when the term of leadership is over. The
            // queue holds at most one message for every challenge, and there is
            // at most one of those for every Webhook.
            let _ = self.ended.unbounded_send(self.name.clone());
        }
    }
}

#[cfg(test)]
mod tests;
