//! One limit: so many at one time, or so many in any second.
//!
//! ```text
//! Share ── try_take ─> Permit ── drop: given back at once
//!              │         └───── spend: given back a second later
//!              └─ NoRoom ── wait: in turn ─> Permit
//! ```
//!
//! What was spent is counted in slices of time, and a slice is given back only when
//! all of it is more than a second ago: so the limit holds for every second, wherever
//! it begins. Each namespace has a share, and of those that wait the one whose share
//! has least is served: [`Shares`].

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::oneshot;

use super::Limit;
use super::shares::{Moment, PartyId, Shares};

const SECOND: Duration = Duration::from_secs(1);
const SLICE: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Debug)]
pub(super) struct Bound {
    limit: Limit,
    state: Mutex<State>,
    /// Held by the one of those who wait that gives back for all.
    refilling: tokio::sync::Mutex<()>,
    counts: Counts,
}

#[derive(Debug)]
struct State {
    shares: Shares<Waiter>,
    /// What comes back later, by when it was spent.
    spent: VecDeque<Slice>,
}

#[derive(Debug)]
struct Slice {
    began: Instant,
    by: Vec<(PartyId, usize)>,
}

/// What is counted of all bounds of a kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) waits: Counter,
    pub(super) waiting: Gauge,
}

/// A bound as one namespace has a part in it.
#[derive(Debug)]
pub(super) struct Share {
    bound: Arc<Bound>,
    party: PartyId,
}

/// The right to do it once.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    /// `None` once it is spent.
    share: Option<Arc<Share>>,
}

/// No room now.
#[derive(Clone, Debug)]
#[must_use]
pub struct NoRoom(Arc<Share>);

impl Bound {
    pub(super) fn new(limit: Limit, most: usize, counts: Counts) -> Self {
        let state = Mutex::new(State { shares: Shares::new(most), spent: VecDeque::new() });
        Self { limit, state, refilling: tokio::sync::Mutex::default(), counts }
    }

    /// Gives back what was spent more than a second ago; when there is more to give back.
    fn refill(&self, now: Instant) -> Option<Instant> {
        let (served, due) = self.state().refill(now);
        serve(served);
        due
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

    /// Nothing that is done under this lock leaves it half done, nor drops a permit.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn refill(&mut self, now: Instant) -> (Vec<Waiter>, Option<Instant>) {
        let mut served = Vec::new();
        loop {
            let Some(due) = self.spent.front().map(Slice::due) else { return (served, None) };
            if due > now {
                return (served, Some(due));
            }
            if let Some(slice) = self.spent.pop_front() {
                served.extend(self.shares.give_back(slice.by));
            }
        }
    }

    fn spend(&mut self, party: PartyId, now: Instant) -> Vec<Waiter> {
        let slice = match self.spent.back_mut() {
            Some(slice) if now.saturating_duration_since(slice.began) < SLICE => slice,
            Some(_) | None => {
                // So that no more slices are kept than a second has.
                let (served, _) = self.refill(now);
                self.spent.push_back(Slice { began: now, by: vec![(party, 1)] });
                return served;
            }
        };
        match slice.by.last_mut() {
            Some((last, count)) if *last == party => *count += 1,
            Some(_) | None => slice.by.push((party, 1)),
        }
        Vec::new()
    }
}

impl Slice {
    fn due(&self) -> Instant {
        self.began + SLICE + SECOND
    }
}

impl Share {
    pub(super) fn of(bound: Arc<Bound>) -> Self {
        let party = bound.state().shares.join();
        Self { bound, party }
    }

    pub(super) fn try_take(self: &Arc<Self>) -> Result<Permit, NoRoom> {
        let mut state = self.bound.state();
        let mut taken = state.shares.take(self.party);
        let mut served = Vec::new();
        if !taken && self.bound.limit != Limit::InFlight {
            (served, _) = state.refill(Instant::now());
            taken = state.shares.take(self.party);
        }
        drop(state);
        serve(served);
        if taken { Ok(Permit { share: Some(self.clone()) }) } else { Err(NoRoom(self.clone())) }
    }

