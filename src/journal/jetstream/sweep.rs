//! Keeps the log short: what has ended goes from its beginning, and nothing else.
//!
//! ```text
//! every LOOK, in the dispatcher that runs partition 0
//!    much was written since the last snapshot? ──> a snapshot
//!    old events that still wait hold it up?    ──> they are written once more, at the end
//!    up to the first message that is needed    ──> purge
//! ```
//!
//! A message is needed if the snapshot has not seen it, if an event that waits
//! or is kept for people stands in it, if it says who runs a partition, or if a
//! dispatcher that is alive has not read it. One that missed something all the same
//! notices, and begins anew with the snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;

use super::core::Core;
use super::publish::{Outgoing, PublishError, publish};
use super::snapshot;
use super::wire::{INDEX, Number, encode_events, encode_numbers};

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(5);

/// The most events that are written once more at a look.
const PIECE: usize = 500;

/// Sweeps until shutdown.
pub async fn run(core: Arc<Core>) {
    let mut last = core.lock().position;
    while core.shutdown.run_until_cancelled(tokio::time::sleep(core.config.sweep.min(LOOK))).await.is_some() {
        if !core.is_open() || !core.lock().may_act(0, Instant::now()) {
            continue;
        }
        match sweep(&core, last).await {
            Ok(snapshot) => last = snapshot,
            Err(error) => tracing::warn!(%error, "the log was not shortened; it is tried again"),
        }
    }
}

/// One look; answers with the position of the last snapshot.
async fn sweep(core: &Core, last: u64) -> Result<u64, PublishError> {
    let position = core.lock().position;
    let every = core.config.snapshot_every;
    let last = if position.saturating_sub(last) >= every { snapshot::write(core).await? } else { last };
    let needed = core.lock().fold.first_needed();
    if needed < last.saturating_sub(4 * every) {
        carry(core, last.saturating_sub(every)).await?;
    }
    let first = core.log.first().await?;
    let until = needed_from(core, last);
    if until > first.saturating_add(every / 4) {
        let purged = core.log.stream().purge().sequence(until).await;
        purged.map_err(|error| PublishError::NotStored(error.to_string()))?;
        core.lock().fold.forget_before(until);
        tracing::debug!(until, "the beginning of the log was removed");
    }
    Ok(last)
}

/// The first message that is needed.
fn needed_from(core: &Core, snapshot: u64) -> u64 {
    let now = Instant::now();
    let mut inner = core.lock();
    let kept = inner.fold.kept_from(core.config.limits.events, core.clock.now());
    let alive = inner.members.values().filter(|member| member.is_heard(now));
    let read = alive.map(|member| member.position.saturating_add(1)).min().unwrap_or(0);
    let owners = inner.partitions.iter().map(|part| part.epoch).min().unwrap_or(0);
    [snapshot.saturating_add(1), inner.fold.first_needed(), kept, read, owners].into_iter().min().unwrap_or(0)
}

/// Writes events that wait and stand before a message once more.
async fn carry(core: &Core, before: u64) -> Result<(), PublishError> {
    let old = core.lock().fold.needed_before(before, PIECE);
    let mut by_namespace: BTreeMap<Arc<str>, Vec<Number>> = BTreeMap::new();
    for (namespace, number) in old {
        by_namespace.entry(namespace).or_default().push(number);
    }
    for (namespace, numbers) in by_namespace {
        // Each may be large.
        for numbers in numbers.chunks(2) {
            let (mut carried, mut events) = (Vec::new(), Vec::new());
            for number in numbers {
                if let Some(event) = core.event(*number).await? {
                    carried.push(*number);
                    events.push(event);
                }
            }
            if carried.is_empty() {
                continue;
            }
            let mut headers = HeaderMap::new();
            headers.insert(INDEX, encode_numbers(&carried));
            let body = encode_events(events.iter().map(AsRef::as_ref), core.clock.now());
            publish(&core.client, Outgoing { subject: core.names.carry(&namespace), headers, body }).await?;
        }
    }
    Ok(())
}
