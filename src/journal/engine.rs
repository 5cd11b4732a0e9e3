//! The engine that was chosen when the program began: the only place that knows which.

use std::time::Duration;

use bytes::Bytes;
use prometheus_client::registry::Registry;

use super::calendar::Calendar;
use super::embedded::{self, Embedded, EmbeddedLane, EmbeddedLease};
use super::inspect::{AttemptFilter, Cursor, Kept, KeptFilter, LetterId, Page, PendingDelivery};
use super::jetstream::{self, JetStream, JetStreamLane, JetStreamLease};
use super::{
    Append, Appended, AskError, Attempt, ClaimError, DeadLetter, Delivery, Depth, Inspect, Journal, Lane,
    LaneState, Lease, Lost, Outcome, Question, Settled, Unavailable,
};
use crate::model::{Clock, Ordering, Timestamp, WebhookUid};

/// Where the journal is to be kept.
#[derive(Clone, Debug)]
pub enum Place {
    /// In a directory of this process.
    Directory(embedded::Config),
    /// On servers of NATS.
    Nats(Box<jetstream::Config>),
}

/// Why the journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// In its directory.
    #[error(transparent)]
    Directory(#[from] embedded::OpenError),
    /// On NATS.
    #[error(transparent)]
    Nats(#[from] jetstream::OpenError),
    /// The thread that opened it is gone.
    #[error("the journal was not opened: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

/// A journal, whichever engine keeps it.
#[derive(Clone)]
pub enum Engine {
    /// In a directory of this process.
    Embedded(Embedded),
    /// On servers of NATS.
    JetStream(JetStream),
}

/// Calls the same method of whichever engine it is, or of a lane or lease of it.
macro_rules! either {
    ($self:expr, $it:ident => $call:expr) => {
        match $self {
            Self::Embedded($it) => $call,
            Self::JetStream($it) => $call,
        }
    };
}

impl Engine {
    /// Opens the journal. It may take and give nothing yet: see [`Self::is_open`].
    ///
    /// # Errors
    /// See the engines.
    pub async fn open(place: Place, clock: Clock) -> Result<Self, OpenError> {
        Ok(match place {
            Place::Directory(config) => {
                Self::Embedded(tokio::task::spawn_blocking(move || Embedded::open(config, clock)).await??)
            }
            Place::Nats(config) => Self::JetStream(Box::pin(JetStream::open(*config, clock)).await?),
        })
    }

    /// Makes what it counts part of what is scraped.
    pub fn register(&self, registry: &mut Registry) {
        either!(self, engine => engine.metrics()).register(registry);
        match self {
            Self::Embedded(engine) => engine.metrics().volume.register(registry),
            Self::JetStream(engine) => engine.metrics().nats.register(registry),
        }
    }

    /// Whether it takes and gives anything now.
    pub fn is_open(&self) -> bool {
        either!(self, engine => engine.is_open())
    }

    /// Whether it does, or may yet without a new process.
    pub fn is_alive(&self) -> bool {
        either!(self, engine => engine.is_alive())
    }
}

impl Journal for Engine {
    type Lane = EngineLane;

    fn now(&self) -> Timestamp {
        either!(self, engine => engine.now())
    }

    async fn append_within(&self, batch: Vec<Append>, most: Option<u64>) -> Vec<Appended> {
        either!(self, engine => engine.append_within(batch, most).await)
    }

    fn runs(&self, webhook: WebhookUid) -> bool {
        either!(self, engine => engine.runs(webhook))
    }

    async fn ask(&self, webhook: WebhookUid, question: Bytes, patience: Duration) -> Result<Bytes, AskError> {
        either!(self, engine => engine.ask(webhook, question, patience).await)
    }

    async fn asked(&self) -> Question {
        either!(self, engine => engine.asked().await)
    }

    async fn claim(&self, webhook: WebhookUid, ordering: Ordering) -> Result<EngineLane, ClaimError> {
        Ok(match self {
            Self::Embedded(engine) => EngineLane::Embedded(engine.claim(webhook, ordering).await?),
            Self::JetStream(engine) => EngineLane::JetStream(engine.claim(webhook, ordering).await?),
        })
    }

    async fn unclaimed(&self) -> Vec<WebhookUid> {
        either!(self, engine => engine.unclaimed().await)
    }

    async fn drop_webhook(&self, webhook: WebhookUid) -> Result<(), Unavailable> {
        either!(self, engine => engine.drop_webhook(webhook).await)
    }

    async fn depth(&self, webhook: WebhookUid) -> Result<Depth, Unavailable> {
        either!(self, engine => engine.depth(webhook).await)
    }

    async fn oldest(&self, webhook: WebhookUid) -> Result<Option<Timestamp>, Unavailable> {
        either!(self, engine => engine.oldest(webhook).await)
    }

    fn note(&self, attempt: Attempt) {
        either!(self, engine => engine.note(attempt));
    }

    async fn close(&self) -> Result<(), Unavailable> {
        either!(self, engine => engine.close().await)
    }
}

impl Inspect for Engine {
    fn calendar(&self) -> Calendar {
        either!(self, engine => engine.calendar())
    }

    async fn pending(
        &self,
        webhook: WebhookUid,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<PendingDelivery>, Unavailable> {
        either!(self, engine => engine.pending(webhook, cursor, limit).await)
    }

    async fn dead_letters(
        &self,
        webhook: WebhookUid,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<DeadLetter>, Unavailable> {
        either!(self, engine => engine.dead_letters(webhook, cursor, limit).await)
    }

    async fn forget_dead(&self, webhook: WebhookUid, letters: Vec<LetterId>) -> Result<(), Unavailable> {
        either!(self, engine => engine.forget_dead(webhook, letters).await)
    }

    async fn attempts(
        &self,
        of: AttemptFilter,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Attempt>, Unavailable> {
        either!(self, engine => engine.attempts(of, cursor, limit).await)
    }

    async fn kept(
        &self,
        of: KeptFilter,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Kept>, Unavailable> {
        either!(self, engine => engine.kept(of, cursor, limit).await)
    }
}

/// See [`Lane`].
pub enum EngineLane {
    /// Of the embedded engine.
    Embedded(EmbeddedLane),
    /// Of the one on NATS.
    JetStream(JetStreamLane),
}

impl Lane for EngineLane {
    type Lease = EngineLease;

    async fn next(&mut self, n: usize) -> Result<Vec<EngineLease>, Lost> {
        Ok(match self {
            Self::Embedded(lane) => lane.next(n).await?.into_iter().map(EngineLease::Embedded).collect(),
            Self::JetStream(lane) => lane.next(n).await?.into_iter().map(EngineLease::JetStream).collect(),
        })
    }

    async fn state(&mut self) -> Result<Option<LaneState>, Lost> {
        either!(self, lane => lane.state().await)
    }

    async fn compare_and_set(&mut self, expected: Option<&LaneState>, new: LaneState) -> Result<bool, Lost> {
        either!(self, lane => lane.compare_and_set(expected, new).await)
    }
}

/// See [`Lease`].
pub enum EngineLease {
    /// Of the embedded engine.
    Embedded(EmbeddedLease),
    /// Of the one on NATS.
    JetStream(JetStreamLease),
}

impl Lease for EngineLease {
    fn delivery(&self) -> &Delivery {
        either!(self, lease => lease.delivery())
    }

    fn is_good(&self) -> bool {
        either!(self, lease => lease.is_good())
    }

    async fn lost(&self) {
        either!(self, lease => lease.lost().await);
    }

    async fn settle(self, outcome: Outcome) -> Settled {
        either!(self, lease => lease.settle(outcome).await)
    }
}
