//! The limit on all webhooks' attempts, and what of it one webhook may have.
//!
//! A webhook is always granted one attempt. For each one more it needs a place:
//! it has its share while it has no more than half as many attempts as there
//! are places free, so that whoever comes later finds some. A quarter of all
//! places is for webhooks whose last attempt was successful: endpoints that
//! hang, however many, cannot take those.
//!
//! The others don't start their attempts all at once: each has a turn of its
//! own, [`TURN`] apart. Attempts that fail cost a connection each, and a
//! thousand of them in one moment would leave no processor to anybody.
//!
//! **Guarantees.** With `n` webhooks that want all they can get, each has about
//! `places / (n + 2)`, whenever it came. While all that others do is fail, a
//! webhook that succeeds can have a twelfth of all places, and `n` of them about
//! `places / (4n + 8)` each. Nobody waits longer than a second for a turn.
//!
//! **Does not guarantee.** That at once: endpoints that answered until now and
//! begin to hang keep the places they have until these attempts time out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Between the turns of two attempts of webhooks that don't succeed, or have not yet.
const TURN: Duration = Duration::from_millis(4);
/// No turn is farther away: what cannot have one of its own till then shares the last.
const LAST_TURN: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    /// Of all, those for webhooks that succeed.
    kept: usize,
    next_turn: Mutex<Instant>,
}

/// A place of an attempt: free again when it is dropped.
pub(super) type Place = OwnedSemaphorePermit;

impl Places {
    pub(super) fn new(most: usize) -> Self {
        let most = most.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(most)), kept: most / 4, next_turn: Mutex::new(Instant::now()) }
    }

    /// A place for one more attempt of a webhook that has `busy` of them; none
    /// if it has its share.
    pub(super) fn take(&self, busy: usize, succeeds: bool) -> Option<Place> {
        if busy.saturating_mul(2) > self.free_for(succeeds) {
            return None;
        }
        self.free.clone().try_acquire_owned().ok()
    }

    /// Whether an attempt that ends should leave its place to others.
    pub(super) fn are_wanted(&self, succeeds: bool) -> bool {
        self.free_for(succeeds) == 0
    }

    /// When whoever asks now may start an attempt, if it does not succeed.
    pub(super) fn turn(&self, now: Instant) -> Instant {
        let mut next = self.next_turn.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = (*next).clamp(now, now + LAST_TURN);
        *next = turn + TURN;
        turn
    }

    fn free_for(&self, succeeds: bool) -> usize {
        let free = self.free.available_permits();
        if succeeds { free } else { free.saturating_sub(self.kept) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What webhooks have that each want more, and take turns; `succeeds` is of all of them.
    fn fill(places: &Places, webhooks: usize, succeeds: bool) -> Vec<Vec<Place>> {
        let mut all: Vec<Vec<Place>> = (0..webhooks).map(|_| Vec::new()).collect();
        let mut some = true;
        while some {
            some = false;
            for held in &mut all {
                // With the one that is granted.
                if let Some(place) = places.take(held.len() + 1, succeeds) {
                    held.push(place);
                    some = true;
                }
            }
        }
        all
    }

    #[test]
    fn one_webhook_alone_may_have_its_own_limit() {
        let places = Places::new(1024);
        // As much as a Webhook can ask for.
        let most = 256;
        assert!(fill(&places, 1, true)[0].len() + 1 >= most);
        assert!(fill(&places, 1, false)[0].len() + 1 >= most);
    }

    #[test]
    fn webhooks_that_came_first_leave_places_for_one_that_comes_later() {
        let places = Places::new(1024);
        let first = fill(&places, 100, true);
        assert!(first.iter().all(|held| held.len() >= 8), "{:?}", first.iter().map(Vec::len).max());
        assert!(fill(&places, 1, true)[0].len() >= 4);
    }

    #[test]
    fn webhooks_that_fail_leave_the_default_limit_to_one_that_succeeds_however_many_they_are() {
        let places = Places::new(1024);
        let _failing = fill(&places, 5_000, false);
        assert_eq!(places.take(1, false).map(drop), None);
        assert!(fill(&places, 1, true)[0].len() >= 16);
    }

    #[test]
    fn a_place_that_is_given_back_is_another_webhooks() {
        let places = Places::new(8);
        let mut held = fill(&places, 1, true);
        let before = held[0].len();
        assert!(places.take(before + 1, true).is_none());
        held[0].pop();
        assert!(places.take(1, true).is_some());
    }

    #[test]
    fn turns_are_apart_and_none_is_far_away() {
        let (places, now) = (Places::new(1024), Instant::now());
        let turns: Vec<_> = (0..1_000).map(|_| places.turn(now)).collect();
        assert_eq!(turns[0], now);
        assert!(turns[..250].windows(2).all(|pair| pair[1] - pair[0] == TURN));
        assert_eq!(*turns.iter().max().unwrap(), now + LAST_TURN);
        // Turns that nobody took are not saved up.
        let later = now + Duration::from_mins(1);
        assert_eq!([places.turn(later), places.turn(later)], [later, later + TURN]);
    }

    #[test]
    fn an_attempt_that_ends_leaves_its_place_only_while_none_is_free() {
        let places = Places::new(4);
        assert!(!places.are_wanted(true));
        assert!(!places.are_wanted(false));
        let _held: Vec<_> = (0..3).map(|_| places.take(0, true).unwrap()).collect();
        assert!(places.are_wanted(false));
        assert!(!places.are_wanted(true));
        let _last = places.take(0, true).unwrap();
        assert!(places.are_wanted(true));
    }
}
