//! Exponential delays with jitter, for challenges and deliveries alike.

use std::time::Duration;

/// Delays that double from `initial` up to `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The delay after the first failure.
    pub initial: Duration,
    /// No delay is longer.
    pub max: Duration,
}

/// Where in its range a delay falls: 0 draws the shortest, 1 the longest.
///
/// Randomness comes in as a value, so that what is decided from it is a pure
/// function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jitter(f64);

impl Jitter {
    /// The shortest delay of the range.
    pub const SHORTEST: Self = Self(0.0);
    /// The longest delay of the range.
    pub const LONGEST: Self = Self(1.0);

    /// A jitter drawn evenly.
    pub fn draw() -> Self {
        Self(rand::random())
    }
}

impl Backoff {
    /// The delay after the `failures`-th failure in a row (the first is 1),
    /// drawn from the half-open upper half [d/2, d] of the doubled delay d.
    pub fn delay(&self, failures: u32, jitter: Jitter) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let longest = self.initial.saturating_mul(1 << doublings).min(self.max);
        let half = longest / 2;
        half + half.mul_f64(jitter.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let backoff = Backoff { initial: Duration::from_secs(1), max: Duration::from_mins(5) };
        let table = [(1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (11, 300), (1000, 300), (u32::MAX, 300)];
        for (failures, seconds) in table {
            let longest = backoff.delay(failures, Jitter::LONGEST);
            let shortest = backoff.delay(failures, Jitter::SHORTEST);
            assert_eq!(longest, Duration::from_secs(seconds), "{failures}");
            assert_eq!(shortest, longest / 2, "{failures}");
        }
    }

    #[test]
    fn a_drawn_delay_stays_in_the_upper_half() {
        let backoff = Backoff { initial: Duration::from_secs(8), max: Duration::from_mins(5) };
        for _ in 0..1000 {
            let delay = backoff.delay(1, Jitter::draw());
            assert!((Duration::from_secs(4)..=Duration::from_secs(8)).contains(&delay), "{delay:?}");
        }
    }
}
