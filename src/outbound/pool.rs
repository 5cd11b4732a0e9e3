//! The idle connections of a channel, and the sweep that closes the old ones.
//!
//! ```text
//! exchange ── put ─> Pool ── take ─> exchange
//!                     │
//! Sweeper ── every few seconds: close what is old or was closed by the endpoint
//! ```
//!
//! The connection that was used last is used first, so that the others can grow
//! old. One sweeper serves all channels; it knows those that have idle
//! connections, and holds none of them alive.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use prometheus_client::metrics::gauge::Gauge;

use super::connection::Connection;

/// The idle connections of one channel. Dropping it closes them.
pub(super) struct Pool {
    idle: Mutex<Idle>,
    sweeper: Arc<Sweeper>,
}

#[derive(Default)]
struct Idle {
    connections: Vec<(Box<Connection>, Instant)>,
    /// Whether the sweeper knows this pool.
    swept: bool,
}

/// Closes what has been idle for too long.
pub(super) struct Sweeper {
    pools: Mutex<Vec<Weak<Pool>>>,
    gauge: Gauge,
    timeout: Duration,
    most: i64,
    max_age: Duration,
}

impl Pool {
    pub(super) fn new(sweeper: Arc<Sweeper>) -> Arc<Self> {
        Arc::new(Self { idle: Mutex::default(), sweeper })
    }

    /// The connection that was put back last of those whose address has room, with what it `enter`s by.
    pub(super) fn take<E>(
        &self,
        now: Instant,
        mut enter: impl FnMut(&Connection) -> Option<E>,
    ) -> Option<(Box<Connection>, E)> {
        let mut idle = lock(&self.idle);
        let mut latest = idle.connections.iter().enumerate().rev();
        let (at, entry) = latest.find_map(|(at, (connection, _))| Some((at, enter(connection)?)))?;
        let (connection, since) = idle.connections.remove(at);
        self.sweeper.gauge.dec();
        // What is left in the pool has been idle for longer, and is the sweeper's to close.
        (now.saturating_duration_since(since) < self.sweeper.timeout).then_some((connection, entry))
    }

    pub(super) fn has_some(&self) -> bool {
        !lock(&self.idle).connections.is_empty()
    }

    /// Keeps a connection for the next request, if it is young enough and there is room.
    pub(super) fn put(self: &Arc<Self>, connection: Box<Connection>, now: Instant) {
        let sweeper = &self.sweeper;
        let old = now.saturating_duration_since(connection.opened) > sweeper.max_age;
        if old || sweeper.gauge.get() >= sweeper.most {
            connection.close();
            return;
        }
        sweeper.gauge.inc();
        let mut idle = lock(&self.idle);
        idle.connections.push((connection, now));
        if !std::mem::replace(&mut idle.swept, true) {
            drop(idle);
            lock(&sweeper.pools).push(Arc::downgrade(self));
        }
    }

    /// Closes what is old or dead; `false` when nothing is left.
    fn sweep(&self, now: Instant) -> bool {
        let timeout = self.sweeper.timeout;
        let mut closing = Vec::new();
        let mut idle = lock(&self.idle);
        for (mut connection, since) in std::mem::take(&mut idle.connections) {
            if now.saturating_duration_since(since) < timeout && connection.is_alive() {
                idle.connections.push((connection, since));
            } else {
                closing.push(connection);
            }
        }
        idle.swept = !idle.connections.is_empty();
        let left = idle.swept;
        drop(idle);
        for connection in closing {
            self.sweeper.gauge.dec();
            connection.close();
        }
        left
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for (connection, _) in std::mem::take(&mut lock(&self.idle).connections) {
            self.sweeper.gauge.dec();
            connection.close();
        }
    }
}

impl Sweeper {
    /// `timeout` is how long a connection may be idle, `max_age` how old it may
    /// be when it becomes idle, and `most` how many there may be in all.
    pub(super) fn new(gauge: Gauge, timeout: Duration, max_age: Duration, most: usize) -> Arc<Self> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        Arc::new(Self { pools: Mutex::default(), gauge, timeout, most, max_age })
    }

    /// Looks at every idle connection once.
    pub(super) fn sweep(&self, now: Instant) {
        let pools = std::mem::take(&mut *lock(&self.pools));
        let left: Vec<_> =
            pools.into_iter().filter(|pool| pool.upgrade().is_some_and(|pool| pool.sweep(now))).collect();
        lock(&self.pools).extend(left);
    }
}

/// Nothing that is done under these locks leaves them half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
