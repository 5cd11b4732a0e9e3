//! The storage library, and nothing of it beyond this file but batches and reads.
//!
//! **Guarantees.** A [`Batch`] is written whole or not at all. What was
//! committed before [`Store::sync`] returned is on the disk, and tables have
//! nothing that was not in the log, on the disk, before.
//!
//! A key of `events` and `ready` is written once and removed once, and a flush
//! that meets both writes neither. But the library keeps its log until every
//! keyspace has flushed something as new as the log's last entry: so of the
//! removals of one commit the last always leaves a trace.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fjall::compaction::Leveled;
use fjall::config::{BlockSizePolicy, FilterPolicy, PinningPolicy};
use fjall::{
    AbstractTree as _, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Slice,
};
use lsm_tree::SequenceNumberCounter as Counter;

use super::fsync::Fsync;
use super::keys;
use super::point;
use super::record::{Corrupt, Reader};
use super::seen::SeenFilters;
use crate::journal::calendar::Calendar;
use crate::model::Timestamp;

/// What stands under a key.
pub type Value = Slice;

/// Why the store cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Of the library, or of the disk under it.
    #[error("the store failed: {0}")]
    Library(#[from] fjall::Error),
    /// A record is not what was written.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// A bug: what it said is in the log, as far as it may be.
    #[error("a part of the journal panicked")]
    Panicked,
}

impl StoreError {
    /// Whether the tables may be damaged: it says so, or a thread of the library has failed
    /// and does not say of what.
    pub fn may_be_damage(&self) -> bool {
        match self {
            Self::Library(fjall::Error::Storage(fjall::LsmError::Io(_)) | fjall::Error::Io(_))
            | Self::Panicked => false,
            Self::Library(_) | Self::Corrupt(_) => true,
        }
    }
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
    meta: Keyspace,
    /// Requests to flush that the library's thread may not have met yet.
    asked: AtomicUsize,
    fsync: Fsync,
    syncs: AtomicU64,
    /// Of the directory; goes with the database, which comes before it here.
    lock: Arc<File>,
    #[cfg(test)]
    pub(super) fail_sync: std::sync::atomic::AtomicBool,
    /// While a test holds it, the disk takes its time.
    #[cfg(test)]
    pub(super) slow_sync: std::sync::Mutex<()>,
    #[cfg(test)]
    pub(super) syncs_begun: AtomicU64,
}

/// The library's folder of keyspaces.
pub const KEYSPACES: &str = "keyspaces";

/// In each keyspace's folder, the file that names its version file.
pub const CURRENT_VERSION: &str = "current";

