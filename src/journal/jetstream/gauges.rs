//! Shows how it is: who runs what, and since when nothing was heard.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::{Core, LEASE};

/// How often it is looked.
const EVERY: Duration = Duration::from_millis(500);

/// Looks, until shutdown.
pub async fn run(core: Arc<Core>) {
    let began = Instant::now();
    while core.shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        look(&core, began, Instant::now());
    }
    core.metrics.nats.open.set(0);
}

fn look(core: &Core, began: Instant, now: Instant) {
    let metrics = &core.metrics.nats;
    metrics.open.set(core.is_open().into());
    let inner = core.lock();
    let acts = inner.lease_is_good(now);
    let hears = |id: &str| inner.members.get(id).is_some_and(|member| member.is_heard(now));
    let is_alive = |id: &str| if id == core.me { acts } else { hears(id) };
    let has_owner = |owner: Option<&str>| owner.is_some_and(is_alive);
    let without_owner = inner.partitions.iter().filter(|part| !has_owner(part.owner.as_deref())).count();
    let mine = (0..inner.partitions.len()).filter(|index| inner.may_act(*index, now)).count();
    let others = inner.members.keys().filter(|id| **id != core.me && is_alive(id)).count();
    // The lease is counted from when its renewal was sent; one that never was, from the beginning.
    let renewed = inner.lease_until.and_then(|until| until.checked_sub(LEASE)).unwrap_or(began);
    metrics.without_owner.set(gauge(without_owner));
    metrics.partitions.set(gauge(mine));
    metrics.dispatchers.set(gauge(others + 1));
    metrics.lease_age.set(now.saturating_duration_since(renewed).as_secs_f64());
    core.metrics.live.set(i64::try_from(inner.fold.live()).unwrap_or(i64::MAX));
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
