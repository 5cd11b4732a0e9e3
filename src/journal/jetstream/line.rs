//! What of a lane may be leased, and what not yet.
//!
//! ```text
//!            ready ──take──> out (leased, begun) ──settle──> out (settled) ──written──> gone, or due
//!              ^ ^                │                                               │
//!              │ └──── release ───┘                                               │
//!              └────────────────────────── when its time comes ───────────────────┘
//! ```
//!
//! With per-user order only the first of each user's deliveries is in any of
//! them; the others follow when that has ended.

use std::collections::{BTreeSet, HashMap};

use super::wire::Number;
use crate::model::{Ordering, Timestamp};

/// How a delivery that was taken stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Out {
    /// Somebody has it.
    Leased,
    /// Somebody delivers it.
    Begun,
    /// What came of it is on its way to the log.
    Settled,
}

/// See the module.
#[derive(Debug)]
pub struct Line {
    ordering: Ordering,
    ready: BTreeSet<Number>,
    due: BTreeSet<(Timestamp, Number)>,
    /// What has not ended, by user: with per-user order only.
    users: HashMap<u64, BTreeSet<Number>>,
    out: HashMap<Number, Out>,
}

impl Line {
    /// Of a lane with nothing in it.
    pub fn new(ordering: Ordering) -> Self {
        Self {
            ordering,
            ready: BTreeSet::new(),
            due: BTreeSet::new(),
            users: HashMap::new(),
            out: HashMap::new(),
        }
    }

    /// Whether a user's events go one after the other.
    pub fn has_order(&self) -> bool {
        self.ordering == Ordering::PerUser
    }

    /// A delivery that may be leased now, or at the time of its retry.
    pub fn add(&mut self, number: Number, user: u64, at: Option<Timestamp>) {
        if self.has_order() {
            let queue = self.users.entry(user).or_default();
            let first = queue.first().copied();
            queue.insert(number);
            match first {
                Some(first) if first < number => return,
                // Nothing comes before what is there already, but after a takeover in any order.
                Some(first) => self.set_aside(first),
                None => {}
            }
        }
        self.line_up(number, at);
    }

    /// A delivery whose outcome is on its way to the log since before the lane was claimed.
    pub fn add_settled(&mut self, number: Number, user: u64) {
        self.add(number, user, None);
        self.set_aside(number);
        self.out.insert(number, Out::Settled);
    }

    fn line_up(&mut self, number: Number, at: Option<Timestamp>) {
        match at {
            None => {
                self.ready.insert(number);
            }
            Some(at) => {
                self.due.insert((at, number));
            }
        }
    }

    fn set_aside(&mut self, number: Number) {
        if !self.ready.remove(&number) {
            self.due.retain(|(_, due)| *due != number);
        }
    }

    /// It is nowhere any more. As a rule it was leased: then nothing has to be searched.
    fn take_out(&mut self, number: Number) {
        if self.out.remove(&number).is_none() {
            self.set_aside(number);
        }
    }

    /// Takes what is due, or else the oldest that is ready.
    pub fn take(&mut self, now: Timestamp) -> Option<Number> {
        let number = match self.due.first().copied() {
            Some(first @ (at, number)) if at <= now => {
                self.due.remove(&first);
                number
            }
            _ => self.ready.pop_first()?,
        };
        self.out.insert(number, Out::Leased);
        Some(number)
    }

    /// When the next retry is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Whether it is leased.
    pub fn is_leased(&self, number: Number) -> bool {
        matches!(self.out.get(&number), Some(Out::Leased | Out::Begun))
    }

    /// An attempt begins; `false` if it is not leased any more.
    pub fn begin(&mut self, number: Number) -> bool {
        let leased = self.is_leased(number);
        if leased {
            self.out.insert(number, Out::Begun);
        }
        leased
    }

    /// It may not be leased any more: its end is on its way to the log.
    pub fn withdraw(&mut self, number: Number) {
        self.set_aside(number);
        self.out.insert(number, Out::Settled);
    }

    /// Whether it waits for an earlier one of its user.
    pub fn is_behind(&self, number: Number, user: u64) -> bool {
        self.users.get(&user).and_then(BTreeSet::first).is_some_and(|first| *first < number)
    }

    /// Whether an attempt of any runs.
    pub fn is_any_begun(&self) -> bool {
        self.out.values().any(|out| *out == Out::Begun)
    }

    /// A lease comes back without an outcome.
    pub fn release(&mut self, number: Number) {
        if self.out.remove(&number).is_some() {
            self.ready.insert(number);
        }
    }