/// The number of the last batch whose items the tables have, by the keyspace's number: what the
/// library will skip in its logs. Tables that no version file names are removed, as by opening.
pub fn flushed(home: &Path) -> Result<HashMap<u64, u64>, StoreError> {
    let mut flushed = HashMap::new();
    for entry in std::fs::read_dir(home.join(KEYSPACES)).map_err(fjall::Error::Io)? {
        let folder = entry.map_err(fjall::Error::Io)?.path();
        let number = folder.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        // One that was made by half the library removes.
        let Some(number) = number.filter(|_| folder.join(CURRENT_VERSION).exists()) else { continue };
        let tree = lsm_tree::Config::new(&folder, Counter::default(), Counter::default())
            .index_block_pinning_policy(PinningPolicy::disabled())
            .filter_block_pinning_policy(PinningPolicy::disabled())
            .open()
            .map_err(fjall::Error::Storage)?;
        if let Some(last) = tree.get_highest_persisted_seqno() {
            flushed.insert(number, last);
        }
    }
    Ok(flushed)
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Bytes that may wait in memory to be flushed, as the library counts them: a
/// third of what they take. More than all keyspaces together keep before they flush.
const MOST_BUFFERED: u64 = 14 * MIB;

/// How often it is asked whether so much was flushed that writing may go on.
const STALL: Duration = Duration::from_micros(500);

/// Writing goes on after this long in any case: outcomes wait for it too, and
/// have to be durable within [`crate::journal::OUTCOME_LOSS_WINDOW`].
const LONGEST_STALL: Duration = Duration::from_millis(25);

/// Write buffers of one keyspace that may wait to be flushed when a commit begins. It may add
/// one, and at four the library waits without end, also for a thread that has failed.
const MOST_SEALED: usize = 3;

/// Requests to flush that may be under way. A commit makes one for each buffer that is too
/// large; the library has room for a thousand, and its only thread waits for itself without
/// end when it finds no room for one of its own.
const MOST_ASKED: usize = 600;

/// Then a commit waits until all is flushed, and for this long in any case.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Bytes of a block of what is read in order and may be long. The library
/// keeps a table's index in memory where that begins at the top of the tree,
/// wherever it is moved to: of 3,000,000 deliveries that were 40 MB.
const QUEUE_BLOCK: u32 = 16 * 1024;

/// The library's log is cut when it reaches this, and its memory with it.
const LOG_BYTES: u64 = 64 * MIB;

/// Garbage below this is left to the library's own compactions.
const WORTH_COMPACTING: u64 = 128 * MIB;

/// Bytes of a keyspace that are flushed together.
fn buffer(keyspace: &str) -> u64 {
    let bytes = match keyspace {
        "ready" => 4 * MIB,
        "events" => 2 * MIB,
        "seen" => 3 * MIB / 2,
        "dead" => 512 * KIB,
        _ => 256 * KIB,
    };
    // A test that wants many flushes of little data asks for small ones.
    #[cfg(test)]
    if std::env::var_os(super::tests::SMALL_BUFFERS).is_some() {
        return bytes / 256;
    }
    bytes
}

impl Store {
    /// Opens or creates it in a folder that is its own.
    pub fn open(
        path: &Path,
        cache: u64,
        filters: Arc<SeenFilters>,
        lock: Arc<File>,
    ) -> Result<Self, StoreError> {
        let database = Database::builder(path)
            .cache_size(cache)
            // With more of them tables could get what the log does not have yet: see `fsync.rs`.
            .worker_threads(1)
            .max_journaling_size(LOG_BYTES)
            .manual_journal_persist(true)
            .with_compaction_filter_factories(Arc::new(move |keyspace| {
                (keyspace == "seen").then(|| Arc::clone(&filters) as _)
            }))
            .open()?;
        let options = |name: &str| {
            KeyspaceCreateOptions::default()
                .manual_journal_persist(true)
                .max_memtable_size(buffer(name))
                .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(8 * MIB)))
        };
        let index = |name: &str| database.keyspace(name, || options(name));
        let queue = |name: &str| {
            database.keyspace(name, || {
                options(name)
                    .data_block_size_policy(BlockSizePolicy::all(QUEUE_BLOCK))
                    .filter_policy(FilterPolicy::disabled())
                    .index_block_pinning_policy(PinningPolicy::disabled())
            })
        };
        let fsync = Fsync::new(path).map_err(fjall::Error::Io)?;
        Ok(Self {
            events: queue("events")?,
            shares: index("shares")?,
            ready: queue("ready")?,
            retry: queue("retry")?,
            order: queue("order")?,
            dead: queue("dead")?,
            lanes: index("lanes")?,
            seen: index("seen")?,
            spaces: index("spaces")?,
            meta: index("meta")?,
            database,
            asked: AtomicUsize::new(0),
            fsync,
            syncs: AtomicU64::new(0),
            lock,
            #[cfg(test)]
            fail_sync: std::sync::atomic::AtomicBool::new(false),
            #[cfg(test)]
            slow_sync: std::sync::Mutex::default(),
            #[cfg(test)]
            syncs_begun: AtomicU64::new(0),
        })
    }

    /// Something to fill and to [`Self::commit`].
    pub fn batch(&self) -> Batch {
        let writes = self.database.batch().durability(Some(PersistMode::Buffer));
        Batch { writes, last_once: Vec::new() }
    }

    /// Hands a batch to the operating system: it survives the process.
    pub fn commit(&self, mut batch: Batch, counters: Counters) -> Result<(), StoreError> {
        let Counters { next_seq, live_bytes, now } = counters;
        let value = [next_seq, live_bytes, now.as_millis()].map(u64::to_be_bytes);
        batch.put(&self.meta, keys::COUNTERS, value.as_flattened());
        for (keyspace, key) in batch.last_once {
            batch.writes.remove(&keyspace, key);
        }
        self.make_room()?;
        batch.writes.commit()?;
        // The library flushes on a thread that compacts as well; meanwhile its memory would grow.
        let begun = Instant::now();
        while self.database.write_buffer_size() > MOST_BUFFERED && begun.elapsed() < LONGEST_STALL {
            std::thread::sleep(STALL);
        }
        Ok(())
    }

    /// Waits until the library has room for a commit and what that asks of it.
    fn make_room(&self) -> Result<(), StoreError> {
        let begun = Instant::now();
        loop {
            let (mut sealed, mut large) = (0, 0);
            for keyspace in self.keyspaces() {
                let tree = &keyspace.tree;
                sealed = sealed.max(tree.sealed_memtable_count());
                large += usize::from(tree.active_memtable().size() > buffer(keyspace.name()));
            }
            if large == 0 && sealed == 0 {
                self.asked.store(0, Ordering::Relaxed);
            }
            let few = self.asked.load(Ordering::Relaxed) < MOST_ASKED || begun.elapsed() > ASK_AGAIN;
            if sealed < MOST_SEALED && few {
                self.asked.fetch_add(large, Ordering::Relaxed);
                return Ok(());
            }
            std::thread::sleep(STALL);
            // Fails if the thread that flushes has.
            self.database.persist(PersistMode::Buffer)?;
        }
    }

    /// Writes what was in another store.
    pub fn copy(&self, batch: Batch) -> Result<(), StoreError> {
        self.make_room()?;
        Ok(batch.writes.commit()?)
    }

    /// Every keyspace, always in the same order.
    pub fn keyspaces(&self) -> [&Keyspace; 10] {
        let Self { events, shares, ready, retry, order, dead, lanes, seen, spaces, meta, .. } = self;
        [events, shares, ready, retry, order, dead, lanes, seen, spaces, meta]
    }

    /// Makes durable what was committed, and says how long that took.
    pub fn sync(&self) -> Result<Duration, StoreError> {
        #[cfg(test)]
        {
            self.syncs_begun.fetch_add(1, Ordering::Relaxed);
            drop(self.slow_sync.lock());
        }
        #[cfg(test)]
        // Once: the kernel takes the pages for clean then, and the next fsync goes well.
        if self.fail_sync.swap(false, Ordering::Relaxed) {
            return Err(fjall::Error::Io(std::io::Error::other("a test failed this fsync")).into());
        }
        let start = Instant::now();
        self.fsync.all().map_err(fjall::Error::Io)?;
        // Fails if the thread that flushes has.
        self.database.persist(PersistMode::Buffer)?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(start.elapsed())
    }

    /// The lock of the directory, for who is about to let go of this and wants to keep that.
    pub fn lock(&self) -> Arc<File> {
        Arc::clone(&self.lock)
    }

    /// How many times [`Self::sync`] went through to the disk.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Keeps the calendar.
    pub fn put_calendar(&self, batch: &mut Batch, calendar: &Calendar) {
        let notes = calendar.notes().iter().flat_map(|(journal, day)| [*journal, *day]);
        let bytes: Vec<u8> = notes.flat_map(|moment| moment.as_millis().to_be_bytes()).collect();
        batch.put(&self.meta, keys::CALENDAR, bytes);
    }

    /// The calendar that was kept.
    pub fn calendar(&self) -> Result<Calendar, StoreError> {
        let bytes = self.meta.get(keys::CALENDAR)?.unwrap_or_else(|| Slice::from([]));
        let mut reader = Reader { bytes: &bytes, kind: "calendar" };
        let mut notes = Vec::new();
        while !reader.bytes.is_empty() {
            notes.push((reader.timestamp()?, reader.timestamp()?));
        }
        Ok(Calendar::new(notes))
    }

    /// What the last commit kept; `None` in a new store.
    pub fn counters(&self) -> Result<Option<Counters>, StoreError> {
        let Some(bytes) = self.meta.get(keys::COUNTERS)? else {
            return Ok(None);
        };
        let mut reader = Reader { bytes: &bytes, kind: "counters" };
        let (next_seq, live_bytes, now) = (reader.u64()?, reader.u64()?, reader.timestamp()?);
        Ok(Some(Counters { next_seq, live_bytes, now }))
    }

    /// How much room `events` and `ready` take for what has ended, if it is
    /// worth the work to get it back.
    pub fn garbage(&self, live: u64) -> Option<u64> {
        let used = self.events.disk_space() + self.ready.disk_space();
        let garbage = used.saturating_sub(live);
        (garbage > live.max(WORTH_COMPACTING)).then_some(garbage)
    }

    /// Rewrites `events` and `ready` without what has ended. This takes long,
    /// and blocks nobody who reads or writes.
    pub fn compact(&self) -> Result<(), StoreError> {
        self.events.major_compact()?;
        point::reach("compacting");
        Ok(self.ready.major_compact()?)
    }

    /// Bytes on the disk.
    pub fn disk_bytes(&self) -> Result<u64, StoreError> {
        Ok(self.database.disk_space()?)
    }
}

/// Writes that belong together. A key is in it once.
pub struct Batch {
    writes: OwnedWriteBatch,
    /// The last key of each keyspace that was removed for good.
    last_once: Vec<(Keyspace, Slice)>,
}

impl Batch {
    /// Sets a key.
    pub fn put(&mut self, keyspace: &Keyspace, key: impl Into<Slice>, value: impl Into<Slice>) {
        self.writes.insert(keyspace, key, value);
    }

    /// Removes a key.
    pub fn remove(&mut self, keyspace: &Keyspace, key: impl Into<Slice>) {
        self.writes.remove(keyspace, key);
    }

    /// Removes a key that was written once and is never written again.
    pub fn remove_once(&mut self, keyspace: &Keyspace, key: impl Into<Slice>) {
        match self.last_once.iter_mut().find(|(of, _)| of == keyspace) {
            Some((_, last)) => {
                let before = std::mem::replace(last, key.into());
                self.writes.remove_weak(keyspace, before);
            }
            None => self.last_once.push((keyspace.clone(), key.into())),
        }
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.last_once.is_empty()
    }
}
