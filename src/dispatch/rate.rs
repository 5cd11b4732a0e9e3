//! At most so many starts in any sliding second.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// The starts of the last second, counted in slices of it.
///
/// A slice leaves the window only when all of it is more than a second ago, so
/// the limit holds for every window, wherever it begins; in return up to one
/// slice of time is lost.
#[derive(Debug)]
pub(super) struct RateLimit {
    most: u32,
    origin: Instant,
    slices: [Slice; SLICES],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slice {
    number: u64,
    starts: u32,
}

const SLICES: usize = 51;
const SLICE: Duration = Duration::from_millis(20);

impl RateLimit {
    /// Of a lane that is owned since then. What its last owner started is not
    /// known, and is taken to be all that was allowed.
    pub(super) fn new(most: NonZeroU32, owned_since: Instant) -> Self {
        let mut limit = Self { most: most.get(), origin: owned_since, slices: [Slice::default(); SLICES] };
        limit.count(SLICES as u64, most.get());
        limit
    }

    /// Another limit, on the same starts.
    pub(super) const fn set_most(&mut self, most: NonZeroU32) {
        self.most = most.get();
    }

    /// Counts a start now, or says how long to wait for one.
    pub(super) fn start(&mut self, now: Instant) -> Result<(), Duration> {
        let elapsed = now.saturating_duration_since(self.origin);
        // Numbers begin late enough that an empty slice is never in the window.
        let number =
            u64::try_from(elapsed.as_millis() / SLICE.as_millis()).unwrap_or(u64::MAX - 1) + SLICES as u64;
        let oldest = number - (SLICES as u64 - 1);
        let in_window = |slice: &&Slice| slice.number >= oldest;
        let started: u32 = self.slices.iter().filter(in_window).map(|slice| slice.starts).sum();
        if started >= self.most {
            let first = self.slices.iter().filter(in_window).filter(|s| s.starts > 0).map(|s| s.number).min();
            // Numbers run SLICES ahead of the time: when a slice's own number of slices has
            // passed, it is out of the window.
            let until = SLICE.saturating_mul(u32::try_from(first.unwrap_or(number)).unwrap_or(u32::MAX));
            return Err(until.saturating_sub(elapsed));
        }
        self.count(number, 1);
        Ok(())
    }

    fn count(&mut self, number: u64, starts: u32) {
        let at = usize::try_from(number % SLICES as u64).unwrap_or_default();
        if let Some(slice) = self.slices.get_mut(at) {
            if slice.number != number {
                *slice = Slice { number, starts: 0 };
            }
            slice.starts += starts;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long_before(now: Instant) -> Instant {
        now.checked_sub(Duration::from_secs(2)).unwrap()
    }

    #[test]
    fn a_new_owner_has_nothing_to_spend_in_its_first_second() {
        let begun = Instant::now();
        let mut limit = RateLimit::new(NonZeroU32::new(3).unwrap(), begun);
        let wait = limit.start(begun + Duration::from_millis(100)).unwrap_err();
        assert!(wait >= Duration::from_millis(900), "{wait:?}");
        assert_eq!(limit.start(begun + Duration::from_millis(100) + wait), Ok(()));
    }

    #[test]
    fn another_limit_counts_what_began_before_it() {
        let now = Instant::now();
        let mut limit = RateLimit::new(NonZeroU32::new(2).unwrap(), long_before(now));
        assert_eq!((limit.start(now), limit.start(now)), (Ok(()), Ok(())));
        limit.set_most(NonZeroU32::new(3).unwrap());
        assert_eq!(limit.start(now), Ok(()));
        let wait = limit.start(now).unwrap_err();
        assert!(wait >= Duration::from_secs(1), "{wait:?}");
        limit.set_most(NonZeroU32::MIN);
        assert_eq!(limit.start(now), Err(wait));
        assert_eq!(limit.start(now + wait), Ok(()));
    }

    #[test]
    fn no_sliding_second_has_more_starts_than_the_limit() {
        for most in [1, 3, 100, 997] {
            let origin = Instant::now();
            let mut limit = RateLimit::new(NonZeroU32::new(most).unwrap(), long_before(origin));
            let mut now = origin;
            let mut starts = Vec::new();
            while now < origin + Duration::from_secs(5) {
                match limit.start(now) {
                    Ok(()) => {
                        starts.push(now);
                        now += Duration::from_micros(137);
                    }
                    Err(wait) => {
                        assert!(!wait.is_zero());
                        now += wait;
                    }
                }
            }
            let most = most as usize;
            for window in starts.windows(most + 1) {
                assert!(
                    window[most] - window[0] >= Duration::from_secs(1),
                    "{most}: {:?}",
                    window[most] - window[0]
                );
            }
            // Of five seconds, the slices may cost a tenth at most.
            assert!(starts.len() >= most * 9 / 2, "{most}: {}", starts.len());
        }
    }
}
