//! How much a namespace may send.
//!
//! ```text
//! flags ──────────────────────────────┐
//! Namespaces ─ watch ─> annotations ──┴─> Quota of the namespace
//!                                             │
//! request ─ length ─> bytes/s ─ parsed ─> events/s ─ append ─> bytes queued ─> 202
//!                        └──────────────────┴────────────────────┴─ none left ─> 429
//! ```
//!
//! **Guarantees.** In any time t, no requests to a namespace get more than
//! rate × t + burst past a rate, and nothing of a request that is refused is
//! stored. The burst is the rate of one second, and at least one request of the
//! largest size, so that every request that may be sent is possible at some
//! time. What one namespace uses is taken from no other.
//!
//! **Assumes** that whoever gets here may send to the namespace: its name is
//! remembered for as long as something of its burst is used up.
//!
//! **Does not do.** Rates are not kept across a start. A repeat counts for the
//! rates, for it is work, and not for the bytes that wait, for it adds none.

mod annotations;
mod bucket;
mod namespaces;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use self::annotations::Overrides;
use self::bucket::Bucket;
pub use self::namespaces::run;
use super::parse::{MAX_BATCH_BYTES, MAX_BATCH_EVENTS};

/// When to come back after too much waited: that takes deliveries, and nobody knows how long.
const QUEUED_RETRY: Duration = Duration::from_secs(10);
/// Namespaces whose use is remembered apart. Those beyond share what is left of one.
const MOST_NAMESPACES: usize = 65_536;
/// At most so often all of them are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the log says of a namespace that it is over quota.
const LOG_EVERY: Duration = Duration::from_mins(1);

/// What a namespace may send; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Events in a second, repeats among them.
    pub events_per_second: u64,
    /// Bytes of bodies in a second.
    pub bytes_per_second: u64,
    /// Bytes of events that wait for delivery, as the journal counts them.
    pub bytes_queued: u64,
}

impl Quota {
    /// What may wait, for the journal.
    pub(super) fn most_queued(&self) -> Option<u64> {
        (self.bytes_queued > 0).then_some(self.bytes_queued)
    }
}

/// One of the numbers of a [`Quota`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Measure {
    EventsPerSecond,
    BytesPerSecond,
    BytesQueued,
}

impl Measure {
    const ALL: [Self; 3] = [Self::EventsPerSecond, Self::BytesPerSecond, Self::BytesQueued];

    /// As the end of its flag and of its annotation.
    const fn name(self) -> &'static str {
        match self {
            Self::EventsPerSecond => "events-per-second",
            Self::BytesPerSecond => "bytes-per-second",
            Self::BytesQueued => "bytes-queued",
        }
    }

    /// As a label of a metric.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::EventsPerSecond => "events_per_second",
            Self::BytesPerSecond => "bytes_per_second",
            Self::BytesQueued => "bytes_queued",
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::EventsPerSecond => "events per second",
            Self::BytesPerSecond => "bytes per second",
            Self::BytesQueued => "bytes of events that wait for delivery",
        }
    }
}

/// A request was over one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Over {
    pub(super) measure: Measure,
    namespace: String,
    value: u64,
    /// When there is room for it, as far as can be told.
    pub(super) retry_after: Duration,
    /// Whether an annotation could raise it.
    annotations: bool,
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { measure, namespace, value, annotations, .. } = self;
        let (unit, name) = (measure.unit(), measure.name());
        write!(f, "the namespace {namespace:?} is over its quota of {value} {unit}; ")?;
        write!(f, "send the whole request again later, or have an administrator raise the quota by ")?;
        if *annotations {
            write!(f, "the annotation {}{name} of the Namespace, or by ", annotations::PREFIX)?;
        }
        write!(f, "Herald's flag --quota-{name}")
    }
}

/// The quotas of all namespaces, and what they have used of them. A clone is the same.
#[derive(Clone, Debug)]
pub struct Quotas(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    flags: Quota,
    annotations: bool,
    origin: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    overrides: HashMap<String, Overrides>,
    used: HashMap<String, Used>,
    /// So many are looked through for those that can be forgotten, but not before then.
    crowd: usize,
    look_after: Duration,
}

#[derive(Debug, Default)]
struct Used {
    events: Bucket,
    bytes: Bucket,
    logged_until: Duration,
}

impl Default for Quotas {
    fn default() -> Self {
        Self::new(Quota::default(), false)
    }
}

impl Quotas {
    /// For namespaces without numbers of their own; with `annotations`, [`run`]
    /// brings those.
    pub fn new(flags: Quota, annotations: bool) -> Self {
        let state = Mutex::default();
        Self(Arc::new(Shared { flags, annotations, origin: Instant::now(), state }))
    }

    /// What a namespace may send.
    pub fn of(&self, namespace: &str) -> Quota {
        self.locked(|state, _| self.quota(state, namespace))
    }

