//! Attempts that somebody asked for: to try a webhook, or to replay an event.
//!
//! ```text
//! Errands::send ─> queue of the webhook ─> its lane ─> runner ─> Answered
//!                                            └─ held: a trial is refused, a replay waits
//! ```
//!
//! They go through the webhook's lane, so that its rate, its places in flight
//! and its circuit hold for them too. They are not in the journal: who asks
//! waits for the answer, and asks again if there is none.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use tokio::sync::{Notify, oneshot};

use crate::api::DeliveringReason;
use crate::journal::DeathNote;
use crate::model::{Event, Phases, WebhookUid};

const REPLAY: HeaderName = HeaderName::from_static("herald-replay");
const TEST: HeaderName = HeaderName::from_static("herald-test");

/// The most that wait for one webhook.
const MOST: usize = 64;

/// Why an attempt is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To see what the endpoint answers. It does not wait while the webhook is
    /// held, and counts as a probe while its circuit is open.
    Trial,
    /// The Replay of this name. It waits for as long as the webhook is held.
    Replay(String),
}

/// One attempt to be made.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) event: Arc<Event>,
    pub(super) purpose: Purpose,
    pub(super) answer: oneshot::Sender<Answered>,
}

impl Errand {
    /// What tells the endpoint that this is no ordinary delivery.
    pub(super) fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match &self.purpose {
            Purpose::Trial => Some((TEST, HeaderValue::from_static("true"))),
            // The name of an object is always a header.
            Purpose::Replay(name) => Some((REPLAY, HeaderValue::from_str(name).ok()?)),
        }
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub enum Answered {
    /// The request was made.
    Tried(Tried),
    /// It was not, since the webhook is held.
    Held(DeliveringReason, String),
}

/// What the endpoint did.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The `webhook-id` that was sent.
    pub message_id: String,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// Its body, at most [`crate::outbound::MAX_BODY`] bytes of it.
    pub body: Bytes,
    /// Why it counts as failed; `None` if the endpoint took it.
    pub failure: Option<DeathNote>,
    /// How long it took.
    pub phases: Phases,
}

/// Why an attempt was not taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MOST} attempts wait for this webhook already")]
pub struct TooMany;

/// Takes them to the lanes. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Errands(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    some: Notify,
}

#[derive(Debug, Default)]
struct State {
    queues: HashMap<WebhookUid, Queue>,
    /// Webhooks whose lane may not run.
    wanted: Vec<WebhookUid>,
}

#[derive(Debug, Default)]
struct Queue {
    errands: VecDeque<Errand>,
    some: Arc<Notify>,
}

impl Errands {
    /// Asks for an attempt. The answer may never come: when the process stops,
    /// or when the webhook goes.
    ///
    /// # Errors
    /// Too many wait already.
    pub fn send(
        &self,
        webhook: WebhookUid,
        event: Arc<Event>,
        purpose: Purpose,
    ) -> Result<oneshot::Receiver<Answered>, TooMany> {
        let (answer, answered) = oneshot::channel();
        let mut state = self.lock();
        let queue = state.queues.entry(webhook).or_default();
        // Who does not wait any more takes no place.
        queue.errands.retain(|errand| !errand.answer.is_closed());
        if queue.errands.len() >= MOST {
            return Err(TooMany);
        }
        queue.errands.push_back(Errand { event, purpose, answer });
        queue.some.notify_one();
        state.wanted.push(webhook);
        drop(state);
        self.0.some.notify_one();
        Ok(answered)
    }

    /// The webhooks that attempts were asked for since the last call; waits until there are some.
    pub(super) async fn wanted(&self) -> Vec<WebhookUid> {
        loop {
            let wanted = std::mem::take(&mut self.lock().wanted);
            if !wanted.is_empty() {
                return wanted;
            }
            self.0.some.notified().await;
        }
    }

