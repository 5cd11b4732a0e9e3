//! One limit: so many at one time, or so many in any second.
//!
//! ```text
//! try_take ─> Permit ── drop: given back at once
//!    │           └───── spend: given back a second later
//!    └─ NoRoom ── wait: in turn ─> Permit
//! ```
//!
//! What was spent is counted in slices of time, and a slice is given back only when
//! all of it is more than a second ago: so the limit holds for every second, wherever
//! it begins. Who waits is served in the order of coming, and while somebody
//! waits nobody else finds a permit.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Limit;

const SECOND: Duration = Duration::from_secs(1);
const SLICE: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Debug)]
pub(super) struct Bound {
    limit: Limit,
    free: Arc<Semaphore>,
    /// What comes back later: how many, of the slices that began then.
    spent: Mutex<VecDeque<(Instant, usize)>>,
    /// Held by the one of those who wait that gives back for all.
    refilling: tokio::sync::Mutex<()>,
    counts: Counts,
}

/// What is counted of all bounds of a kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) waits: Counter,
    pub(super) waiting: Gauge,
}

/// The right to do it once.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    bound: Arc<Bound>,
    permit: OwnedSemaphorePermit,
}

/// No room now.
#[derive(Clone, Debug)]
#[must_use]
pub struct NoRoom(Arc<Bound>);

impl Bound {
    pub(super) fn new(limit: Limit, most: usize, counts: Counts) -> Self {
        let free = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        let (spent, refilling) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { limit, free, spent, refilling, counts }
    }

    pub(super) fn try_take(self: &Arc<Self>) -> Result<Permit, NoRoom> {
        let take = || self.free.clone().try_acquire_owned();
        let taken = take().or_else(|full| match self.limit {
            Limit::InFlight => Err(full),
            Limit::Requests | Limit::Connects => {
                self.refill(Instant::now());
                take()
            }
        });
        match taken {
            Ok(permit) => Ok(Permit { bound: self.clone(), permit }),
            Err(_) => Err(NoRoom(self.clone())),
        }
    }

    /// Whether somebody has a permit of it, waits for one, or spent one in the last second.
    pub(super) fn is_in_use(self: &Arc<Self>, now: Instant) -> bool {
        self.refill(now).is_some() || Arc::strong_count(self) > 1
    }

    /// Gives back what was spent more than a second ago; when there is more to give back.
    fn refill(&self, now: Instant) -> Option<Instant> {
        self.give_back(&mut self.spent(), now)
    }

    fn give_back(&self, spent: &mut VecDeque<(Instant, usize)>, now: Instant) -> Option<Instant> {
        loop {
            let &(began, count) = spent.front()?;
            let due = began + SLICE + SECOND;
            if due > now {
                return Some(due);
            }
            spent.pop_front();
            self.free.add_permits(count);
        }
    }

    /// Gives back in time, for as long as it is this one's turn to.
    async fn refill_always(&self) -> Infallible {
        if self.limit == Limit::InFlight {
            return std::future::pending().await;
        }
        let _turn = self.refilling.lock().await;
        loop {
            let now = Instant::now();
            // What is spent from now on comes back no earlier.
            let due = self.refill(now).unwrap_or(now + SECOND);
            tokio::time::sleep_until(due.into()).await;
        }
    }

    /// Nothing that is done under this lock leaves it half done.
    fn spent(&self) -> MutexGuard<'_, VecDeque<(Instant, usize)>> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    pub(super) fn is_of(&self, bound: &Arc<Bound>) -> bool {
        Arc::ptr_eq(&self.bound, bound)
    }

    /// It is done now: the permit comes back when this second is over.
    pub(super) fn spend(self) {
        let now = Instant::now();
        let mut spent = self.bound.spent();
        match spent.back_mut() {
            Some((began, count)) if now.saturating_duration_since(*began) < SLICE => *count += 1,
            Some(_) | None => {
                // So that no more slices are kept than a second has.
                self.bound.give_back(&mut spent, now);
                spent.push_back((now, 1));
            }
        }
        drop(spent);
        self.permit.forget();
    }
}

