//! The journal's clock: what ages, retries and retention are measured by.
//!
//! ```text
//! time that passes in this process ──> moves with it, by MAX_STEP a reading at most
//! time of day ──at the start alone───> moves on by what has passed since the last end, MAX_STEP at most
//! ```
//!
//! **Guarantees.** It never goes back, never stands still, and no single reading is more
//! than [`MAX_STEP`] after the one before it, also over a restart: a wrong time of
//! day expires nothing, fires nothing at once and holds up nothing.
//!
//! **Assumes** that somebody reads it at least once in [`MAX_STEP`]; what
//! passes unread beyond that does not count as time. So after a downtime it
//! is behind the time of day, and stays so.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::model::{Clock, Timestamp};

/// The longest step that the clock takes between two readings.
pub const MAX_STEP: Duration = Duration::from_mins(1);

/// See the module.
#[derive(Debug)]
pub struct JournalClock {
    source: Clock,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// What has passed on the source's clock.
    passed: Duration,
    journal: Timestamp,
}

impl State {
    /// What a reading of the source makes of the clock.
    fn read(self, passed: Duration) -> Self {
        let step = passed.saturating_sub(self.passed).min(MAX_STEP);
        // Two who read at one time may come here in either order.
        Self { passed: self.passed.max(passed), journal: self.journal.after(step) }
    }
}

impl JournalClock {
    /// Goes on from the last moment that was kept, or starts at the source's.
    pub fn new(source: Clock, kept: Option<Timestamp>) -> Self {
        let now = source.now();
        let journal = kept.map_or(now, |kept| kept.after(now.since(kept).min(MAX_STEP)));
        let state = State { passed: source.passed(), journal };
        Self { source, state: Mutex::new(state) }
    }

    /// The time on the journal's clock.
    pub fn now(&self) -> Timestamp {
        let passed = self.source.passed();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.read(passed);
        state.journal
    }

    /// The time of day, for people.
    pub fn time_of_day(&self) -> Timestamp {
        self.source.now()
    }

    /// Waits until about `moment`; the caller looks at [`Self::now`] again.
    pub async fn sleep_until(&self, moment: Timestamp) {
        self.source.sleep(moment.since(self.now()).min(MAX_STEP)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ManualClock;

    const DAY: Duration = Duration::from_hours(24);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn what_passes_between_two_readings_counts_up_to_a_minute() {
        let start = State { passed: Duration::from_secs(1000), journal: at(500) };
        let table = [
            // the source's readings, the journal's time after them
            (vec![1010], 510),
            (vec![1060], 560),
            (vec![90_000], 560),
            (vec![1020, 1010, 1030], 530),
        ];
        for (readings, expected) in table {
            let end = readings.iter().fold(start, |state, reading| state.read(Duration::from_secs(*reading)));
            assert_eq!(end.journal, at(expected), "{readings:?}");
        }
    }

    #[test]
    fn a_time_of_day_that_steps_or_stands_still_changes_nothing() {
        let noon = at(1_000_000);
        let hand = ManualClock::new(noon);
        let clock = JournalClock::new(hand.clock(), None);
        let mut expected = noon;
        for set in [noon.after(DAY), noon, noon.before(DAY), noon.after(DAY)] {
            hand.set(set);
            assert_eq!(clock.now(), expected, "set to {set}");
            hand.advance(Duration::from_secs(10));
            expected = expected.after(Duration::from_secs(10));
            assert_eq!(clock.now(), expected, "and went on");
        }
        hand.advance_stopped(Duration::from_secs(10));
        assert_eq!(clock.now(), expected.after(Duration::from_secs(10)));
    }

    #[test]
    fn a_restart_counts_what_has_passed_meanwhile_up_to_a_minute() {
        let hand = ManualClock::new(at(10_000));
        for (kept, expected) in [(9_990, 10_000), (20_000, 20_000), (100, 160)] {
            let clock = JournalClock::new(hand.clock(), Some(at(kept)));
            assert_eq!(clock.now(), at(expected), "{kept}");
            let start = clock.now();
            hand.advance_stopped(Duration::from_secs(1));
            assert_eq!(clock.now(), start.after(Duration::from_secs(1)), "{kept}");
        }
        assert_eq!(JournalClock::new(hand.clock(), None).now(), at(10_000));
    }
}