    /// At most `n` of those that wait for a webhook; waits until there are some.
    pub(super) async fn next(&self, webhook: WebhookUid, n: usize) -> Vec<Errand> {
        loop {
            let some = {
                let mut state = self.lock();
                let queue = state.queues.entry(webhook).or_default();
                let count = queue.errands.len().min(n);
                if count > 0 {
                    return queue.errands.drain(..count).collect();
                }
                Arc::clone(&queue.some)
            };
            some.notified().await;
        }
    }

    /// Waits until somebody tries a webhook.
    pub(super) async fn trial(&self, webhook: WebhookUid) {
        loop {
            let some = {
                let mut state = self.lock();
                let queue = state.queues.entry(webhook).or_default();
                if queue.errands.iter().any(|errand| errand.purpose == Purpose::Trial) {
                    return;
                }
                Arc::clone(&queue.some)
            };
            some.notified().await;
        }
    }

    /// Answers the trials of a webhook that is held.
    pub(super) fn refuse_trials(&self, webhook: WebhookUid, reason: DeliveringReason, message: &str) {
        let mut state = self.lock();
        let Some(queue) = state.queues.get_mut(&webhook) else { return };
        let (trials, others): (VecDeque<_>, _) = std::mem::take(&mut queue.errands)
            .into_iter()
            .partition(|errand| errand.purpose == Purpose::Trial);
        queue.errands = others;
        drop(state);
        for trial in trials {
            // Nobody may wait for it any more.
            let _ = trial.answer.send(Answered::Held(reason, message.to_owned()));
        }
    }

    /// Drops what waits for a webhook that is gone.
    pub(super) fn forget(&self, webhook: WebhookUid) {
        self.lock().queues.remove(&webhook);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::model::{EventType, Timestamp};

    const UID: WebhookUid = WebhookUid::from_bytes([1; 16]);

    fn event() -> Arc<Event> {
        Arc::new(Event {
            namespace: "identity".to_owned(),
            id: "e".to_owned(),
            source: "/idp".to_owned(),
            event_type: EventType::UserCreated,
            subject: "u".to_owned(),
            time: Timestamp::from_millis(0),
            data: Bytes::new(),
        })
    }

    fn replay() -> Purpose {
        Purpose::Replay("again".to_owned())
    }

    #[tokio::test]
    async fn a_held_webhook_refuses_trials_and_keeps_replays_waiting() {
        let errands = Errands::default();
        let trial = errands.send(UID, event(), Purpose::Trial).unwrap();
        let mut replayed = errands.send(UID, event(), replay()).unwrap();
        errands.refuse_trials(UID, DeliveringReason::Disabled, "it is disabled");
        assert!(matches!(trial.await, Ok(Answered::Held(DeliveringReason::Disabled, _))));
        assert!(replayed.try_recv().is_err());
        let next = errands.next(UID, 9).await;
        assert_eq!(next.iter().map(|errand| errand.purpose.clone()).collect::<Vec<_>>(), [replay()]);
    }

    #[tokio::test]
    async fn so_many_wait_and_no_more_and_who_went_away_takes_no_place() {
        let errands = Errands::default();
        let mut waiting: Vec<_> = (0..MOST).map(|_| errands.send(UID, event(), replay()).unwrap()).collect();
        assert!(errands.send(UID, event(), Purpose::Trial).is_err());
        waiting.pop();
        assert!(errands.send(UID, event(), Purpose::Trial).is_ok());
    }

    #[tokio::test]
    async fn a_webhook_is_wanted_once_something_was_asked_for() {
        let errands = Errands::default();
        assert!(errands.wanted().now_or_never().is_none());
        assert!(errands.next(UID, 1).now_or_never().is_none());
        let _answer = errands.send(UID, event(), Purpose::Trial).unwrap();
        assert_eq!(errands.wanted().await, [UID]);
        assert_eq!(errands.next(UID, 1).await.len(), 1);
        assert!(errands.next(UID, 1).now_or_never().is_none());
    }
}
