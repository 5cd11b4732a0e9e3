//! Takes all that a stopped journal in a directory has to the one on NATS.
//!
//! ```text
//! Export ── events of which something is left, oldest first ──> by namespace ──> Import ── durable, read ──> Ledger
//!    └───── ids of events that have ended, once those are durable ───────────────────┘
//! ```
//!
//! **Guarantees.** Nothing is delivered twice because of it, and nothing is left out: an event goes
//! over once, with what waits and what was given up, by its id; what is there is left as it is. So it may
//! break off anywhere and be begun again. The ids of what has ended come last: earlier, they
//! would have what waits taken for a repeat.
//!
//! **Does not move** attempts, events that are kept after their delivery, what lanes remember of their
//! endpoints, and how many letters were evicted.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::DeadLetter;
use super::embedded::StoreError;
use super::embedded::export::{Export, Id};
use super::jetstream::import::{Import, WriteError};
use super::record::{event_length, short_hash};
use crate::model::{Event, EventKey, Timestamp, WebhookUid};

/// Events that go over together.
const GROUP: usize = 512;

/// The most bytes of them, beyond the first.
const GROUP_BYTES: usize = 256 << 10;

/// Bytes of events that wait for others of their namespace.
const OPEN_BYTES: usize = 8 << 20;

/// Events that are read ahead.
const AHEAD: usize = 256;

/// Ids that go over together.
const IDS: usize = 1000;

/// An event of which something is left.
#[derive(Clone, Debug)]
pub struct Moved {
    /// In the order of acceptance.
    pub number: u64,
    /// By which it is known.
    pub key: EventKey,
    /// What it says.
    pub event: Arc<Event>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// What is left of it, by webhook.
    pub deliveries: Vec<(WebhookUid, Left)>,
}

/// What is left of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// It has not ended.
    Waits {
        /// Attempts that failed.
        failures: u16,
        /// When the next is due; `None` for at once, or when it is its turn.
        at: Option<Timestamp>,
    },
    /// It was given up.
    Dead(DeadLetter),
}

impl Moved {
    /// Whether any of its deliveries has not ended.
    pub fn waits(&self) -> bool {
        self.deliveries.iter().any(|(_, left)| matches!(left, Left::Waits { .. }))
    }

    /// How many wait, and how many were given up.
    fn counts(&self) -> (u64, u64) {
        let waiting = self.deliveries.iter().filter(|(_, left)| matches!(left, Left::Waits { .. })).count();
        (waiting as u64, (self.deliveries.len() - waiting) as u64)
    }

    /// With all times as they are on another clock.
    fn on(mut self, clocks: Clocks) -> Self {
        self.accepted_at = clocks.of(self.accepted_at);
        for (_, left) in &mut self.deliveries {
            match left {
                Left::Waits { at, .. } => *at = at.map(|at| clocks.of(at)),
                Left::Dead(letter) => {
                    letter.accepted_at = clocks.of(letter.accepted_at);
                    letter.died_at = clocks.of(letter.died_at);
                }
            }
        }
        self
    }
}

/// The same moment on the clocks of two journals.
#[derive(Clone, Copy)]
struct Clocks {
    here: Timestamp,
    there: Timestamp,
}

impl Clocks {
    fn of(self, at: Timestamp) -> Timestamp {
        self.there.before(self.here.since(at)).after(at.since(self.here))
    }
}

/// How many of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Were found in the directory.
    pub read: u64,
    /// Were written by this import.
    pub written: u64,
    /// Were there before.
    pub there: u64,
}

impl Count {
    fn add(&mut self, count: u64, there: bool) {
        *(if there { &mut self.there } else { &mut self.written }) += count;
    }
}

/// What became of all that there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Events of which something is left.
    pub events: Count,
    /// Deliveries that have not ended.
    pub deliveries: Count,
    /// Dead letters.
    pub letters: Count,
    /// Ids of events that have ended.
    pub ids: Count,
    /// Those of a namespace whose name nothing says: they were left out.
    pub unnamed: u64,
    /// Deliveries and letters that cannot be read: they were left out.
    pub unreadable: u64,
}

impl Ledger {
    /// Whether all that was to be moved is durable on NATS.
    pub fn is_complete(&self) -> bool {
        let all = [self.events, self.deliveries, self.letters, self.ids];
        self.unreadable == 0 && all.iter().all(|count| count.read == count.written + count.there)
    }
}

