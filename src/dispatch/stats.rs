//! What a lane tells the reporter, without waiting for it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::api::DeliveringReason;
use crate::model::{Timestamp, WebhookUid};
use crate::outbound::Limit;

/// The last attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LastFailure {
    pub(super) at: Timestamp,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// What one lane has seen, kept while the process runs.
#[derive(Debug, Default)]
pub(super) struct LaneStats {
    last_success: AtomicU64,
    /// Whether the last attempt was successful.
    succeeds: AtomicBool,
    last_failure: Mutex<Option<LastFailure>>,
    /// Why the lane holds what it has although the webhook's own state would let it.
    held: Mutex<Option<(DeliveringReason, String)>>,
    /// What of its destination the lane waits for all the time.
    slowed: Mutex<Option<Limit>>,
    /// Whether `held` was ever worked out.
    looked: AtomicBool,
    told: AtomicBool,
}

impl LaneStats {
    /// An attempt was successful. Whether the one before was not.
    pub(super) fn success(&self, at: Timestamp) -> bool {
        self.last_success.store(at.as_millis(), Ordering::Release);
        !self.succeeds.swap(true, Ordering::AcqRel)
    }

    /// Whether the last attempt of this process was successful.
    pub(super) fn succeeds(&self) -> bool {
        self.succeeds.load(Ordering::Acquire)
    }

    pub(super) fn failure(&self, failure: LastFailure) {
        self.succeeds.store(false, Ordering::Release);
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
    }
}

/// A copy of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) last_success: Option<Timestamp>,
    pub(super) last_failure: Option<LastFailure>,
    pub(super) held: Option<(DeliveringReason, String)>,
    /// What of its destination it waits for all the time.
    pub(super) slowed: Option<Limit>,
    /// Whether the lane has looked; if not, `held` says nothing.
    pub(super) looked: bool,
}

/// The lanes' stats, and which of them have news.
#[derive(Debug, Default)]
pub(super) struct Board {
    lanes: Mutex<HashMap<WebhookUid, Arc<LaneStats>>>,
    news: Mutex<Vec<WebhookUid>>,
    some: Notify,
}

impl Board {
    pub(super) fn lane(&self, uid: WebhookUid) -> Arc<LaneStats> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).entry(uid).or_default().clone()
    }

    pub(super) fn snapshot(&self, uid: WebhookUid) -> Snapshot {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stats) = lanes.get(&uid) else {
            return Snapshot::default();
        };
        stats.told.store(false, Ordering::Release);
        let last_success = stats.last_success.load(Ordering::Acquire);
        Snapshot {
            last_success: (last_success != 0).then(|| Timestamp::from_millis(last_success)),
            last_failure: stats.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            held: stats.held.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            slowed: *stats.slowed.lock().unwrap_or_else(PoisonError::into_inner),
            looked: stats.looked.load(Ordering::Acquire),
        }
    }

    /// How many lanes are held for this reason.
    pub(super) fn count_held(&self, reason: DeliveringReason) -> usize {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let held = |lane: &&Arc<LaneStats>| {
            let held = lane.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.as_ref().is_some_and(|(held, _)| *held == reason)
        };
        lanes.values().filter(held).count()
    }

    pub(super) fn forget(&self, uid: WebhookUid) {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
    }

    /// The webhooks with news since the last call; waits until there are some.
    pub(super) async fn news(&self) -> Vec<WebhookUid> {
        loop {
            let news = std::mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner));
            if !news.is_empty() {
                return news;
            }
            self.some.notified().await;
        }
    }

    pub(super) fn hold(&self, uid: WebhookUid, lane: &LaneStats, held: Option<(DeliveringReason, String)>) {
        let mut now = lane.held.lock().unwrap_or_else(PoisonError::into_inner);
        let first = !lane.looked.swap(true, Ordering::AcqRel);
        if *now != held || first {
            *now = held;
            drop(now);
            self.tell(uid, lane);
        }
    }

    /// Whether the webhook is slowed down, and by what.
    pub(super) fn slow(&self, uid: WebhookUid, lane: &LaneStats, by: Option<Limit>) {
        let before = {
            let mut slowed = lane.slowed.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *slowed, by)
        };
        if before != by {
            self.tell(uid, lane);
        }
    }

    /// Has the webhook looked at: its queue is not what its status says.
    pub(super) fn nudge(&self, uid: WebhookUid) {
        let lane = self.lane(uid);
        self.tell(uid, &lane);
    }

    /// Says that a delivery has ended and the journal knows it.
    pub(super) fn settled(&self, uid: WebhookUid, lane: &LaneStats) {
        self.tell(uid, lane);
    }

    /// One entry a webhook until it is read: the list is bounded by their number.
    fn tell(&self, uid: WebhookUid, lane: &LaneStats) {
        if !lane.told.swap(true, Ordering::AcqRel) {
            self.news.lock().unwrap_or_else(PoisonError::into_inner).push(uid);
            self.some.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const UID: WebhookUid = WebhookUid::from_bytes([1; 16]);

    #[tokio::test]
    async fn news_of_a_webhook_is_told_once_until_it_is_looked_at() {
        let board = Board::default();
        let lane = board.lane(UID);
        assert!(board.news().now_or_never().is_none());
        board.settled(UID, &lane);
        board.settled(UID, &lane);
        assert_eq!(board.news().await, [UID]);
        board.settled(UID, &lane);
        assert!(board.news().now_or_never().is_none(), "it was not looked at yet");
        board.snapshot(UID);
        board.nudge(UID);
        assert_eq!(board.news().await, [UID]);
    }

    #[tokio::test]
    async fn a_hold_is_news_the_first_time_and_when_it_is_another() {
        let board = Board::default();
        let lane = board.lane(UID);
        assert!(!board.snapshot(UID).looked);
        let gone = || Some((DeliveringReason::Gone, "it said 410".to_owned()));
        for (held, news) in [(None, true), (None, false), (gone(), true), (gone(), false), (None, true)] {
            board.hold(UID, &lane, held.clone());
            assert_eq!(board.news().now_or_never().is_some(), news, "{held:?}");
            let snapshot = board.snapshot(UID);
            assert_eq!((snapshot.held, snapshot.looked), (held, true));
        }
        board.forget(UID);
        assert!(!board.snapshot(UID).looked);
    }

    #[test]
    fn a_snapshot_has_the_last_of_everything() {
        let board = Board::default();
        let lane = board.lane(UID);
        let at = Timestamp::from_millis;
        let failure =
            |millis| LastFailure { at: at(millis), reason: "TimedOut", message: millis.to_string() };
        assert_eq!(board.snapshot(UID).last_success, None);
        for millis in [5, 7] {
            lane.success(at(millis));
            lane.failure(failure(millis));
        }
        let snapshot = board.snapshot(UID);
        assert_eq!((snapshot.last_success, snapshot.last_failure), (Some(at(7)), Some(failure(7))));
    }
}