impl NoRoom {
    /// Which limit was reached.
    pub fn limit(&self) -> Limit {
        self.0.limit
    }

    /// Whether there is some by now, and nobody waits for it.
    ///
    /// # Errors
    /// There is none.
    pub fn try_again(&self) -> Result<Permit, Self> {
        self.0.try_take()
    }

    /// Waits for room, behind those who came before.
    pub async fn wait(self) -> Permit {
        let Self(bound) = self;
        bound.counts.waits.inc();
        let _waiting = Waiting::new(&bound.counts.waiting);
        tokio::select! {
            biased;
            permit = bound.free.clone().acquire_owned() => match permit {
                Ok(permit) => Permit { bound: bound.clone(), permit },
                // Nobody closes it.
                Err(_closed) => std::future::pending().await,
            },
            never = bound.refill_always() => match never {},
        }
    }
}

/// Counts somebody as waiting for as long as it lives.
struct Waiting<'a>(&'a Gauge);

impl<'a> Waiting<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use futures::future::BoxFuture;

    use super::*;

    fn bound(limit: Limit, most: usize) -> Arc<Bound> {
        Arc::new(Bound::new(limit, most, Counts::default()))
    }

    /// The permit of one, and two that wait for it in this order.
    fn taken_with_two_waiting(
        bound: &Arc<Bound>,
    ) -> (Permit, BoxFuture<'static, Permit>, BoxFuture<'static, Permit>) {
        let first = bound.try_take().unwrap();
        let wait = || bound.try_take().unwrap_err().wait().boxed();
        let (mut second, mut third) = (wait(), wait());
        assert!((&mut second).now_or_never().is_none());
        assert!((&mut third).now_or_never().is_none());
        (first, second, third)
    }

    #[tokio::test]
    async fn who_waits_is_served_in_turn_and_before_who_comes_later() {
        let bound = bound(Limit::InFlight, 1);
        let (first, mut second, mut third) = taken_with_two_waiting(&bound);
        assert_eq!(bound.counts.waiting.get(), 2);
        drop(first);
        assert!(bound.try_take().is_err(), "it is the second's");
        assert!((&mut third).now_or_never().is_none());
        let second = (&mut second).now_or_never().expect("its turn");
        drop(second);
        assert!((&mut third).now_or_never().is_some());
        assert_eq!((bound.counts.waiting.get(), bound.counts.waits.get()), (0, 2));
    }

    #[tokio::test]
    async fn who_stops_waiting_holds_up_nobody() {
        let bound = bound(Limit::InFlight, 1);
        let (first, second, mut third) = taken_with_two_waiting(&bound);
        drop(first);
        drop(second);
        assert!((&mut third).now_or_never().is_some());
    }

    #[tokio::test]
    async fn what_was_not_spent_is_given_back_at_once() {
        let bound = bound(Limit::Requests, 1);
        drop(bound.try_take().unwrap());
        bound.try_take().unwrap().spend();
        assert!(bound.try_take().is_err());
    }

    #[tokio::test]
    async fn no_second_has_more_than_the_limit_and_little_time_is_lost() {
        let bound = bound(Limit::Requests, 20);
        let start = Instant::now();
        let mut spent = Vec::new();
        while spent.len() < 60 {
            let permit = match bound.try_take() {
                Ok(permit) => permit,
                Err(full) => full.wait().await,
            };
            spent.push(Instant::now());
            permit.spend();
        }
        for window in spent.windows(21) {
            assert!(window[20] - window[0] >= SECOND, "{:?}", window[20] - window[0]);
        }
        assert!(start.elapsed() < 4 * SECOND, "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn it_is_in_use_until_what_was_spent_is_given_back() {
        let bound = bound(Limit::Connects, 2);
        let now = Instant::now();
        assert!(!bound.is_in_use(now));
        let permit = bound.try_take().unwrap();
        assert!(bound.is_in_use(now));
        permit.spend();
        assert!(bound.is_in_use(now));
        assert!(!bound.is_in_use(now + SECOND + 2 * SLICE));
        assert_eq!(bound.free.available_permits(), 2);
    }
}
