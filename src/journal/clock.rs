//! The journal's clock: what ages, retries and retention are measured by.
//!
//! ```text
//! system clock ──step back──> stands still
//!              ──step ahead─> moves on by MAX_STEP at most
//!              ──else───────> moves with it
//! ```
//!
//! **Guarantees.** It never goes back, and no single reading is more than
//! [`MAX_STEP`] after the one before it, also over a restart: a wrong time of
//! day expires nothing and fires nothing at once.
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
    source: Timestamp,
    journal: Timestamp,
}

impl State {
    /// What a reading of the source makes of the clock.
    fn read(self, source: Timestamp) -> Self {
        Self { source, journal: self.journal.after(source.since(self.source).min(MAX_STEP)) }
    }
}

impl JournalClock {
    /// Goes on from the last moment that was kept, or starts at the source's.
    pub fn new(source: Clock, kept: Option<Timestamp>) -> Self {
        let now = source.now();
        let start = kept.unwrap_or(now);
        let state = State { source: start, journal: start }.read(now);
        Self { source, state: Mutex::new(state) }
    }

    /// The time on the journal's clock.
    pub fn now(&self) -> Timestamp {
        let reading = self.source.now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.read(reading);
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

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn a_step_back_stops_the_clock_and_a_step_ahead_counts_as_a_minute() {
        let start = State { source: at(1000), journal: at(500) };
        let table = [
            // the source's readings, the journal's time after them
            (vec![1010], 510),
            (vec![1060], 560),
            (vec![90_000], 560),
            (vec![10], 500),
            (vec![10, 20], 510),
            (vec![90_000, 10, 90_000], 620),
        ];
        for (readings, expected) in table {
            let end = readings.iter().fold(start, |state, reading| state.read(at(*reading)));
            assert_eq!(end.journal, at(expected), "{readings:?}");
        }
    }

    #[test]
    fn a_restart_is_a_step_like_any_other() {
        let hand = ManualClock::new(at(10_000));
        for (kept, expected) in [(9_990, 10_000), (20_000, 20_000), (100, 160)] {
            assert_eq!(JournalClock::new(hand.clock(), Some(at(kept))).now(), at(expected), "{kept}");
        }
        assert_eq!(JournalClock::new(hand.clock(), None).now(), at(10_000));
    }
}
