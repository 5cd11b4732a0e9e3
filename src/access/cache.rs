//! Verdicts by hash, each until its time is over.

use std::collections::HashMap;

use tokio::time::Instant;

/// A map of bounded size whose entries end.
#[derive(Debug)]
pub(super) struct Cache<V> {
    entries: HashMap<[u8; 32], (V, Instant)>,
    capacity: usize,
}

impl<V: Clone> Cache<V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), capacity }
    }

    /// The value, if its time is not over.
    pub(super) fn get(&self, key: &[u8; 32], now: Instant) -> Option<V> {
        self.entries.get(key).filter(|(_, until)| now < *until).map(|(value, _)| value.clone())
    }

    /// Keeps the value until then. At capacity, what is over goes, and if that
    /// is too little, the eighth that would be over first, so that the search
    /// for it is rare: refusals live shorter than permissions, so a flood of bad
    /// tokens drives out its own.
    pub(super) fn put(&mut self, key: [u8; 32], value: V, until: Instant, now: Instant) {
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&key) {
            self.entries.retain(|_, (_, until)| now < *until);
            let share = (self.capacity / 8).max(1);
            if self.entries.len() + share > self.capacity {
                let mut ends: Vec<_> = self.entries.values().map(|(_, until)| *until).collect();
                let (_, last, _) = ends.select_nth_unstable(share - 1);
                let last = *last;
                self.entries.retain(|_, (_, until)| last < *until);
            }
        }
        self.entries.insert(key, (value, until));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_entry_ends_at_its_time() {
        let now = Instant::now();
        let mut cache = Cache::new(2);
        cache.put([1; 32], 'a', now + Duration::from_secs(5), now);
        assert_eq!(cache.get(&[1; 32], now + Duration::from_millis(4999)), Some('a'));
        assert_eq!(cache.get(&[1; 32], now + Duration::from_secs(5)), None);
        assert_eq!(cache.get(&[2; 32], now), None);
    }

    #[test]
    fn at_capacity_what_ends_first_goes_first() {
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        let mut cache = Cache::new(2);
        cache.put([1; 32], 'a', later(45), now);
        cache.put([2; 32], 'b', later(5), now);
        cache.put([3; 32], 'c', later(5), now);
        assert_eq!(cache.get(&[1; 32], now), Some('a'));
        assert_eq!(cache.get(&[2; 32], now), None);
        assert_eq!(cache.get(&[3; 32], now), Some('c'));
        cache.put([4; 32], 'd', later(45), later(6));
        assert_eq!(cache.get(&[1; 32], later(6)), Some('a'));
        assert_eq!(cache.entries.len(), 2);
    }
}
