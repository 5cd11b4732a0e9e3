//! The journal: the only truth about which event goes where and how far it got.
//!
//! ```text
//! append(batch) ──> durable ──> claim(webhook) ──> Lane::next(n) ──> Lease::settle(outcome)
//!                                                       ^                  │
//!                                                       └── Retry, Release ┘
//! ```
//!
//! Two engines stand behind the trait, and nothing else knows which one runs,
//! so it promises only what both can keep.
//!
//! **Guarantees.** What `append` called [`Appended::Stored`] survives the
//! process and the machine, with all its deliveries; no lease for it is given
//! before that. A delivery that was not settled as done or dead is leased
//! again: after a crash, after its lane was lost, or at the time of its retry.
//!
//! **Does not promise.** A lease may be given twice. An outcome that was
//! [`Settled::Ok`] may be forgotten by a crash within
//! [`OUTCOME_LOSS_WINDOW`]. Counts and listings may be stale.

pub mod ask;
pub mod calendar;
#[cfg(test)]
pub mod chaos;
pub mod clock;
pub mod embedded;
pub mod engine;
pub mod import;
pub mod inspect;
pub mod jetstream;
pub mod limits;
pub mod metrics;
mod record;
#[cfg(test)]
mod suite;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use self::ask::{AskError, Question};
pub use self::inspect::{Attempt, DeadLetter, Inspect};

use crate::model::{Event, Ordering, Timestamp, WebhookUid};

/// How long an outcome may take to become durable. A crash repeats the
/// deliveries whose outcomes it lost.
pub const OUTCOME_LOSS_WINDOW: Duration = Duration::from_millis(100);

/// An event to store, and the webhooks that it was matched to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The event.
    pub event: Arc<Event>,
    /// Its deliveries; none is fine: the event is then only remembered as a duplicate.
    pub webhooks: Vec<WebhookUid>,
}

/// What became of one item of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The event and all its deliveries are durable.
    Stored,
    /// So they are already, from an earlier copy of the event, which stands.
    Duplicate,
    /// Nothing of the batch was stored, and sending it again at once would not help.
    Refused(RefusedReason),
    /// It may be stored or not. Sending it again is safe.
    Unknown,
}

/// Why nothing can be stored now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedReason {
    /// The journal's own limit on bytes or events.
    #[error("the journal is full")]
    Full,
    /// Too much of the namespace waits already.
    #[error("the namespace has too many bytes waiting")]
    OverQuota,
    /// What is left of the disk is kept for what is already accepted.
    #[error("the journal's disk is full")]
    DiskFull,
    /// The store failed and is being reopened, or the process is stopping.
    #[error("the journal is not available")]
    Unavailable,
}

/// The store of events and of the state of their deliveries.
pub trait Journal: Clone + Send + Sync + 'static {
    /// See [`Lane`].
    type Lane: Lane;

    /// The time on the journal's clock: what [`Delivery::accepted_at`] and
    /// [`Self::oldest`] are compared with. After a downtime it is behind the time of day.
    fn now(&self) -> Timestamp;

    /// Stores a batch whole or not at all, and answers for each item in order.
    fn append(&self, batch: Vec<Append>) -> impl Future<Output = Vec<Appended>> + Send {
        self.append_within(batch, None)
    }

    /// As [`Self::append`], but refuses a batch that would leave more than `most` bytes of
    /// events that wait in one namespace, as [`RefusedReason::OverQuota`]. A repeat adds
    /// nothing. What waits may be a little more or less than it was counted to be.
    fn append_within(
        &self,
        batch: Vec<Append>,
        most: Option<u64>,
    ) -> impl Future<Output = Vec<Appended>> + Send;

    /// Whether the lane of a webhook is this process's to run: not where another runs it. It may
    /// be another's at any time, and be this one's without a word.
    fn runs(&self, _: WebhookUid) -> bool {
        true
    }

    /// Asks the process that runs the lane of a webhook, where [`Self::runs`] says that this one does
    /// not. The question is sent once, and is not repeated.
    ///
    /// # Errors
    /// See [`AskError`]; after `patience` without an answer nothing is known.
    fn ask(
        &self,
        _: WebhookUid,
        _question: Bytes,
        _patience: Duration,
    ) -> impl Future<Output = Result<Bytes, AskError>> + Send {
        std::future::ready(Err(AskError::Nobody))
    }

    /// Waits for the next question of another process about a lane that is run here.
    fn asked(&self) -> impl Future<Output = Question> + Send {
        std::future::pending()
    }

    /// Becomes the one who delivers to `webhook`.
    ///
    /// # Errors
    /// Another holds the lane, or the engine cannot tell.
    fn claim(
        &self,
        webhook: WebhookUid,
        ordering: Ordering,
    ) -> impl Future<Output = Result<Self::Lane, ClaimError>> + Send;

    /// Waits for webhooks that have deliveries and whose lane nobody here
    /// holds. It may name one twice, or one that has nothing left. One that is
    /// named and not claimed is named again when something is appended for it.
    fn unclaimed(&self) -> impl Future<Output = Vec<WebhookUid>> + Send;

    /// Drops whatever is queued for a webhook that is confirmed gone.
    fn drop_webhook(&self, webhook: WebhookUid) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// How much is queued for a webhook. Cheap: it is asked for often.
    fn depth(&self, webhook: WebhookUid) -> impl Future<Output = Result<Depth, Unavailable>> + Send;

    /// When about the oldest delivery of a webhook that has not ended was accepted.
    fn oldest(
        &self,
        webhook: WebhookUid,
    ) -> impl Future<Output = Result<Option<Timestamp>, Unavailable>> + Send;

    /// Keeps an attempt for people to look at: see [`inspect`]. It costs no
    /// I/O and never waits.
    fn note(&self, attempt: Attempt);

    /// Makes everything durable that was settled, and lets go of the store.
    fn close(&self) -> impl Future<Output = Result<(), Unavailable>> + Send;
}

