//! Opening the journal's directory.
//!
//! ```text
//! LOCK     held while the journal is open
//! FORMAT   "herald-journal 2"
//! CLEAN    it was closed in order, and is not open
//! REPAIR   damage was left out, and the records have to be counted
//! store/   the storage library's own
//! damaged/ copies of logs that were damaged
//! history/ what happened, see [`super::history`]
//! ```
//!
//! A new store is made under another name, and gets its own when every file
//! and every name in it is on the disk: the library does not see to the names
//! of its keyspaces' folders, and does not open what it has made by half.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Config;
use super::core::Lanes;
use super::damage;
use super::dead;
use super::disk;
use super::keys;
use super::logs;
use super::namespaces;
use super::point;
use super::record::Reader;
use super::repair;
use super::rewrite;
use super::salvage;
use super::seen::{SeenFilters, Spaces};
use super::store::{self, Counters, Store, StoreError};
use crate::journal::metrics::Metrics;
use crate::model::Timestamp;

/// The version that this program writes.
const FORMAT: u32 = 2;

/// The oldest version that it reads.
const OLDEST: u32 = 2;

const NAME: &str = "herald-journal";

/// Why a journal cannot be opened, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "the journal in {path} is in use by another process; give this one a directory of its own, \
         or stop the other first"
    )]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// There is none, where there has to be one.
    #[error("there is no journal in {path}: name the directory that --journal-dir of the dispatcher names")]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// A newer program wrote it.
    #[error(
        "the journal in {path} has format {found}, and this version reads {OLDEST} to {FORMAT}: \
         run the version of Herald that wrote it, or a newer one"
    )]
    TooNew {
        /// The directory.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A program wrote it that is too old.
    #[error(
        "the journal in {path} has format {found}, and this version reads {OLDEST} to {FORMAT}: \
         let an older version of Herald deliver what is in it first"
    )]
    TooOld {
        /// The directory.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// It is something else.
    #[error("{path} holds something that is not a journal; name an empty directory")]
    NotAJournal {
        /// The directory.
        path: PathBuf,
    },
    /// The directory cannot be used.
    #[error("cannot use {path} for the journal: {cause}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// The store in it cannot be read.
    #[error(
        "the journal in {path} cannot be read: {cause}; restore the volume from a backup, or set it aside"
    )]
    Store {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        cause: StoreError,
    },
}

/// What was found in the directory.
pub struct Opened {
    /// Its store.
    pub store: Store,
    /// What the last commit kept, if there was one.
    pub counters: Option<Counters>,
    /// The webhooks that have something.
    pub lanes: Lanes,
    /// Known events.
    pub spaces: Arc<Spaces>,
}

/// Opens or creates a journal.
pub fn open(config: &Config, metrics: &Metrics) -> Result<Opened, OpenError> {
    let path = &config.path;
    let io = |cause| OpenError::Io { path: path.clone(), cause };
    std::fs::create_dir_all(path).map_err(io)?;
    let lock =
        File::options().create(true).truncate(false).write(true).open(path.join("LOCK")).map_err(io)?;
    lock.try_lock().map_err(|cause| match cause {
        TryLockError::WouldBlock => OpenError::Locked { path: path.clone() },
        TryLockError::Error(cause) => io(cause),
    })?;
    check_format(path)?;
    let last = if rewrite::take_clean(path).map_err(io)? { Last::Closed } else { Last::Broke };
    let spaces = Arc::new(Spaces::new(config.limits.window, Timestamp::from_millis(0), []));
    let lanes = Lanes::default();
    let (store, counters) = open_store(config, &Arc::new(lock), &spaces, &lanes, metrics, last)?;
    Ok(Opened { store, counters, lanes, spaces })
}

/// How the journal was left by who had it last.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// Closed in order.
    Closed,
    /// It ended somewhere, maybe because of an fsync that failed.
    Broke,
    /// It ended because of what may be damage in the tables: all of them are read.
    Damaged,
}

