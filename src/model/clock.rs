//! Moments, and the clock that tells them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This moment and `duration` more, to the millisecond.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// This moment less `duration`, to the millisecond; not before 1970.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// For a field of a Kubernetes object or an event; `None` beyond the year 9999.
    pub fn to_jiff(self) -> Option<jiff::Timestamp> {
        i64::try_from(self.0).ok().and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
    }
}

impl From<jiff::Timestamp> for Timestamp {
    /// A moment before 1970 becomes 1970.
    fn from(moment: jiff::Timestamp) -> Self {
        Self(u64::try_from(moment.as_millisecond()).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_jiff() {
            Some(moment) => moment.fmt(f),
            None => write!(f, "{} ms", self.0),
        }
    }
}

/// Tells the time and waits: the system's clock, or one that a test moves.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    /// With the moment from which it has run.
    System(Instant),
    Manual(watch::Receiver<Hand>),
}

impl Default for Clock {
    /// The system's.
    fn default() -> Self {
        Self(Source::System(Instant::now()))
    }
}

impl Clock {
    /// The time of day, which may be set ahead or back, or stand still.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System(_) => {
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
            }
            Source::Manual(hand) => hand.borrow().shows,
        }
    }

    /// How much time has passed since this clock was made, whatever the time of day has done.
    pub fn passed(&self) -> Duration {
        match &self.0 {
            Source::System(origin) => origin.elapsed(),
            Source::Manual(hand) => hand.borrow().passed,
        }
    }

    /// Waits for `duration`, which no step of the time of day shortens or lengthens.
    pub async fn sleep(&self, duration: Duration) {
        match &self.0 {
            Source::System(_) => tokio::time::sleep(duration).await,
            Source::Manual(hand) => {
                let until = hand.borrow().passed.saturating_add(duration);
                // The clock's owner is gone when the test is over: then nothing happens any more.
                if hand.clone().wait_for(|hand| hand.passed >= until).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

/// The hand of a clock that moves only when it is told to.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<watch::Sender<Hand>>);

#[derive(Clone, Copy, Debug)]
struct Hand {
    shows: Timestamp,
    passed: Duration,
}

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(watch::Sender::new(Hand { shows: now, passed: Duration::ZERO })))
    }

    /// What to give to the code under test.
    pub fn clock(&self) -> Clock {
        Clock(Source::Manual(self.0.subscribe()))
    }

    /// Lets time pass, and wakes who waited for that moment.
    pub fn advance(&self, duration: Duration) {
        self.0.send_modify(|hand| {
            hand.shows = hand.shows.after(duration);
            hand.passed = hand.passed.saturating_add(duration);
        });
    }

    /// Sets the time of day, in no time.
    pub fn set(&self, now: Timestamp) {
        self.0.send_modify(|hand| hand.shows = now);
    }

    /// Lets time pass while the time of day stands still.
    pub fn advance_stopped(&self, duration: Duration) {
        self.0.send_modify(|hand| hand.passed = hand.passed.saturating_add(duration));
    }

    /// What the clock shows.
    pub fn now(&self) -> Timestamp {
        self.0.borrow().shows
    }
}
