//! A token bucket, as the time at which it is full.

use std::time::Duration;

/// Tokens come at a rate, up to a burst. New ones are full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    full_at: Duration,
}

impl Bucket {
    /// Takes an amount, at most the burst, or says how long it takes until there is as much.
    pub(super) fn take(&mut self, amount: u64, rate: u64, burst: u64, now: Duration) -> Result<(), Duration> {
        let full_at = self.full_at.max(now).saturating_add(time(amount, rate));
        // Where both are rounded up, an amount that is the burst fits.
        let over = full_at.saturating_sub(now).saturating_sub(time(burst, rate));
        if over.is_zero() {
            self.full_at = full_at;
            Ok(())
        } else {
            Err(over)
        }
    }

    /// Puts an amount back that was taken and not used.
    pub(super) fn give_back(&mut self, amount: u64, rate: u64) {
        if rate > 0 {
            self.full_at = self.full_at.saturating_sub(time(amount, rate));
        }
    }

    /// Whether nothing of the burst is used up.
    pub(super) fn is_full(&self, now: Duration) -> bool {
        self.full_at <= now
    }
}

/// How long so much takes to come.
fn time(amount: u64, rate: u64) -> Duration {
    let nanos = (u128::from(amount) * 1_000_000_000).div_ceil(u128::from(rate.max(1)));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_amount_is_there_when_the_rate_has_brought_it() {
        let mut bucket = Bucket::default();
        let table = [
            // At which millisecond, how much, and how many milliseconds that is too early.
            (0, 15, Ok(())),
            (0, 5, Ok(())),
            (0, 1, Err(100)),
            (50, 1, Err(50)),
            (100, 1, Ok(())),
            (100, 20, Err(2000)),
            (2100, 20, Ok(())),
            (9000, 20, Ok(())),
            (9000, 1, Err(100)),
        ];
        for (at, amount, expected) in table {
            let taken = bucket.take(amount, 10, 20, Duration::from_millis(at));
            assert_eq!(taken.map_err(|time| time.as_millis()), expected, "{amount} at {at}");
        }
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_no_more() {
        let mut bucket = Bucket::default();
        bucket.take(20, 10, 20, SECOND).unwrap();
        bucket.give_back(5, 10);
        assert_eq!(bucket.take(6, 10, 20, SECOND), Err(SECOND / 10));
        assert_eq!(bucket.take(5, 10, 20, SECOND), Ok(()));
        bucket.give_back(1000, 10);
        assert!(bucket.is_full(SECOND));
        assert!(bucket.take(21, 10, 20, SECOND).is_err(), "it holds no more than the burst");
    }

    #[test]
    fn the_time_that_is_named_is_neither_too_short_nor_too_long() {
        for (rate, burst) in [(1, 1), (3, 7), (7, 1000), (1_000_000_007, 4 << 20), (1, 4 << 20)] {
            let mut bucket = Bucket::default();
            bucket.take(burst, rate, burst, SECOND).unwrap();
            let wait = bucket.take(burst, rate, burst, SECOND).unwrap_err();
            let early = (SECOND + wait).saturating_sub(Duration::from_nanos(1));
            assert!(bucket.clone().take(burst, rate, burst, early).is_err(), "{rate} {burst}");
            assert!(bucket.take(burst, rate, burst, SECOND + wait).is_ok(), "{rate} {burst}");
        }
    }

    #[test]
    fn no_sequence_gets_more_than_rate_times_time_and_the_burst() {
        let mut random = SmallRng::seed_from_u64(7);
        for _ in 0..200 {
            let (rate, burst) = (random.random_range(1..2000_u64), random.random_range(1..5000_u64));
            let mut bucket = Bucket::default();
            let (mut now, mut taken) = (Duration::ZERO, Vec::new());
            for _ in 0..300 {
                now += Duration::from_nanos(random.random_range(0..200_000_000));
                let amount = random.random_range(0..=burst);
                if bucket.take(amount, rate, burst, now).is_ok() {
                    taken.push((now, amount));
                }
            }
            for (first, (from, _)) in taken.iter().enumerate() {
                let mut sum = 0;
                for (at, amount) in taken.iter().skip(first) {
                    sum += u128::from(*amount);
                    // A part of a nanosecond is rounded up.
                    let nanos = at.saturating_sub(*from).as_nanos() + 1;
                    let most = nanos * u128::from(rate) + u128::from(burst) * 1_000_000_000;
                    assert!(sum * 1_000_000_000 <= most, "{sum} in {nanos} ns, at {rate} and {burst}");
                }
            }
        }
    }
}
