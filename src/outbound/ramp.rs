//! New connections ramp up after a start.
//!
//! After a restart every lane has something to send at once, and no connection
//! is open. Ten thousand TLS handshakes in one moment would starve everything
//! else, here and at the endpoints. So the first [`BURST`] connections open
//! without delay, and then their total may double each second, until after
//! [`RAMP`] there is no limit any more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const BURST: u32 = 256;
const RAMP: Duration = Duration::from_secs(10);

/// Hands out the moments at which connections may be opened.
#[derive(Debug)]
pub(super) struct Ramp {
    started: Instant,
    opened: AtomicU64,
}

impl Ramp {
    pub(super) fn new(started: Instant) -> Self {
        Self { started, opened: AtomicU64::new(0) }
    }

    /// How long the connection that is wanted at `now` has to wait.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let elapsed = now.saturating_duration_since(self.started);
        if elapsed >= RAMP {
            return Duration::ZERO;
        }
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        earliest(number).saturating_sub(elapsed)
    }
}

/// When, after the start, the `number`-th connection may open; the first is 0.
fn earliest(number: u64) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "a moment need not be exact for numbers beyond 2^52")]
    let seconds = ((number + 1) as f64 / f64::from(BURST)).log2();
    Duration::try_from_secs_f64(seconds).unwrap_or_default().min(RAMP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_doubles_each_second_until_there_is_no_limit() {
        let table = [(0, 0), (255, 0), (511, 1), (1023, 2), (255 << 5, 4), (u64::MAX >> 1, 10)];
        for (number, seconds) in table {
            assert_eq!(earliest(number).as_secs(), seconds, "{number}");
        }
    }

    #[test]
    fn who_comes_late_waits_less_and_after_the_ramp_not_at_all() {
        let started = Instant::now();
        let ramp = Ramp::new(started);
        for _ in 0..511 {
            ramp.wait(started);
        }
        assert_eq!(ramp.wait(started + Duration::from_millis(400)), Duration::from_millis(600));
        assert_eq!(ramp.wait(started + Duration::from_secs(3)), Duration::ZERO);
        assert_eq!(ramp.wait(started + RAMP), Duration::ZERO);
    }
}