    /// What came of it is on its way to the log. If it has ended, the next of
    /// its user may go; that one's time, if it is a retry, is `at`'s to say.
    pub fn settle(
        &mut self,
        number: Number,
        user: u64,
        ended: bool,
        at: impl Fn(Number) -> Option<Timestamp>,
    ) {
        self.out.insert(number, Out::Settled);
        if ended {
            self.end_of_user(number, user, at);
        }
    }

    /// The log says that it has ended.
    pub fn end(&mut self, number: Number, user: u64, at: impl Fn(Number) -> Option<Timestamp>) {
        self.take_out(number);
        self.end_of_user(number, user, at);
    }

    /// The log says when it is to be tried again.
    pub fn retry(&mut self, number: Number, at: Timestamp) {
        self.take_out(number);
        self.due.insert((at, number));
    }

    fn end_of_user(&mut self, number: Number, user: u64, at: impl Fn(Number) -> Option<Timestamp>) {
        if !self.has_order() {
            return;
        }
        let Some(queue) = self.users.get_mut(&user) else { return };
        let was_first = queue.first() == Some(&number);
        queue.remove(&number);
        let next = queue.first().copied();
        if queue.is_empty() {
            self.users.remove(&user);
        }
        if let (true, Some(next)) = (was_first, next) {
            self.line_up(next, at(next));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: u64 = 7;

    fn number(n: u64) -> Number {
        Number::from_u64(n)
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn at_once(_: Number) -> Option<Timestamp> {
        None
    }

    #[test]
    fn what_is_due_goes_before_what_is_ready_and_the_oldest_first() {
        let mut line = Line::new(Ordering::None);
        for n in [3, 1, 2] {
            line.add(number(n), USER, None);
        }
        line.add(number(9), USER, Some(at(50)));
        assert_eq!(line.next_due(), Some(at(50)));
        assert_eq!(line.take(at(10)), Some(number(1)));
        assert_eq!(line.take(at(50)), Some(number(9)));
        assert_eq!(line.take(at(50)), Some(number(2)));
        line.release(number(2));
        assert_eq!(line.take(at(50)), Some(number(2)), "it is leased again, before later ones");
        assert_eq!((line.take(at(50)), line.take(at(50))), (Some(number(3)), None));
        line.settle(number(9), USER, false, at_once);
        assert!(line.is_leased(number(1)) && !line.is_leased(number(9)) && !line.is_any_begun());
        assert!(line.begin(number(1)) && line.is_leased(number(1)) && line.is_any_begun());
        assert!(!line.begin(number(9)), "it is on its way to the log");
        line.retry(number(9), at(99));
        assert_eq!((line.take(at(98)), line.take(at(99))), (None, Some(number(9))));
    }

    #[test]
    fn in_order_a_user_s_next_waits_until_the_one_before_has_ended_and_others_do_not() {
        let mut line = Line::new(Ordering::PerUser);
        for n in 1..=3 {
            line.add(number(n), USER, None);
        }
        line.add(number(4), USER + 1, None);
        assert_eq!(line.take(at(0)), Some(number(1)));
        assert_eq!(line.take(at(0)), Some(number(4)));
        assert_eq!(line.take(at(0)), None);
        line.settle(number(1), USER, false, at_once);
        line.retry(number(1), at(60));
        assert_eq!((line.take(at(59)), line.take(at(60))), (None, Some(number(1))));
        line.settle(number(1), USER, true, at_once);
        assert_eq!(line.take(at(60)), Some(number(2)), "as soon as it is settled");
        line.end(number(1), USER, at_once);
        assert_eq!(line.take(at(60)), None);
        line.end(number(2), USER, |_| Some(at(80)));
        assert_eq!((line.take(at(79)), line.take(at(80))), (None, Some(number(3))));
    }

    #[test]
    fn an_outcome_on_its_way_from_before_the_claim_holds_its_user_up_until_the_log_has_it() {
        let mut line = Line::new(Ordering::PerUser);
        line.add_settled(number(1), USER);
        line.add(number(2), USER, None);
        assert_eq!(line.take(at(0)), None);
        line.end(number(1), USER, at_once);
        assert_eq!(line.take(at(0)), Some(number(2)));
    }

    #[test]
    fn an_earlier_delivery_that_is_found_late_goes_first() {
        let mut line = Line::new(Ordering::PerUser);
        line.add(number(5), USER, None);
        line.add(number(4), USER, None);
        assert_eq!((line.take(at(0)), line.take(at(0))), (Some(number(4)), None));
    }
}