/// Opens or creates the store, and takes over its counts. Who calls it holds the lock.
pub fn open_store(
    config: &Config,
    lock: &Arc<File>,
    spaces: &Arc<Spaces>,
    lanes: &Lanes,
    metrics: &Metrics,
    last: Last,
) -> Result<(Store, Option<Counters>), OpenError> {
    let io = |cause| OpenError::Io { path: config.path.clone(), cause };
    let failed = |cause| OpenError::Store { path: config.path.clone(), cause };
    let filters = Arc::new(SeenFilters(Arc::clone(spaces)));
    let home = home(&config.path);
    let old = home.with_extension("old");
    if old.exists() {
        // What was written again is not here yet, or all of it is.
        if home.exists() { std::fs::remove_dir_all(&old) } else { std::fs::rename(&old, &home) }
            .map_err(io)?;
    }
    if !home.exists() {
        create(&home, config.cache_bytes, &filters, lock)?;
    }
    if last != Last::Closed {
        rewrite::versions(&home).map_err(io)?;
    }
    // What logs are left without has to be in tables that are there after a power cut.
    disk::sync_folders(&home).map_err(io)?;
    let flushed = store::flushed(&home).map_err(failed)?;
    logs::prepare(&home, &flushed, last != Last::Closed, metrics).map_err(io)?;
    point::reach("rewritten");
    let open =
        || Store::open(&home, config.cache_bytes, Arc::clone(&filters), Arc::clone(lock)).map_err(failed);
    let mut store = open()?;
    if last == Last::Damaged && !salvage::is_whole(&store) {
        salvage::salvage(store, &home, config.cache_bytes, Arc::clone(&filters), metrics)?;
        store = open()?;
    }
    let mut counters = store.counters().map_err(failed)?;
    if damage::is_marked(&home) {
        counters = Some(repair::repair(&store, counters, metrics).map_err(failed)?);
        damage::unmark(&home).map_err(io)?;
    }
    if let Some(kept) = counters
        && namespaces::are_uncounted(&store).map_err(failed)?
        && let Err(cause) = namespaces::count(&store, kept)
    {
        if !cause.may_be_damage() {
            return Err(failed(cause));
        }
        // It is not looked for at other openings, which read less.
        salvage::salvage(store, &home, config.cache_bytes, Arc::clone(&filters), metrics)?;
        store = open()?;
        counters = store.counters().map_err(failed)?;
    }
    point::reach("opened");
    restore(&store, counters, spaces, lanes).map_err(failed)?;
    #[cfg(test)]
    super::tests::recount::check(&store, counters, lanes, spaces);
    Ok((store, counters))
}

/// The store's folder.
pub fn home(journal: &Path) -> PathBuf {
    journal.join("store")
}

/// Makes an empty store that is there after a crash, or not at all.
fn create(home: &Path, cache: u64, filters: &Arc<SeenFilters>, lock: &Arc<File>) -> Result<(), OpenError> {
    let new = home.with_extension("new");
    let io = |cause| OpenError::Io { path: new.clone(), cause };
    if new.exists() {
        std::fs::remove_dir_all(&new).map_err(io)?;
    }
    let made = Store::open(&new, cache, Arc::clone(filters), Arc::clone(lock));
    drop(made.map_err(|cause| OpenError::Store { path: new.clone(), cause })?);
    disk::sync_folders(&new).map_err(io)?;
    std::fs::rename(&new, home).map_err(io)?;
    let journal = home.parent().unwrap_or(home);
    disk::sync_folder(journal).map_err(io)?;
    // The journal's own folder may be new as well.
    disk::sync_folder(journal.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(journal))
        .map_err(io)
}

fn check_format(path: &Path) -> Result<(), OpenError> {
    let io = |cause| OpenError::Io { path: path.to_owned(), cause };
    let file = path.join("FORMAT");
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            if path.join("store").exists() {
                return Err(OpenError::NotAJournal { path: path.to_owned() });
            }
            return write_format(path, &file).map_err(io);
        }
        Err(cause) => return Err(io(cause)),
    };
    let found = text.trim().strip_prefix(NAME).and_then(|version| version.trim().parse().ok());
    match found {
        None => Err(OpenError::NotAJournal { path: path.to_owned() }),
        Some(found) if found < OLDEST => Err(OpenError::TooOld { path: path.to_owned(), found }),
        Some(found) if found > FORMAT => Err(OpenError::TooNew { path: path.to_owned(), found }),
        Some(_) => Ok(()),
    }
}

fn write_format(path: &Path, file: &Path) -> io::Result<()> {
    let new = path.join("FORMAT.new");
    let mut out = File::create(&new)?;
    writeln!(out, "{NAME} {FORMAT}")?;
    out.sync_all()?;
    std::fs::rename(&new, file)?;
    disk::sync_folder(path)
}

/// Takes over the counts of every lane and namespace; nothing that is queued is read.
fn restore(
    store: &Store,
    counters: Option<Counters>,
    spaces: &Spaces,
    lanes: &Lanes,
) -> Result<(), StoreError> {
    let mut counts = Vec::new();
    for guard in store.spaces.iter() {
        let (key, value) = guard.into_inner()?;
        let mut reader = Reader { bytes: &value, kind: "count" };
        let events = reader.u64()?;
        // A version that did not count it has left no lane that is queued.
        let queued = if reader.bytes.is_empty() { 0 } else { reader.u64()? };
        counts.push((keys::last(&key)?, events, queued));
    }
    let now = counters.map_or(Timestamp::from_millis(0), |counters| counters.now);
    spaces.restore(now, counts);
    for cell in lanes.all() {
        cell.lock().forget();
    }
    for guard in store.lanes.iter() {
        let (key, value) = guard.into_inner()?;
        if let (16, Some(webhook)) = (key.len(), keys::webhook(&key)) {
            let cell = lanes.cell(webhook);
            let mut inner = cell.lock();
            if !inner.restore(&value)? && inner.dead > 0 {
                inner.dead_bytes = dead::count_bytes(store, webhook)?;
            }
            drop(inner);
            lanes.offer(&cell);
        }
    }
    Ok(())
}
