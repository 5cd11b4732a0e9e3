//! Questions to the dispatcher that runs a lane: requests of NATS that no stream keeps.
//!
//! ```text
//! ask ── the partition's owner, as the log says ──> <prefix>.ask.<dispatcher> ──> still its own? room? ──> asked
//!  ^                                                                                     │ no              │
//!  └─────────────────────────────── answer, or why there is none <───────────────────────┴─────────────────┘
//! ```
//!
//! A question is sent once. What was not answered in time may have been acted on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::client::RequestErrorKind;
use async_nats::{Message, Request, Subject};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::core::Core;
use super::names::partition;
use crate::journal::ask::{AskError, MOST, Question};
use crate::model::WebhookUid;

/// The most questions that are open here at one time.
pub const PLACES: usize = 1024;

/// How long answers are waited for at the end.
const LAST: Duration = Duration::from_secs(1);

/// What an answer begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It is one.
    Answered,
    /// The lane is not run there, and nothing was done.
    Moved,
    /// Too many are open, and nothing was done.
    Busy,
    /// There is no answer.
    Dropped,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Answered, Self::Moved, Self::Busy, Self::Dropped];

    const fn code(self) -> u8 {
        match self {
            Self::Answered => 0,
            Self::Moved => 1,
            Self::Busy => 2,
            Self::Dropped => 3,
        }
    }
}

/// See [`crate::journal::Journal::ask`].
pub async fn ask(
    core: &Core,
    webhook: WebhookUid,
    question: &Bytes,
    patience: Duration,
) -> Result<Bytes, AskError> {
    let owner = {
        let now = Instant::now();
        let inner = core.lock();
        let owner = inner.partitions.get(partition(webhook)).and_then(|part| part.owner.clone());
        owner.filter(|owner| *owner != core.me && inner.is_alive(owner, now))
    };
    send(core, &owner.ok_or(AskError::Nobody)?, webhook, question, patience).await
}

/// Asks this dispatcher.
pub async fn send(
    core: &Core,
    dispatcher: &str,
    webhook: WebhookUid,
    question: &Bytes,
    patience: Duration,
) -> Result<Bytes, AskError> {
    if !core.is_open() {
        return Err(AskError::Unavailable(core.unavailable().to_string()));
    }
    let mut payload = BytesMut::from(&webhook.as_bytes()[..]);
    payload.extend_from_slice(question);
    let request = Request::new().payload(payload.freeze()).timeout(Some(patience));
    let answer = core.client.send_request(core.names.ask(dispatcher), request).await;
    let answer = answer.map_err(|error| match error.kind() {
        RequestErrorKind::NoResponders => AskError::Nobody,
        RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
            AskError::Unavailable(error.to_string())
        }
        RequestErrorKind::TimedOut | RequestErrorKind::Other => AskError::Unknown,
    })?;
    let mut payload = answer.payload;
    let kind = payload.first().and_then(|code| Kind::ALL.into_iter().find(|kind| kind.code() == *code));
    match kind {
        Some(Kind::Answered) => Ok(payload.split_off(1)),
        Some(Kind::Moved) => Err(AskError::Moved),
        Some(Kind::Busy) => Err(AskError::Busy),
        Some(Kind::Dropped) | None => Err(AskError::Unknown),
    }
}

/// Takes questions to `asked`, until shutdown.
pub async fn serve(core: Arc<Core>, asked: mpsc::Sender<Question>) {
    let subject = core.names.ask(&core.me);
    let mut messages = match core.client.subscribe(subject).await {
        Ok(messages) => messages,
        Err(error) => {
            tracing::error!(%error, "other dispatchers cannot ask this one anything");
            return;
        }
    };
    let places = Arc::new(Semaphore::new(PLACES));
    let mut open = JoinSet::new();
    while let Some(Some(message)) = core.shutdown.run_until_cancelled(messages.next()).await {
        while open.try_join_next().is_some() {}
        let Message { reply: Some(reply), payload, .. } = message else { continue };
        let Some((webhook, bytes)) = decode(payload) else { continue };
        let place = Arc::clone(&places).try_acquire_owned();
        let runs = core.lock().may_act(partition(webhook), Instant::now());
        let refusal = match (&place, runs) {
            (_, false) => Some(Kind::Moved),
            (Err(_), true) => Some(Kind::Busy),
            (Ok(_), true) => None,
        };
        if let Some(kind) = refusal {
            answer(&core, reply, kind, &Bytes::new()).await;
            continue;
        }
        let (question, answered) = Question::new(webhook, bytes);
        // There is room for as many as there are places.
        let _ = asked.try_send(question);
        let core = Arc::clone(&core);
        open.spawn(async move {
            match answered.await {
                Ok(bytes) => answer(&core, reply, Kind::Answered, &bytes).await,
                Err(_) => answer(&core, reply, Kind::Dropped, &Bytes::new()).await,
            }
            drop(place);
        });
    }
    // Who has been asked may still answer, or let go of the question.
    let _ = tokio::time::timeout(LAST, async { while open.join_next().await.is_some() {} }).await;
}

fn decode(mut payload: Bytes) -> Option<(WebhookUid, Bytes)> {
    let webhook = WebhookUid::from_bytes(*payload.first_chunk()?);
    let question = payload.split_off(webhook.as_bytes().len());
    (question.len() <= MOST).then_some((webhook, question))
}

async fn answer(core: &Core, reply: Subject, kind: Kind, bytes: &Bytes) {
    let mut payload = BytesMut::from(&[kind.code()][..]);
    payload.extend_from_slice(bytes);
    if let Err(error) = core.client.publish(reply, payload.freeze()).await {
        tracing::debug!(%error, "a question of another dispatcher was not answered");
    }
}