    fn quota(&self, state: &State, namespace: &str) -> Quota {
        let flags = self.0.flags;
        state.overrides.get(namespace).map_or(flags, |own| own.over(flags))
    }

    /// Takes bytes that are about to be read.
    pub(super) fn take_bytes(&self, namespace: &str, bytes: u64) -> Result<(), Over> {
        self.locked(|state, now| {
            let rate = self.quota(state, namespace).bytes_per_second;
            if rate == 0 {
                return Ok(());
            }
            let burst = rate.max(MAX_BATCH_BYTES as u64);
            let taken = state.used(namespace, now).bytes.take(bytes, rate, burst, now);
            taken.map_err(|retry_after| self.over(Measure::BytesPerSecond, namespace, rate, retry_after))
        })
    }

    /// Gives back what was taken and not read.
    pub(super) fn give_back_bytes(&self, namespace: &str, bytes: u64) {
        if bytes > 0 {
            self.locked(|state, _| {
                let rate = self.quota(state, namespace).bytes_per_second;
                if let Some(used) = state.used.get_mut(namespace) {
                    used.bytes.give_back(bytes, rate);
                }
            });
        }
    }

    /// Takes events; where there is no room, their bytes are given back, for they
    /// have to be sent again.
    pub(super) fn take_events(&self, namespace: &str, events: u64, bytes: u64) -> Result<(), Over> {
        self.locked(|state, now| {
            let quota = self.quota(state, namespace);
            let rate = quota.events_per_second;
            if rate == 0 {
                return Ok(());
            }
            let burst = rate.max(MAX_BATCH_EVENTS as u64);
            let used = state.used(namespace, now);
            used.events.take(events, rate, burst, now).map_err(|retry_after| {
                used.bytes.give_back(bytes, quota.bytes_per_second);
                self.over(Measure::EventsPerSecond, namespace, rate, retry_after)
            })
        })
    }

    /// The journal has no room for more of a namespace.
    pub(super) fn full(&self, namespace: &str, quota: Quota) -> Over {
        self.over(Measure::BytesQueued, namespace, quota.bytes_queued, QUEUED_RETRY)
    }

    fn over(&self, measure: Measure, namespace: &str, value: u64, retry_after: Duration) -> Over {
        let annotations = self.0.annotations;
        Over { measure, namespace: namespace.to_owned(), value, retry_after, annotations }
    }

    /// Says in the log, now and then, that a namespace is over quota: a metric
    /// with the names of all of them would have no bound.
    pub(super) fn log(&self, over: &Over) {
        let due = self.locked(|state, now| {
            let used = state.used(&over.namespace, now);
            let due = used.logged_until <= now;
            if due {
                used.logged_until = now + LOG_EVERY;
            }
            due
        });
        if due {
            tracing::warn!(
                namespace = over.namespace,
                quota = over.measure.name(),
                value = over.value,
                "a namespace is over its quota; its producers are told to come back"
            );
        }
    }

    /// Takes over what the annotations of a namespace say, and `None` when it is gone.
    fn set(&self, namespace: &str, overrides: Option<Overrides>) {
        let complaints = self.locked(|state, _| {
            let new = overrides.filter(|own| *own != Overrides::default());
            let old = match &new {
                Some(new) => state.overrides.insert(namespace.to_owned(), new.clone()),
                None => state.overrides.remove(namespace),
            };
            // What was complained of already is not again.
            if new == old { Vec::new() } else { new.map(|new| new.complaints).unwrap_or_default() }
        });
        for complaint in complaints {
            tracing::warn!(namespace, "{complaint}");
        }
    }

    fn locked<T>(&self, act: impl FnOnce(&mut State, Duration) -> T) -> T {
        // Numbers that a panic has left are as good as any others.
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut state, self.0.origin.elapsed())
    }
}

impl State {
    /// What a namespace has used.
    fn used(&mut self, namespace: &str, now: Duration) -> &mut Used {
        let crowd = self.crowd.clamp(1024, MOST_NAMESPACES);
        if self.used.len() >= crowd && now >= self.look_after && !self.used.contains_key(namespace) {
            self.used.retain(|_, used| !used.is_forgettable(now));
            self.crowd = 2 * self.used.len();
            self.look_after = now + LOOK_EVERY;
        }
        let crowded = self.used.len() >= MOST_NAMESPACES && !self.used.contains_key(namespace);
        self.used.entry(if crowded { String::new() } else { namespace.to_owned() }).or_default()
    }
}

impl Used {
    /// Whether one that has used nothing is the same.
    fn is_forgettable(&self, now: Duration) -> bool {
        self.events.is_full(now) && self.bytes.is_full(now) && self.logged_until <= now
    }
}

#[cfg(test)]
mod tests;
