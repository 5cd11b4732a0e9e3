//! Bounds that every engine keeps.

use std::time::Duration;

/// How long a repeat is told from a new event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// By time.
    pub age: Duration,
    /// By number of events of the namespace.
    pub ids: u64,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Of all that is kept; 0 keeps nothing.
    pub bytes: u64,
    /// Of the oldest record.
    pub age: Duration,
}

/// How much a journal takes and keeps, whichever engine it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of events that wait for delivery; beyond them appends are refused.
    pub max_bytes: u64,
    /// Deliveries that may wait for one webhook; beyond them they are dead letters.
    pub backlog: u64,
    /// How long after its acceptance an event is still delivered.
    pub retention: Duration,
    /// Bytes of the dead letters of one webhook; beyond them the oldest are evicted.
    pub dead_bytes: u64,
    /// How long a dead letter is kept.
    pub dead_age: Duration,
    /// How long a repeat is told from a new event.
    pub window: Window,
    /// How many of the last attempts are kept for people to look at.
    pub attempts: Bounds,
    /// How many of the last events are kept to be replayed, whatever became of them.
    pub events: Bounds,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 8 << 30,
            backlog: 1_000_000,
            retention: Duration::from_hours(72),
            dead_bytes: 64 << 20,
            dead_age: Duration::from_hours(14 * 24),
            window: Window { age: Duration::from_hours(24), ids: 1_000_000 },
            attempts: Bounds { bytes: 128 << 20, age: Duration::from_hours(7 * 24) },
            events: Bounds { bytes: 512 << 20, age: Duration::from_hours(72) },
        }
    }
}