/// Why it broke off. What is durable by then stays, and is found there by the next import.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The directory cannot be read.
    #[error("the journal cannot be read: {0}")]
    Read(#[from] StoreError),
    /// NATS does not take it.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The thread that reads is gone.
    #[error("the journal was not read: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

/// Moves everything; tells `progress` of each step. `names` are namespaces whose ids are to be
/// moved although nothing else of them is left.
///
/// # Errors
/// It broke off.
pub async fn run(
    export: Export,
    import: &Import,
    names: &[String],
    mut progress: impl FnMut(&Ledger),
) -> Result<Ledger, ImportError> {
    import.ready().await?;
    let export = Arc::new(export);
    let clocks = Clocks { here: export.now(), there: import.now() };
    let (sender, mut events) = mpsc::channel(AHEAD);
    let reading = tokio::task::spawn_blocking({
        let export = Arc::clone(&export);
        move || export.events(|event| sender.blocking_send(event).is_ok())
    });
    let mut moving = Moving { import, ledger: Ledger::default(), open: HashMap::new(), bytes: 0 };
    let (mut known, mut namespaces) = (HashSet::new(), HashSet::new());
    while let Some(mut event) = events.recv().await {
        // One that came again when its id was known no more is an event of its own.
        if !known.insert(event.key) {
            event.key = again(event.key, event.number);
        }
        if !namespaces.contains(&event.event.namespace) {
            namespaces.insert(event.event.namespace.clone());
        }
        if moving.add(event.on(clocks)).await? {
            progress(&moving.ledger);
        }
    }
    moving.finish().await?;
    moving.ledger.unreadable = reading.await??;
    progress(&moving.ledger);
    let (ids, kept) =
        tokio::task::spawn_blocking(move || Ok::<_, StoreError>((export.ids()?, export.namespaces()?)))
            .await??;
    let all = namespaces.into_iter().chain(kept).chain(names.iter().cloned());
    let by_hash: HashMap<u64, String> = all.map(|name| (short_hash(&name), name)).collect();
    let mut by_namespace: HashMap<u64, Vec<EventKey>> = HashMap::new();
    for Id { key, namespace } in ids.into_iter().filter(|id| !known.contains(&id.key)) {
        by_namespace.entry(namespace).or_default().push(key);
    }
    for (hash, ids) in by_namespace {
        moving.ledger.ids.read += ids.len() as u64;
        let Some(namespace) = by_hash.get(&hash) else {
            moving.ledger.unnamed += ids.len() as u64;
            continue;
        };
        for ids in ids.chunks(IDS) {
            let written = import.put_ids(namespace, ids).await?;
            moving.ledger.ids.written += written as u64;
            moving.ledger.ids.there += (ids.len() - written) as u64;
            progress(&moving.ledger);
        }
    }
    Ok(moving.ledger)
}

/// The same whenever it is asked.
fn again(key: EventKey, number: u64) -> EventKey {
    let hash: [u8; 32] =
        Sha256::new().chain_update(key.as_bytes()).chain_update(number.to_be_bytes()).finalize().into();
    EventKey::from_bytes(hash.first_chunk().copied().unwrap_or_default())
}

/// A namespace, and whether anything waits: such events are written together.
type Kind = (String, bool);

/// Events on their way.
struct Moving<'i> {
    import: &'i Import,
    ledger: Ledger,
    open: HashMap<Kind, (Vec<Moved>, usize)>,
    bytes: usize,
}

impl Moving<'_> {
    /// Takes one more; whether anything was written.
    async fn add(&mut self, event: Moved) -> Result<bool, WriteError> {
        let (waiting, dead) = event.counts();
        self.ledger.events.read += 1;
        self.ledger.deliveries.read += waiting;
        self.ledger.letters.read += dead;
        let kind = (event.event.namespace.clone(), event.waits());
        let bytes = event_length(&event.event);
        let (group, of_group) = self.open.entry(kind.clone()).or_default();
        group.push(event);
        *of_group += bytes;
        self.bytes += bytes;
        let is_full = group.len() >= GROUP || *of_group >= GROUP_BYTES;
        if is_full {
            self.write(kind).await?;
        } else if self.bytes >= OPEN_BYTES {
            self.finish().await?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    async fn finish(&mut self) -> Result<(), WriteError> {
        for kind in self.open.keys().cloned().collect::<Vec<_>>() {
            self.write(kind).await?;
        }
        Ok(())
    }

    async fn write(&mut self, kind: Kind) -> Result<(), WriteError> {
        let Some((group, bytes)) = self.open.remove(&kind) else { return Ok(()) };
        self.bytes -= bytes;
        let counts: Vec<_> = group.iter().map(Moved::counts).collect();
        let there = self.import.put(&kind.0, group).await?;
        for ((waiting, dead), there) in counts.into_iter().zip(there) {
            self.ledger.events.add(1, there);
            self.ledger.deliveries.add(waiting, there);
            self.ledger.letters.add(dead, there);
        }
        Ok(())
    }
}
