//! A journal that keeps its promises in the worst way: for tests.
//!
//! ```text
//! append   answers Unknown, having stored the batch or not
//! next     gives some leases twice, in another order, or loses the lane
//! settle   answers Unknown or Stale, having acted on it or not
//! claim    says Held now and then; unclaimed names what has nothing
//! ```
//!
//! Whoever works with this one works with any engine. All of it comes from a
//! seed, so that what went wrong goes wrong again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::calendar::Calendar;
use super::inspect::{AttemptFilter, Cursor, Kept, KeptFilter, LetterId, Page, PendingDelivery};
use super::{
    Append, Appended, Attempt, ClaimError, DeadLetter, Delivery, Depth, Inspect, Journal, Lane, LaneState,
    Lease, Lost, Outcome, Settled, Unavailable,
};
use crate::model::{Ordering, Timestamp, WebhookUid};

/// A journal around another.
#[derive(Clone)]
pub struct Chaos<J> {
    inner: J,
    dice: Dice,
}

/// Decides what goes wrong.
#[derive(Clone)]
struct Dice(Arc<Mutex<StdRng>>);

impl Dice {
    /// Once in `sides` times.
    fn hits(&self, sides: u32) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).random_range(0..sides) == 0
    }

    fn index(&self, length: usize) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).random_range(0..length)
    }
}

impl<J: Journal> Chaos<J> {
    /// Around `inner`; the same seed does the same harm.
    pub fn new(inner: J, seed: u64) -> Self {
        Self { inner, dice: Dice(Arc::new(Mutex::new(StdRng::seed_from_u64(seed)))) }
    }

    /// Is away now and then.
    fn by_chance(&self) -> Result<(), Unavailable> {
        if self.dice.hits(6) { Err(Unavailable("by chance".to_owned())) } else { Ok(()) }
    }
}

impl<J: Journal> Journal for Chaos<J> {
    type Lane = ChaosLane<J::Lane>;

    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    async fn append_within(&self, batch: Vec<Append>, most: Option<u64>) -> Vec<Appended> {
        let unknown = vec![Appended::Unknown; batch.len()];
        if self.dice.hits(6) {
            return unknown;
        }
        let answers = self.inner.append_within(batch, most).await;
        if self.dice.hits(6) { unknown } else { answers }
    }

    fn runs(&self, webhook: WebhookUid) -> bool {
        self.inner.runs(webhook)
    }

    async fn claim(&self, webhook: WebhookUid, ordering: Ordering) -> Result<Self::Lane, ClaimError> {
        if self.dice.hits(6) {
            return Err(ClaimError::Held);
        }
        let inner = Some(self.inner.claim(webhook, ordering).await?);
        let repeats = VecDeque::new();
        Ok(ChaosLane { inner, dice: self.dice.clone(), ordering, repeats })
    }

    async fn unclaimed(&self) -> Vec<WebhookUid> {
        if self.dice.hits(8) {
            return vec![WebhookUid::from_bytes([0xee; 16])];
        }
        let mut webhooks = self.inner.unclaimed().await;
        if self.dice.hits(4) {
            webhooks.extend_from_within(..);
        }
        webhooks
    }

    async fn drop_webhook(&self, webhook: WebhookUid) -> Result<(), Unavailable> {
        self.by_chance()?;
        self.inner.drop_webhook(webhook).await
    }

    async fn depth(&self, webhook: WebhookUid) -> Result<Depth, Unavailable> {
        self.inner.depth(webhook).await
    }

    async fn oldest(&self, webhook: WebhookUid) -> Result<Option<Timestamp>, Unavailable> {
        self.inner.oldest(webhook).await
    }

    fn note(&self, attempt: Attempt) {
        self.inner.note(attempt);
    }

    async fn close(&self) -> Result<(), Unavailable> {
        self.inner.close().await
    }
}

impl<J: Inspect> Inspect for Chaos<J> {
    fn calendar(&self) -> Calendar {
        self.inner.calendar()
    }

    async fn pending(
        &self,
        webhook: WebhookUid,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<PendingDelivery>, Unavailable> {
        self.by_chance()?;
        self.inner.pending(webhook, cursor, limit).await
    }

    async fn dead_letters(
        &self,
        webhook: WebhookUid,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<DeadLetter>, Unavailable> {
        self.by_chance()?;
        self.inner.dead_letters(webhook, cursor, limit).await
    }

    async fn forget_dead(&self, webhook: WebhookUid, letters: Vec<LetterId>) -> Result<(), Unavailable> {
        self.by_chance()?;
        self.inner.forget_dead(webhook, letters).await
    }

    async fn attempts(
        &self,
        of: AttemptFilter,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Attempt>, Unavailable> {
        self.by_chance()?;
        self.inner.attempts(of, cursor, limit).await
    }

    async fn kept(
        &self,
        of: KeptFilter,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Kept>, Unavailable> {
        self.by_chance()?;
        self.inner.kept(of, cursor, limit).await
    }
}

/// A lane that may be lost at any time.
pub struct ChaosLane<L> {
    /// `None` once it was lost.
    inner: Option<L>,
    dice: Dice,
    ordering: Ordering,
    /// What will be leased again though nobody gave it back.
    repeats: VecDeque<Delivery>,
}

impl<L: Lane> ChaosLane<L> {
    fn lane(&mut self) -> Result<&mut L, Lost> {
        if self.dice.hits(12) {
            self.inner = None;
        }
        self.inner.as_mut().ok_or(Lost)
    }
}

impl<L: Lane> Lane for ChaosLane<L> {
    type Lease = ChaosLease<L::Lease>;

    async fn next(&mut self, n: usize) -> Result<Vec<Self::Lease>, Lost> {
        let dice = self.dice.clone();
        self.lane()?;
        if let Some(delivery) = self.repeats.pop_front() {
            return Ok(vec![ChaosLease { inner: None, delivery, dice }]);
        }
        let leases = self.lane()?.next(n).await?;
        let mut leases: VecDeque<_> = leases.into_iter().collect();
        let mut given = Vec::with_capacity(leases.len());
        while !leases.is_empty() {
            // Per-user order is a promise, any other is not.
            let index = if self.ordering == Ordering::None { dice.index(leases.len()) } else { 0 };
            let Some(lease) = leases.remove(index) else { break };
            let delivery = lease.delivery().clone();
            if self.ordering == Ordering::None && dice.hits(10) {
                self.repeats.push_back(delivery.clone());
            }
            given.push(ChaosLease { inner: Some(lease), delivery, dice: dice.clone() });
        }
        Ok(given)
    }

    async fn state(&mut self) -> Result<Option<LaneState>, Lost> {
        self.lane()?.state().await
    }

    async fn compare_and_set(&mut self, expected: Option<&LaneState>, new: LaneState) -> Result<bool, Lost> {
        self.lane()?.compare_and_set(expected, new).await
    }
}

/// A lease, or the repeat of one.
pub struct ChaosLease<E> {
    inner: Option<E>,
    delivery: Delivery,
    dice: Dice,
}

impl<E: Lease> Lease for ChaosLease<E> {
    fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    async fn settle(mut self, outcome: Outcome) -> Settled {
        let Some(lease) = self.inner.take() else {
            return Settled::Stale;
        };
        if self.dice.hits(12) {
            // The lease goes back without its outcome.
            drop(lease);
            return Settled::Unknown;
        }
        let settled = lease.settle(outcome).await;
        if self.dice.hits(12) { Settled::Unknown } else { settled }
    }
}
