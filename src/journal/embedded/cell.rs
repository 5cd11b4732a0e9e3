//! What is in memory of one webhook: a few counters, and more while somebody
//! holds its lane.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::holder::Holder;
use super::record::{Corrupt, Reader};
use crate::model::{Timestamp, WebhookUid};

/// One webhook.
pub struct Cell {
    /// Which.
    pub webhook: WebhookUid,
    inner: Mutex<Inner>,
    /// The holder has something new to look at.
    pub changed: Notify,
}

/// See [`Cell`].
#[derive(Default)]
pub struct Inner {
    /// Deliveries that have not ended: all of the following, and `ready`.
    pub pending: u64,
    /// Those of them in `retry`.
    pub retrying: u64,
    /// Those of them parked in `order`.
    pub parked: u64,
    /// Dead letters.
    pub dead: u64,
    /// Bytes of their records.
    pub dead_bytes: u64,
    /// Dead letters that were evicted, ever.
    pub evicted: u64,
    /// No dead letter died before; `None` if that is not known.
    pub oldest_dead: Option<Timestamp>,
    /// No delivery in `ready` has a smaller number, nor will one.
    pub low: u64,
    /// No delivery was accepted before.
    pub oldest: Option<Timestamp>,
    /// A hash of its namespace, which an event of it tells; 0 before that. `None` if a version
    /// of Herald wrote it that did not count what is queued of a namespace.
    pub namespace: Option<u64>,
    /// How many times the lane was claimed; the number of the last claim.
    pub epoch: u64,
    /// Whether it is claimed now.
    pub claimed: bool,
    /// Whether it is among those that are to be named as unclaimed.
    pub reported: bool,
    /// Whether its deliveries are being dropped.
    pub dropping: bool,
    /// Of this claim and those before nothing counts any more: what they held was dropped.
    pub dropped: u64,
    /// What its holder knows, when the claim is complete.
    pub holder: Option<Box<Holder>>,
}

impl Cell {
    /// Of a webhook that has nothing.
    pub fn new(webhook: WebhookUid) -> Self {
        Self { webhook, inner: Mutex::default(), changed: Notify::new() }
    }

    /// For a short look or change; never across I/O of the holder.
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lane from its holder, if `epoch` is still its claim.
    pub fn release(&self, epoch: u64) -> bool {
        let mut inner = self.lock();
        let ours = inner.claimed && inner.epoch == epoch;
        if ours {
            inner.revoke();
        }
        drop(inner);
        if ours {
            self.changed.notify_one();
        }
        ours
    }
}

impl Inner {
    /// The holder of this claim, if the claim stands.
    pub fn holder(&mut self, epoch: u64) -> Option<&mut Holder> {
        if self.epoch == epoch { self.holder.as_deref_mut() } else { None }
    }

    /// The counts, to be stored with every change of them.
    pub fn encode(&self) -> [[u8; 8]; 9] {
        let oldest = self.oldest.map_or(u64::MAX, Timestamp::as_millis);
        let namespace = self.namespace.unwrap_or(0);
        let Self { low, dead, pending, retrying, parked, dead_bytes, evicted, .. } = *self;
        [low, dead, pending, retrying, parked, oldest, dead_bytes, evicted, namespace].map(u64::to_be_bytes)
    }

    /// Takes over what [`Self::encode`] wrote; `false` if an older version did,
    /// which did not count the bytes of dead letters.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<bool, Corrupt> {
        let mut reader = Reader { bytes, kind: "lane" };
        self.low = reader.u64()?;
        self.dead = reader.u64()?;
        self.pending = reader.u64()?;
        self.retrying = reader.u64()?;
        self.parked = reader.u64()?;
        self.oldest = Some(reader.u64()?).filter(|oldest| *oldest != u64::MAX).map(Timestamp::from_millis);
        if reader.bytes.is_empty() {
            return Ok(false);
        }
        self.dead_bytes = reader.u64()?;
        self.evicted = reader.u64()?;
        if !reader.bytes.is_empty() {
            self.namespace = Some(reader.u64()?);
        }
        Ok(true)
    }

    /// Ends the claim; every lease of it is stale.
    pub fn revoke(&mut self) {
        self.raise_low();
        self.claimed = false;
        self.holder = None;
    }

    /// Forgets what the store is about to be asked again. What claims so far
    /// have sent or will send does not count any more.
    pub fn forget(&mut self) {
        let (epoch, reported) = (self.epoch, self.reported);
        *self = Self { epoch, reported, dropped: epoch, ..Self::default() };
    }

    /// Moves the low-water mark up to what has not ended on the disk.
    pub fn raise_low(&mut self) {
        if let Some(holder) = &self.holder {
            self.low = self.low.max(holder.low());
        }
    }
}
