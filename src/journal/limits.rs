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
