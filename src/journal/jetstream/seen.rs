//! Which events are known: the window of deduplication.
//!
//! An event is known for [`Window::age`] or until [`Window::ids`] newer events
//! of its namespace are, whichever is shorter, by the order and the times of
//! the log: so every dispatcher that has read as far knows the same. Its id
//! costs 16 bytes once it is not among the newest, and about 60 before.

use std::collections::{HashSet, VecDeque};

use crate::journal::limits::Window;
use crate::model::{EventKey, Timestamp};

/// Ids that are kept for quick looks before they are sorted away.
const NEW: usize = 8192;

/// Ids that were accepted one after the other, sorted.
#[derive(Debug)]
struct Run {
    ids: Box<[EventKey]>,
    /// When the last of them was accepted.
    until: Timestamp,
}

/// The known events of one namespace.
#[derive(Debug)]
pub struct Seen {
    new: HashSet<EventKey>,
    /// When the last of them was accepted.
    newest: Timestamp,
    runs: VecDeque<Run>,
    count: usize,
}

impl Default for Seen {
    fn default() -> Self {
        Self { new: HashSet::new(), newest: Timestamp::from_millis(0), runs: VecDeque::new(), count: 0 }
    }
}

impl Seen {
    /// Whether an event is known.
    pub fn knows(&self, key: &EventKey) -> bool {
        self.new.contains(key) || self.runs.iter().rev().any(|run| run.ids.binary_search(key).is_ok())
    }

    /// From now on it is.
    pub fn add(&mut self, key: EventKey, at: Timestamp, window: Window) {
        self.new.insert(key);
        self.count += 1;
        self.newest = self.newest.max(at);
        if self.new.len() >= NEW {
            let mut ids: Vec<_> = self.new.drain().collect();
            ids.sort_unstable();
            self.runs.push_back(Run { ids: ids.into(), until: self.newest });
            self.merge();
        }
        self.forget(window);
    }

    /// Runs grow as they get older, so that there are few.
    fn merge(&mut self) {
        while let [.., before, last] = self.runs.make_contiguous()
            && before.ids.len() <= last.ids.len()
            // A run goes as a whole: none may be a great part of the window.
            && before.ids.len() + last.ids.len() <= self.count / 8
        {
            let mut ids: Vec<_> = before.ids.iter().chain(&last.ids).copied().collect();
            ids.sort_unstable();
            let until = last.until;
            self.runs.truncate(self.runs.len() - 2);
            self.runs.push_back(Run { ids: ids.into(), until });
        }
    }

    /// What is beyond the window goes, a run at a time: so a little more may be known than has to be.
    fn forget(&mut self, window: Window) {
        let cutoff = self.newest.before(window.age);
        let most = usize::try_from(window.ids).unwrap_or(usize::MAX);
        while let Some(run) = self.runs.front()
            && (run.until < cutoff || self.count - run.ids.len() >= most)
        {
            self.count -= run.ids.len();
            self.runs.pop_front();
        }
    }

    /// All that is known, for [`Self::from_parts`]: ids that were accepted one after the other, and
    /// when the last of them was.
    pub fn parts(&self) -> impl Iterator<Item = (Timestamp, Vec<EventKey>)> {
        let new = (self.newest, self.new.iter().copied().collect());
        self.runs.iter().map(|run| (run.until, run.ids.to_vec())).chain([new])
    }

    /// What knows the same as what [`Self::parts`] was asked of.
    pub fn from_parts(parts: impl IntoIterator<Item = (Timestamp, Vec<EventKey>)>) -> Self {
        let mut seen = Self::default();
        for (until, mut ids) in parts {
            seen.newest = seen.newest.max(until);
            seen.count += ids.len();
            ids.sort_unstable();
            seen.runs.push_back(Run { ids: ids.into(), until });
        }
        seen.runs.retain(|run| !run.ids.is_empty());
        seen
    }

    /// How many are known.
    #[cfg(test)]
    const fn len(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(n: u64) -> EventKey {
        let mut bytes = [0; 16];
        // Spread, as hashes are.
        bytes[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        bytes[8..].copy_from_slice(&n.to_be_bytes());
        EventKey::from_bytes(bytes)
    }

    #[test]
    fn the_newest_are_known_and_not_many_more() {
        let window = Window { age: Duration::from_hours(1), ids: 100_000 };
        let mut seen = Seen::default();
        for n in 0..300_000 {
            seen.add(key(n), Timestamp::from_millis(1), window);
        }
        assert!((200_000..300_000).all(|n| seen.knows(&key(n))));
        assert!((0..150_000).all(|n| !seen.knows(&key(n))), "{}", seen.len());
        assert!(seen.len() < 150_000, "{}", seen.len());
        assert!(seen.runs.len() < 20, "{}", seen.runs.len());
    }

    #[test]
    fn what_is_older_than_the_window_is_not_known_for_ever() {
        let window = Window { age: Duration::from_secs(10), ids: u64::MAX };
        let mut seen = Seen::default();
        for n in 0..100_000 {
            seen.add(key(n), Timestamp::from_millis(n), window);
        }
        assert!((90_000..100_000).all(|n| seen.knows(&key(n))));
        assert!(seen.len() < 60_000, "{}", seen.len());
    }
}
