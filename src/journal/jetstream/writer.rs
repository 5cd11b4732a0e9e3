//! Writes what came of deliveries: one message at a time for each partition.
//!
//! What came since the last message goes into the next, after [`LINGER`], so
//! that a message serves many outcomes. It names its owner's epoch, so the
//! server refuses it once the partition is another's: then all of it is lost,
//! which repeats those deliveries there.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;

use super::core::{Core, Outgoing as Taken, is_outcome};
use super::partitions::fence;
use super::publish::{Outgoing, PublishError, publish};
use super::wire::{Changes, INDEX, MOST_INDEX};

/// How long outcomes wait for others.
const LINGER: Duration = Duration::from_millis(10);

/// How long it is waited after a write that failed.
const AGAIN: Duration = Duration::from_millis(100);

/// How long after one that was refused. The server answers a write a moment before it lets in the
/// next that depends on the same owner; who has lost its partition learns that from the log.
const SOON: Duration = Duration::from_millis(2);

/// Writes of one partition until shutdown, and then what is left.
pub async fn run(core: Arc<Core>, index: usize) {
    let wake = {
        let inner = core.lock();
        let Some(part) = inner.partitions.get(index) else { return };
        Arc::clone(&part.wake)
    };
    loop {
        let taken = core.lock().partitions.get_mut(index).and_then(|part| part.take_outbox(MOST_INDEX));
        let Some(taken) = taken else {
            if core.writers_end.is_cancelled() {
                return;
            }
            tokio::select! {
                () = wake.notified() => tokio::time::sleep(LINGER).await,
                () = core.writers_end.cancelled() => {}
            }
            continue;
        };
        write(&core, index, taken).await;
        if let Some(part) = core.lock().partitions.get_mut(index) {
            part.written();
        }
    }
}

async fn write(core: &Core, index: usize, taken: Taken) {
    let Taken { term, changes, answers } = taken;
    let outcomes = changes.iter().filter(|(_, change)| is_outcome(change)).count();
    let text = Changes(changes).encode();
    loop {
        // It may be another under the same ownership, which was said again.
        let epoch = core.lock().partitions.get(index).and_then(|part| part.epoch_of(term));
        let Some(epoch) = epoch else {
            core.outcomes.add_permits(outcomes);
            return;
        };
        let mut headers = HeaderMap::new();
        headers.insert(INDEX, text.as_str());
        fence(&mut headers, core.names.owner(index), epoch);
        let message = Outgoing { subject: core.names.change(index), headers, body: Bytes::new() };
        match publish(&core.client, message).await {
            Ok(sequence) => {
                core.outcomes.add_permits(outcomes);
                let mut inner = core.lock();
                for answer in answers {
                    inner.when_read(sequence, answer);
                }
                return;
            }
            // Written twice, it does no harm.
            Err(error) => {
                if core.writers_end.is_cancelled() {
                    core.outcomes.add_permits(outcomes);
                    return;
                }
                tracing::debug!(partition = index, %error, "outcomes were not written; they are written again");
                let again = if matches!(error, PublishError::Superseded) { SOON } else { AGAIN };
                tokio::time::sleep(again).await;
            }
        }
    }
}
