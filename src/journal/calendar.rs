//! What time of day it was at a moment of the journal's clock: for people.
//!
//! The journal's clock stands still while the journal is down, and takes no
//! part in steps of the time of day. So how far the two are apart is noted
//! whenever it changes, and kept with what is dated by the journal's.

use crate::model::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// How far the clocks may drift before it is noted.
const DRIFT: Duration = Duration::from_secs(1);

/// The most notes that are kept.
const MOST: usize = 4096;

/// Moments of the journal's clock, each with the time of day that it was, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calendar(Arc<Vec<(Timestamp, Timestamp)>>);

impl Calendar {
    /// From what was kept.
    pub fn new(mut notes: Vec<(Timestamp, Timestamp)>) -> Self {
        notes.sort_by_key(|(journal, _)| *journal);
        Self(Arc::new(notes))
    }

    /// What is to be kept.
    pub fn notes(&self) -> &[(Timestamp, Timestamp)] {
        &self.0
    }

    /// The time of day at a moment of the journal's clock. Without any note
    /// the clocks are the same.
    pub fn day(&self, at: Timestamp) -> Timestamp {
        let after = self.0.partition_point(|(journal, _)| *journal <= at);
        match (after.checked_sub(1).and_then(|last| self.0.get(last)), self.0.first()) {
            (Some((journal, day)), _) => day.after(at.since(*journal)),
            (None, Some((journal, day))) => day.before(journal.since(at)),
            (None, None) => at,
        }
    }

    /// Notes how late it is by both clocks; whether that was news.
    pub fn note(&mut self, journal: Timestamp, day: Timestamp) -> bool {
        let expected = self.day(journal);
        if !self.0.is_empty() && expected.since(day) < DRIFT && day.since(expected) < DRIFT {
            return false;
        }
        let notes = Arc::make_mut(&mut self.0);
        if notes.len() >= MOST {
            notes.drain(..MOST / 2);
        }
        notes.push((journal, day));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn a_moment_has_the_time_of_day_that_it_was_then_whatever_came_later() {
        let mut calendar = Calendar::default();
        assert_eq!(calendar.day(at(7)), at(7), "nothing is known");
        assert!(calendar.note(at(100), at(100)));
        assert!(!calendar.note(at(150), at(150)), "no news");
        // Down for an hour, of which the journal counted a minute; then a day's step of the time of day.
        assert!(calendar.note(at(210), at(3750)));
        assert!(calendar.note(at(300), at(3840 + 86_400)));
        let table = [(50, 50), (100, 100), (209, 209), (210, 3750), (299, 3839), (310, 3850 + 86_400)];
        for (journal, day) in table {
            assert_eq!(calendar.day(at(journal)), at(day), "{journal}");
        }
        assert_eq!(Calendar::new(calendar.notes().to_vec()), calendar);
    }

    #[test]
    fn it_is_bounded_and_forgets_the_oldest() {
        let mut calendar = Calendar::default();
        for n in 0..10_000 {
            assert!(calendar.note(at(n), at(n * 10)));
        }
        assert!(calendar.notes().len() <= MOST);
        assert_eq!(calendar.day(at(9_999)), at(99_990));
    }
}
