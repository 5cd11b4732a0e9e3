//! What probes ask of the controller: is it ready, does its loop still turn?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Readiness and liveness. Clones show the same.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ready: AtomicBool,
    began: Instant,
    last_beat: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self(Arc::new(Inner {
            ready: AtomicBool::new(false),
            began: Instant::now(),
            last_beat: AtomicU64::new(0),
        }))
    }
}

impl Pulse {
    /// Whether the first list is in, or this process stands by for the one that leads.
    pub fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Relaxed)
    }

    /// How long ago the loop last came round; it does every second.
    pub fn last_beat(&self) -> Duration {
        let last = Duration::from_millis(self.0.last_beat.load(Ordering::Relaxed));
        self.0.began.elapsed().saturating_sub(last)
    }

    pub(super) fn set_ready(&self, ready: bool) {
        self.0.ready.store(ready, Ordering::Relaxed);
    }

    pub(super) fn beat(&self) {
        let elapsed = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last_beat.store(elapsed, Ordering::Relaxed);
    }
}
