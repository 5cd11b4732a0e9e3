//! Which events are known: the window of deduplication.
//!
//! ```text
//! event key ─ get `seen` ─> when, the how-manieth ─ decide ─> duplicate | new
//!                                                   ^
//!             `spaces`: how many the namespace has had
//! ```
//!
//! An event is known for [`Window::age`] or until [`Window::ids`] newer events
//! of its namespace are, whichever is shorter. The index is on disk; entries
//! that no longer count are left out when the store compacts that part of it,
//! so that expiry writes nothing. In memory there are two numbers and a few
//! samples for each namespace: how many events it has had, and how many bytes
//! of them wait, which its quota is about.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fjall::compaction::filter::{CompactionFilter, Context, Factory, ItemAccessor, Verdict};

use super::record::{self, Corrupt, Reader};
use crate::journal::limits::Window;
use crate::model::Timestamp;

/// What is kept of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When it was accepted.
    pub at: Timestamp,
    /// The how-manieth of its namespace it was.
    pub ordinal: u64,
    /// A hash of its namespace.
    pub space: u64,
}

impl Seen {
    /// To be read by [`Self::decode`].
    pub fn encode(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        let (at, rest) = bytes.split_at_mut(8);
        at.copy_from_slice(&self.at.as_millis().to_be_bytes());
        let (ordinal, space) = rest.split_at_mut(8);
        ordinal.copy_from_slice(&self.ordinal.to_be_bytes());
        space.copy_from_slice(&self.space.to_be_bytes());
        bytes
    }

    /// What [`Self::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader { bytes, kind: "known event" };
        Ok(Self { at: reader.timestamp()?, ordinal: reader.u64()?, space: reader.u64()? })
    }

    /// Whether a repeat of it is still a duplicate, when its namespace has had `count` events.
    fn stands(&self, window: Window, count: u64, now: Timestamp) -> bool {
        now.since(self.at) < window.age && count.saturating_sub(self.ordinal) < window.ids
    }
}

/// How many events each namespace has had, and how much of them waits.
#[derive(Debug)]
pub struct Spaces {
    window: Window,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    now: Timestamp,
    counts: HashMap<u64, Space>,
}

#[derive(Debug, Default)]
struct Space {
    count: u64,
    /// Bytes of its events that wait.
    queued: u64,
    /// (ordinal, when), every so many events: enough to say how long the window now is.
    samples: VecDeque<(u64, Timestamp)>,
}

/// Samples that are kept of a namespace.
const SAMPLES: u64 = 32;

impl Spaces {
    /// From what was kept.
    pub fn new(window: Window, now: Timestamp, kept: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let counts =
            kept.into_iter().map(|(space, count)| (space, Space { count, ..Space::default() })).collect();
        Self { window, state: Mutex::new(State { now, counts }) }
    }

    /// Takes over the counts that a store kept.
    pub fn restore(&self, now: Timestamp, kept: impl IntoIterator<Item = (u64, u64, u64)>) {
        let mut state = self.lock();
        state.now = now;
        state.counts.clear();
        for (space, count, queued) in kept {
            state.counts.insert(space, Space { count, queued, ..Space::default() });
        }
    }

    /// Whether a repeat of what was seen is a duplicate.
    pub fn knows(&self, seen: &Seen, now: Timestamp) -> bool {
        let state = self.lock();
        let count = state.counts.get(&seen.space).map_or(0, |space| space.count);
        seen.stands(self.window, count, now)
    }

    /// Counts one more event of a namespace.
    pub fn count(&self, space: u64, now: Timestamp) -> Seen {
        let mut state = self.lock();
        state.now = now;
        let entry = state.counts.entry(space).or_default();
        entry.count += 1;
        if entry.count.is_multiple_of(self.window.ids.div_ceil(SAMPLES).max(1)) {
            entry.samples.push_back((entry.count, now));
            while entry.samples.len() as u64 > SAMPLES {
                entry.samples.pop_front();
            }
        }
        Seen { at: now, ordinal: entry.count, space }
    }

    /// Events of the namespace wait.
    pub fn queue(&self, space: u64, bytes: u64) {
        self.lock().counts.entry(space).or_default().queued += bytes;
    }

    /// They wait no longer.
    pub fn release(&self, space: u64, bytes: u64) {
        if let Some(entry) = self.lock().counts.get_mut(&space) {
            entry.queued = entry.queued.saturating_sub(bytes);
        }
    }

    /// Bytes of the namespace's events that wait.
    pub fn queued(&self, space: u64) -> u64 {
        self.lock().counts.get(&space).map_or(0, |entry| entry.queued)
    }

    /// What is to be kept of a namespace.
    pub fn record(&self, space: u64) -> [u8; 16] {
        let state = self.lock();
        let (count, queued) = state.counts.get(&space).map_or((0, 0), |entry| (entry.count, entry.queued));
        record::space(count, queued)
    }

    /// Of every namespace that has something, the bytes that wait.
    #[cfg(test)]
    pub fn all_queued(&self) -> HashMap<u64, u64> {
        let state = self.lock();
        state
            .counts
            .iter()
            .filter(|(_, space)| space.queued > 0)
            .map(|(key, space)| (*key, space.queued))
            .collect()
    }

    /// How long the shortest window of a namespace now is.
    pub fn held(&self, now: Timestamp) -> Duration {
        let state = self.lock();
        let windows = state.counts.values().filter_map(|space| {
            let (ordinal, at) = space.samples.front()?;
            (space.count - ordinal >= self.window.ids.saturating_sub(self.window.ids.div_ceil(SAMPLES)))
                .then(|| now.since(*at))
        });
        windows.min().unwrap_or(self.window.age).min(self.window.age)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leaves out, in compactions, what no longer counts.
pub struct SeenFilters(pub Arc<Spaces>);

impl Factory for SeenFilters {
    fn name(&self) -> &'static str {
        "known events"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(SeenFilter(Arc::clone(&self.0)))
    }
}

struct SeenFilter(Arc<Spaces>);

impl CompactionFilter for SeenFilter {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> Result<Verdict, fjall::LsmError> {
        let value = item.value()?;
        // An older copy that this uncovers counts even less, so no tombstone is needed.
        let state = self.0.lock();
        // What cannot be read stays, for somebody to look at.
        let gone = Seen::decode(&value).is_ok_and(|seen| {
            let count = state.counts.get(&seen.space).map_or(0, |space| space.count);
            !seen.stands(self.0.window, count, state.now)
        });
        Ok(if gone { Verdict::Destroy } else { Verdict::Keep })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn an_event_is_known_for_a_time_or_for_so_many_later_ones_whichever_is_shorter() {
        let window = Window { age: Duration::from_secs(100), ids: 3 };
        let seen = Seen { at: at(1000), ordinal: 7, space: 1 };
        let table = [(7, 1000, true), (9, 1000, true), (10, 1000, false), (7, 1099, true), (7, 1100, false)];
        for (count, now, expected) in table {
            assert_eq!(seen.stands(window, count, at(now)), expected, "{count} {now}");
        }
        assert_eq!(Seen::decode(&seen.encode()), Ok(seen));
    }

    #[test]
    fn the_window_that_is_held_shrinks_with_the_rate() {
        let window = Window { age: Duration::from_secs(1000), ids: 64 };
        let spaces = Spaces::new(window, at(0), []);
        assert_eq!(spaces.held(at(0)), window.age);
        for second in 0..200 {
            spaces.count(1, at(second));
        }
        let held = spaces.held(at(199));
        assert!((Duration::from_mins(1)..=Duration::from_secs(64)).contains(&held), "{held:?}");
    }
}