    /// Whether somebody has a permit of it, waits for one, or spent one in the last second.
    pub(super) fn is_in_use(self: &Arc<Self>, now: Instant) -> bool {
        self.bound.refill(now);
        Arc::strong_count(self) > 1 || self.bound.state().shares.has(self.party) > 0
    }

    fn give_back(&self) {
        let served = self.bound.state().shares.give_back([(self.party, 1)]);
        serve(served);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.bound.state().shares.leave(self.party);
    }
}

impl Permit {
    pub(super) fn is_of(&self, share: &Arc<Share>) -> bool {
        self.share.as_ref().is_some_and(|own| Arc::ptr_eq(own, share))
    }

    /// It is done now: the permit comes back when this second is over.
    pub(super) fn spend(mut self) {
        if let Some(share) = self.share.take() {
            let served = share.bound.state().spend(share.party, Instant::now());
            serve(served);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(share) = self.share.take() {
            share.give_back();
        }
    }
}

impl NoRoom {
    /// Which limit was reached.
    pub fn limit(&self) -> Limit {
        self.0.bound.limit
    }

    /// Whether there is some by now.
    ///
    /// # Errors
    /// There is none.
    pub fn try_again(&self) -> Result<Permit, Self> {
        self.0.try_take()
    }

    /// Waits for room until it is this namespace's turn, and in it this one's.
    pub async fn wait(self) -> Permit {
        let Self(share) = self;
        share.bound.counts.waits.inc();
        let mut waiting = match Waiting::begin(share.clone()) {
            Ok(waiting) => waiting,
            Err(permit) => return permit,
        };
        tokio::select! {
            biased;
            permit = &mut waiting.turn => match permit {
                Ok(permit) => permit,
                // Nobody drops what it is told by.
                Err(_dropped) => std::future::pending().await,
            },
            never = share.bound.refill_always() => match never {},
        }
    }
}

/// How somebody that waits is told that its turn has come.
#[derive(Debug)]
struct Waiter {
    share: Arc<Share>,
    turn: oneshot::Sender<Permit>,
}

/// Hands over what was taken for them. Not under the lock: who went away meanwhile gives it back.
fn serve(served: Vec<Waiter>) {
    for Waiter { share, turn } in served {
        drop(turn.send(Permit { share: Some(share) }));
    }
}

/// Somebody waits for as long as it lives.
struct Waiting {
    share: Arc<Share>,
    since: Moment,
    turn: oneshot::Receiver<Permit>,
}

impl Waiting {
    /// Unless there is room now.
    fn begin(share: Arc<Share>) -> Result<Self, Permit> {
        let (waiter, turn) = oneshot::channel();
        let mut state = share.bound.state();
        if state.shares.take(share.party) {
            drop(state);
            return Err(Permit { share: Some(share) });
        }
        let since = state.shares.wait(share.party, Waiter { share: share.clone(), turn: waiter });
        drop(state);
        share.bound.counts.waiting.inc();
        Ok(Self { share, since, turn })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.share.bound.counts.waiting.dec();
        let stopped = self.share.bound.state().shares.stop(self.share.party, self.since);
        // Wakes somebody, and so not under the lock.
        drop(stopped);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::future::BoxFuture;

    use super::*;

    fn share(limit: Limit, most: usize) -> Arc<Share> {
        let [share] = shares(limit, most);
        share
    }

    /// Of one bound.
    fn shares<const N: usize>(limit: Limit, most: usize) -> [Arc<Share>; N] {
        let bound = Arc::new(Bound::new(limit, most, Counts::default()));
        [(); N].map(|()| Arc::new(Share::of(bound.clone())))
    }

    /// The permit of one, and two that wait for it in this order.
    fn taken_with_two_waiting(
        share: &Arc<Share>,
    ) -> (Permit, BoxFuture<'static, Permit>, BoxFuture<'static, Permit>) {
        let first = share.try_take().unwrap();
        let wait = || share.try_take().unwrap_err().wait().boxed();
        let (mut second, mut third) = (wait(), wait());
        assert!((&mut second).now_or_never().is_none());
        assert!((&mut third).now_or_never().is_none());
        (first, second, third)
    }

    #[tokio::test]
    async fn who_waits_is_served_in_turn_and_before_who_comes_later() {
        let share = share(Limit::InFlight, 1);
        let (first, mut second, mut third) = taken_with_two_waiting(&share);
        assert_eq!(share.bound.counts.waiting.get(), 2);
        drop(first);
        assert!(share.try_take().is_err(), "it is the second's");
        assert!((&mut third).now_or_never().is_none());
        let second = (&mut second).now_or_never().expect("its turn");
        drop(second);
        assert!((&mut third).now_or_never().is_some());
        assert_eq!((share.bound.counts.waiting.get(), share.bound.counts.waits.get()), (0, 2));
    }

    #[tokio::test]
    async fn what_comes_back_goes_to_the_namespace_that_has_or_has_spent_least() {
        for limit in [Limit::InFlight, Limit::Requests] {
            let [greedy, other] = shares(limit, 4);
            let use_up = |permit: Permit| match limit {
                Limit::InFlight => Some(permit),
                Limit::Requests | Limit::Connects => {
                    permit.spend();
                    None
                }
            };
            let mut has: Vec<_> = (0..4).map(|_| use_up(greedy.try_take().unwrap())).collect();
            let wait = |share: &Arc<Share>| share.try_take().unwrap_err().wait().boxed();
            let mut waiting: Vec<_> = (0..3).map(|_| wait(&greedy)).collect();
            waiting.extend([wait(&other), wait(&other)]);
            assert!(waiting.iter_mut().all(|waiting| waiting.now_or_never().is_none()));
            has.truncate(2);
            greedy.bound.refill(Instant::now() + 2 * SECOND);
            let turns: Vec<_> = waiting.iter_mut().map(FutureExt::now_or_never).collect();
            let served: Vec<_> = turns.iter().map(Option::is_some).collect();
            let expected = match limit {
                Limit::InFlight => [false, false, false, true, true],
                // All four came back.
                Limit::Requests | Limit::Connects => [true, true, false, true, true],
            };
            assert_eq!(served, expected, "{limit}");
        }
    }

    #[tokio::test]
    async fn who_stops_waiting_holds_up_nobody() {
        let share = share(Limit::InFlight, 1);
        let (first, second, mut third) = taken_with_two_waiting(&share);
        drop(first);
        drop(second);
        assert!((&mut third).now_or_never().is_some());
    }

    #[tokio::test]
    async fn what_was_not_spent_is_given_back_at_once() {
        let share = share(Limit::Requests, 1);
        drop(share.try_take().unwrap());
        share.try_take().unwrap().spend();
        assert!(share.try_take().is_err());
    }

    #[tokio::test]
    async fn no_second_has_more_than_the_limit_and_little_time_is_lost() {
        let share = share(Limit::Requests, 20);
        let start = Instant::now();
        let mut spent = Vec::new();
        while spent.len() < 60 {
            let permit = match share.try_take() {
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
        let share = share(Limit::Connects, 2);
        let now = Instant::now();
        assert!(!share.is_in_use(now));
        let permit = share.try_take().unwrap();
        assert!(share.is_in_use(now));
        permit.spend();
        assert!(share.is_in_use(now));
        assert!(!share.is_in_use(now + SECOND + 2 * SLICE));
        assert_eq!([(); 3].map(|()| share.try_take()).map(|taken| taken.is_ok()), [true, true, false]);
    }
}
