//! Opening the store again, in the same process, after a write or an fsync that failed.
//!
//! ```text
//! writer ── failure ──> nothing is taken, lanes are lost ──> last reader gone, store dropped
//!    ^                                                              │
//!    │                        backoff ──> rewrite ──> open ─ failed ┤
//!    └──────────────── lanes are named anew <──── ok ──┘     ^──────┘
//! ```
//!
//! What is read is made durable first: [`super::rewrite`] says why.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::open::{self, Last, OpenError};
use super::store::{Counters, Store};
use super::writer::{Failed, Writer};

/// How long it is waited before the first try; then twice as long each time.
const FIRST: Duration = Duration::from_millis(100);

/// The longest wait between two tries.
const LONGEST: Duration = Duration::from_secs(5);

/// After so long without success a new process is the only hope.
pub const HOPELESS: Duration = Duration::from_mins(1);

/// How often it is asked whether the last reader has gone.
const READER: Duration = Duration::from_millis(1);

/// Runs writers, one after the other, until one is told to close.
pub fn run(mut writer: Writer) {
    let core = Arc::clone(&writer.core);
    loop {
        let Some(Failed { cause, store }) = writer.run() else {
            return;
        };
        tracing::error!(error = %cause, "the journal failed; it is opened again");
        let lock = store.lock();
        drop_when_last(store);
        let Some(again) = reopen(&core, &lock, cause.may_be_damage()) else {
            // Who wanted to close learns from the channel's end that it was not in order.
            drop(core.inbox.close());
            core.end();
            return;
        };
        writer = again;
    }
}

/// Readers have it for as long as one reading takes. The library's files must not be in use
/// any more when they are opened again.
fn drop_when_last(mut store: Arc<Store>) {
    while let Err(shared) = Arc::try_unwrap(store) {
        store = shared;
        std::thread::sleep(READER);
    }
}

/// Tries until it is open, or somebody wants to close.
fn reopen(core: &Arc<Core>, lock: &Arc<File>, suspect: bool) -> Option<Writer> {
    let mut delay = FIRST;
    loop {
        if core.inbox.is_closing_within(delay) {
            return None;
        }
        match attempt(core, lock, suspect) {
            Ok((store, counters)) => {
                let store = Arc::new(store);
                core.metrics.volume.reopened.inc();
                tracing::info!("the journal is open again");
                let writer = Writer::new(Arc::clone(core), Arc::clone(&store), counters);
                core.go_on(store, counters.next_seq);
                return Some(writer);
            }
            Err(cause) => {
                tracing::error!(error = %cause, "the journal cannot be opened again yet");
                core.let_go(cause.to_string());
                delay = (delay * 2).min(LONGEST);
            }
        }
    }
}

fn attempt(core: &Core, lock: &Arc<File>, suspect: bool) -> Result<(Store, Counters), OpenError> {
    let last = if suspect { Last::Damaged } else { Last::Broke };
    let (store, counters) =
        open::open_store(&core.config, lock, &core.spaces, &core.lanes, &core.metrics, last)?;
    let none = Counters { next_seq: 1, live_bytes: 0, now: core.clock.now() };
    Ok((store, counters.unwrap_or(none)))
}
