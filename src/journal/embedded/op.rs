//! What the writer is asked to do.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::cell::Cell;
use super::dead::Forget;
use super::record::{self, Ticket};
use super::store::StoreError;
use crate::journal::{Append, Appended, DeathNote, LaneState, Lost};
use crate::model::{Event, EventKey, Timestamp, WebhookUid};

/// One operation. Those on a lane carry the number of the claim that they
/// belong to: what a former holder knew in memory does not count any more.
pub enum Op {
    /// Store a batch.
    Append(Batch),
    /// Carry out what came of a delivery.
    Settle(Settle),
    /// Put a delivery behind an earlier one of its user.
    Park(Parking),
    /// Replace a lane's state.
    State(NewState),
    /// A reader met damage.
    Broken(StoreError),
    /// Answer when everything before this is written.
    Barrier(oneshot::Sender<()>),
    /// Remove dead letters.
    Forget(Forget),
    /// Drop what a webhook has.
    Drop(WebhookUid, oneshot::Sender<()>),
    /// Write everything and let go.
    Close(oneshot::Sender<()>),
}

impl Op {
    /// Whether somebody waits for it.
    pub fn is_urgent(&self) -> bool {
        match self {
            Self::Settle(settle) => settle.unblocks,
            Self::Park(_) => false,
            Self::Append(_)
            | Self::State(_)
            | Self::Broken(_)
            | Self::Barrier(_)
            | Self::Forget(_)
            | Self::Drop(..)
            | Self::Close(_) => true,
        }
    }

    /// Who waits for the end, if it is that.
    pub fn into_close(self) -> Option<oneshot::Sender<()>> {
        match self {
            Self::Close(answer) => Some(answer),
            Self::Append(_)
            | Self::Settle(_)
            | Self::Park(_)
            | Self::State(_)
            | Self::Broken(_)
            | Self::Barrier(_)
            | Self::Forget(_)
            | Self::Drop(..) => None,
        }
    }
}

/// Events that are stored together or not at all.
pub struct Batch {
    /// In order.
    pub items: Vec<Item>,
    /// Of all records.
    pub bytes: u64,
    /// Of the tickets of all deliveries.
    pub tickets: u64,
    /// That may wait of a namespace when it is stored.
    pub most: Option<u64>,
    /// Permits that it holds of the inbox's bytes.
    pub permits: u32,
    /// One answer for each item.
    pub answer: oneshot::Sender<Vec<Appended>>,
}

/// An event made ready to be written, by its caller's thread.
pub struct Item {
    /// What tells it from others.
    pub key: EventKey,
    /// A hash of its namespace.
    pub space: u64,
    /// A hash of its subject.
    pub user: u64,
    /// From [`record::begin_entry`].
    pub entry: Vec<u8>,
    /// For the lanes that have nothing else to do.
    pub event: Arc<Event>,
    /// Each once.
    pub webhooks: Vec<WebhookUid>,
}

impl Item {
    /// Does the work that needs no writer.
    pub fn new(append: Append) -> Self {
        let Append { event, mut webhooks } = append;
        if webhooks.len() > 1 {
            webhooks.sort_unstable();
            webhooks.dedup();
        }
        Self {
            key: event.key(),
            space: record::short_hash(&event.namespace),
            user: record::short_hash(&event.subject),
            entry: record::begin_entry(&event),
            event,
            webhooks,
        }
    }
}

/// Where a delivery is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the order of acceptance.
    Ready,
    /// By time.
    Retry(Timestamp),
}

/// What came of a delivery.
pub struct Settle {
    /// Its lane.
    pub cell: Arc<Cell>,
    /// The claim that it was leased under.
    pub epoch: u64,
    /// The event's number.
    pub seq: u64,
    /// Where it is queued.
    pub place: Place,
    /// What is stored with it.
    pub ticket: Ticket,
    /// What to do.
    pub end: End,
    /// Whether others of the same user may be parked behind it.
    pub unblocks: bool,
}

/// See [`Settle`].
pub enum End {
    /// It was delivered.
    Done,
    /// It is queued again, for then.
    Retry(Timestamp, Arc<Event>),
    /// It becomes a dead letter.
    Dead(Arc<Event>, DeathNote),
    /// It outlived the retention.
    Expired,
    /// Its event cannot be read.
    Unreadable,
}

impl End {
    /// Whether it came by a lease, which waited for a permit.
    pub const fn has_permit(&self) -> bool {
        match self {
            Self::Done | Self::Retry(..) | Self::Dead(..) => true,
            Self::Expired | Self::Unreadable => false,
        }
    }
}

/// A delivery in `ready` that must wait for an earlier one.
pub struct Parking {
    /// Its lane.
    pub cell: Arc<Cell>,
    /// The claim under which it was read.
    pub epoch: u64,
    /// The event's number.
    pub seq: u64,
    /// Where it is queued so far.
    pub place: Place,
    /// What is stored with it.
    pub ticket: Ticket,
    /// The event's record, if it has to move as well.
    pub record: Option<Vec<u8>>,
}

/// See [`crate::journal::Lane::compare_and_set`].
pub struct NewState {
    /// The lane.
    pub cell: Arc<Cell>,
    /// The claim.
    pub epoch: u64,
    /// What it must be.
    pub expected: Option<LaneState>,
    /// What it becomes.
    pub new: LaneState,
    /// Whether it was.
    pub answer: oneshot::Sender<Result<bool, Lost>>,
}