/// The right to deliver to one webhook. Dropping it gives the lane back, and
/// every lease of it that was not settled.
pub trait Lane: Send + 'static {
    /// See [`Lease`].
    type Lease: Lease;

    /// Waits until something is due, and leases at most `n` deliveries: those
    /// whose retry is due first, then the oldest. With [`Ordering::PerUser`]
    /// it leases no event of a user who has an earlier one that has not ended.
    ///
    /// It is safe to drop the future: nothing is leased by it then.
    ///
    /// # Errors
    /// The lane now belongs to another, or the store failed: claim it again.
    fn next(&mut self, n: usize) -> impl Future<Output = Result<Vec<Self::Lease>, Lost>> + Send;

    /// What was kept by [`Self::compare_and_set`]; `None` before the first.
    ///
    /// # Errors
    /// As for [`Self::next`].
    fn state(&mut self) -> impl Future<Output = Result<Option<LaneState>, Lost>> + Send;

    /// Replaces the lane's state if it still is `expected`, durably; `false` if it is not.
    ///
    /// # Errors
    /// As for [`Self::next`].
    fn compare_and_set(
        &mut self,
        expected: Option<&LaneState>,
        new: LaneState,
    ) -> impl Future<Output = Result<bool, Lost>> + Send;
}

/// One delivery, handed out to be tried. Dropping it releases it.
pub trait Lease: Send + Sync + 'static {
    /// What to deliver.
    fn delivery(&self) -> &Delivery;

    /// Whether an attempt may begin, which it then does: not once its lane may be another
    /// dispatcher's, or is about to be.
    fn is_good(&self) -> bool {
        true
    }

    /// Waits until an attempt that runs has to be broken off, for the order of its user: from then
    /// on another dispatcher may begin one.
    fn lost(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Says what came of it. `Settled::Ok` means that the journal acts on it,
    /// and that a crash forgets it for [`OUTCOME_LOSS_WINDOW`] at most.
    fn settle(self, outcome: Outcome) -> impl Future<Output = Settled> + Send;
}

/// An event on its way to one webhook.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What is delivered.
    pub event: Arc<Event>,
    /// When the event was accepted, on the journal's clock.
    pub accepted_at: Timestamp,
    /// How many attempts have failed.
    pub failures: u16,
}

/// What came of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Delivered.
    Done,
    /// An attempt failed; lease it again after the delay.
    Retry {
        /// From now, on the journal's clock.
        after: Duration,
    },
    /// Given up.
    Dead(DeathNote),
    /// Not tried: lease it again when there is room, without counting an attempt.
    Release,
}

/// Why a delivery was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeathNote {
    /// One word, as in the metric.
    pub reason: String,
    /// A sentence, with the last error.
    pub message: String,
}

/// What the journal did with an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It stands.
    Ok,
    /// The lease was no longer valid; somebody else delivers it, or has.
    Stale,
    /// It may stand or not; the delivery may be leased again.
    Unknown,
}

/// What is queued for one webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Deliveries that have not ended.
    pub pending: u64,
    /// Deliveries that were given up and are kept.
    pub dead: u64,
    /// Those that were kept and are no longer: too old, or beyond the bytes for them.
    pub evicted: u64,
}

/// What a lane remembers of its endpoint across restarts and takeovers.
/// Opaque to the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneState(pub Vec<u8>);

/// Why a lane was not given.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Somebody has it.
    #[error("the lane is held by another")]
    Held,
    /// The store cannot be asked now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The lane is not ours any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lane was lost")]
pub struct Lost;

/// The store cannot be asked now.
#[derive(Debug, thiserror::Error)]
#[error("the journal is not available: {0}")]
pub struct Unavailable(pub String);
