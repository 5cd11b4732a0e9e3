//! How much room the disk has left, and whether new events may take it.
//!
//! ```text
//! free for us = free on the file system - what the library's logs have been promised
//! needed      = reserve + a sixteenth of what waits
//! takes ── free < needed ──> refuses ── free > needed + a quarter of the reserve ──> takes
//! ```
//!
//! What is kept free is for the outcomes of what waits, which take some 50
//! bytes each until the store has compacted, for dead letters, for logs and for
//! the library's own compactions. A log is made 64 MiB long when it is made,
//! and takes that room only as it fills.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The part of the reserve that new events may fill before the disk is asked again, as it is
/// once in a second in any case.
const ASK_EVERY: u64 = 32;

/// See the module.
pub struct Space {
    home: PathBuf,
    reserve: u64,
    /// Bytes that were free for us when it was asked the last time.
    pub free: u64,
    /// Appended since.
    since: u64,
    full: bool,
    #[cfg(test)]
    pub(super) pretend: std::sync::Arc<std::sync::Mutex<Option<u64>>>,
}

impl Space {
    /// Of the store in this folder.
    pub fn new(home: PathBuf, reserve: u64) -> Self {
        let (free, since) = (u64::MAX, u64::MAX);
        Self {
            home,
            reserve,
            free,
            since,
            full: false,
            #[cfg(test)]
            pretend: std::sync::Arc::default(),
        }
    }

    /// Whether so many more bytes of events may be stored now, beside what waits.
    pub fn takes(&mut self, bytes: u64, live: u64) -> bool {
        self.since = self.since.saturating_add(bytes);
        // While it is full, each second is often enough.
        if !self.full && self.since > self.reserve / ASK_EVERY {
            self.ask(live);
        }
        !self.full
    }

    /// Asks the disk. What cannot be asked is taken for free: a write will tell.
    pub fn ask(&mut self, live: u64) {
        self.since = 0;
        self.free = self.measure().unwrap_or(u64::MAX);
        let full = is_full(self.full, self.free, self.reserve, live);
        if full != self.full {
            if full {
                tracing::warn!(
                    free = self.free,
                    "the disk of the journal is nearly full; new events are refused"
                );
            } else {
                tracing::info!(free = self.free, "the disk of the journal has room again");
            }
        }
        self.full = full;
    }

    fn measure(&self) -> std::io::Result<u64> {
        #[cfg(test)]
        if let Some(free) = *self.pretend.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            return Ok(free);
        }
        let found = rustix::fs::statvfs(&self.home)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize).saturating_sub(promised(&self.home)?))
    }

    /// Whether there is room to write so many bytes and still keep the half of the reserve.
    pub fn has(&self, bytes: u64) -> bool {
        self.free.saturating_sub(self.reserve / 2) >= bytes
    }
}

/// What the logs in a folder may still take without being made longer.
fn promised(home: &Path) -> std::io::Result<u64> {
    let mut promised = 0;
    for entry in std::fs::read_dir(home)? {
        let entry = entry?;
        if Path::new(&entry.file_name()).extension().is_some_and(|extension| extension == "jnl") {
            let found = entry.metadata()?;
            promised += found.len().saturating_sub(found.blocks() * 512);
        }
    }
    Ok(promised)
}

fn is_full(was: bool, free: u64, reserve: u64, live: u64) -> bool {
    let needed = reserve.saturating_add(live / 16);
    let margin = if was { reserve / 4 } else { 0 };
    reserve > 0 && free < needed.saturating_add(margin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_full_below_the_reserve_and_what_outcomes_take_until_there_is_clearly_more() {
        let table = [
            // was full, free, live, is full
            (false, 1000, 0, false),
            (false, 999, 0, true),
            (true, 1000, 0, true),
            (true, 1249, 0, true),
            (true, 1250, 0, false),
            (false, 1099, 1600, true),
            (false, 1100, 1600, false),
        ];
        for (was, free, live, expected) in table {
            assert_eq!(is_full(was, free, 1000, live), expected, "{was} {free} {live}");
        }
        assert!(!is_full(false, 0, 0, 1 << 40), "no reserve is asked for");
    }

    #[test]
    fn a_log_takes_the_room_that_it_was_promised() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = std::fs::File::create(folder.path().join("0.jnl")).expect("a log");
        log.set_len(1 << 20).expect("longer");
        std::fs::write(folder.path().join("other"), [0; 100]).expect("written");
        assert_eq!(promised(folder.path()).expect("readable"), 1 << 20);
    }
}
