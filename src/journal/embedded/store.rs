//! The storage library, and nothing of it beyond this file but batches and reads.
//!
//! **Guarantees.** A [`Batch`] is written whole or not at all. What was
//! committed before [`Store::sync`] returned is on the disk.
//!
//! A flush of `events` and `ready` may write nothing at all, since an item that
//! came and went leaves nothing. The library keeps its log until every
//! keyspace has flushed something as new as the log's last entry, so that log
//! would never end: each commit therefore writes a marker into both, which
//! stays. The marker of `events` carries the journal's own counters.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fjall::compaction::Leveled;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Slice};

use super::keys;
use super::record::{Corrupt, Reader};
use super::seen::SeenFilters;
use crate::model::Timestamp;

/// Why the store cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Of the library, or of the disk under it.
    #[error("the store failed: {0}")]
    Library(#[from] fjall::Error),
    /// A record is not what was written.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}

/// What must survive beside the records themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// The next event's number.
    pub next_seq: u64,
    /// Bytes of the events that have deliveries that have not ended.
    pub live_bytes: u64,
    /// The journal's time.
    pub now: Timestamp,
}

/// The open database.
pub struct Store {
    database: Database,
    /// See [`keys`], as for all of these.
    pub events: Keyspace,
    /// Deliveries left of shared events.
    pub shares: Keyspace,
    /// Queues.
    pub ready: Keyspace,
    /// Queues by time.
    pub retry: Keyspace,
    /// Per-user order.
    pub order: Keyspace,
    /// Dead letters.
    pub dead: Keyspace,
    /// Of lanes.
    pub lanes: Keyspace,
    /// Known events.
    pub seen: Keyspace,
    /// Of namespaces.
    pub spaces: Keyspace,
    syncs: AtomicU64,
    /// Of the directory; goes with the database, which comes before it here.
    _lock: File,
    #[cfg(test)]
    pub(super) fail_sync: std::sync::atomic::AtomicBool,
}

const MIB: u64 = 1024 * 1024;

/// The library's log is cut when it reaches this, and its memory with it.
const LOG_BYTES: u64 = 128 * MIB;

impl Store {
    /// Opens or creates it in a folder that is its own.
    pub fn open(path: &Path, cache: u64, filters: Arc<SeenFilters>, lock: File) -> Result<Self, StoreError> {
        let database = Database::builder(path)
            .cache_size(cache)
            .worker_threads(1)
            .max_journaling_size(LOG_BYTES)
            .manual_journal_persist(true)
            .with_compaction_filter_factories(Arc::new(move |keyspace| {
                (keyspace == "seen").then(|| Arc::clone(&filters) as _)
            }))
            .open()?;
        let keyspace = |name: &str, memory: u64| {
            database.keyspace(name, || {
                KeyspaceCreateOptions::default()
                    .manual_journal_persist(true)
                    .max_memtable_size(memory)
                    .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(16 * MIB)))
            })
        };
        Ok(Self {
            events: keyspace("events", 12 * MIB)?,
            shares: keyspace("shares", MIB)?,
            ready: keyspace("ready", 2 * MIB)?,
            retry: keyspace("retry", MIB)?,
            order: keyspace("order", MIB)?,
            dead: keyspace("dead", 4 * MIB)?,
            lanes: keyspace("lanes", MIB)?,
            seen: keyspace("seen", 2 * MIB)?,
            spaces: keyspace("spaces", MIB)?,
            database,
            syncs: AtomicU64::new(0),
            _lock: lock,
            #[cfg(test)]
            fail_sync: std::sync::atomic::AtomicBool::new(false),
        })
    }

    /// Something to fill and to [`Self::commit`].
    pub fn batch(&self) -> Batch {
        Batch(self.database.batch().durability(Some(PersistMode::Buffer)))
    }

    /// Hands a batch to the operating system: it survives the process.
    pub fn commit(&self, mut batch: Batch, counters: Counters) -> Result<(), StoreError> {
        let mut value = [0; 24];
        let (seq, rest) = value.split_at_mut(8);
        seq.copy_from_slice(&counters.next_seq.to_be_bytes());
        let (bytes, now) = rest.split_at_mut(8);
        bytes.copy_from_slice(&counters.live_bytes.to_be_bytes());
        now.copy_from_slice(&counters.now.as_millis().to_be_bytes());
        batch.put(&self.events, keys::MARKER, value);
        batch.put(&self.ready, keys::MARKER, []);
        Ok(batch.0.commit()?)
    }

    /// Makes durable what was committed, and says how long that took.
    pub fn sync(&self) -> Result<Duration, StoreError> {
        #[cfg(test)]
        if self.fail_sync.load(Ordering::Relaxed) {
            return Err(fjall::Error::Io(std::io::Error::other("a test failed this fsync")).into());
        }
        let start = Instant::now();
        self.database.persist(PersistMode::SyncData)?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(start.elapsed())
    }

    /// How many times [`Self::sync`] went through to the disk.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// What the last commit kept; `None` in a new store.
    pub fn counters(&self) -> Result<Option<Counters>, StoreError> {
        let Some(bytes) = self.events.get(keys::MARKER)? else {
            return Ok(None);
        };
        let mut reader = Reader { bytes: &bytes, kind: "counters" };
        let (next_seq, live_bytes, now) = (reader.u64()?, reader.u64()?, reader.timestamp()?);
        Ok(Some(Counters { next_seq, live_bytes, now }))
    }

    /// Bytes on the disk.
    pub fn disk_bytes(&self) -> Result<u64, StoreError> {
        Ok(self.database.disk_space()?)
    }
}

/// Writes that belong together.
pub struct Batch(OwnedWriteBatch);

impl Batch {
    /// Sets a key.
    pub fn put(&mut self, keyspace: &Keyspace, key: impl Into<Slice>, value: impl Into<Slice>) {
        self.0.insert(keyspace, key, value);
    }

    /// Removes a key.
    pub fn remove(&mut self, keyspace: &Keyspace, key: impl Into<Slice>) {
        self.0.remove(keyspace, key);
    }

    /// Removes a key that was written once and is never written again.
    pub fn remove_once(&mut self, keyspace: &Keyspace, key: impl Into<Slice>) {
        self.0.remove_weak(keyspace, key);
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
