//! Making durable what will be read, whatever the kernel believes of it.
//!
//! After an fsync that failed the kernel takes the pages for clean: what is
//! read back may be in memory only, and no later fsync writes it. A store that
//! is opened like that would answer a repeat of an event as a duplicate, which
//! says that it is durable. So what the library reads when it opens is copied to
//! new files first, which are fsynced and renamed: its version files and the
//! names of the current ones here, its logs by [`super::logs`]. Tables need not
//! be: one is named in a version file only after its own fsync went well, and one
//! that is not named is removed by opening.
//!
//! It is done whenever the last process did not close the journal in order:
//! that one may have ended because of such an fsync.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::disk;
use super::store::{CURRENT_VERSION, KEYSPACES};

/// The file that says that the journal was closed in order.
const CLEAN: &str = "CLEAN";

/// Copies the library's version files; their names are durable when the folders were synced.
pub fn versions(home: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(home.join(KEYSPACES))? {
        for entry in std::fs::read_dir(entry?.path())? {
            let entry = entry?;
            if entry.file_type()?.is_file() && is_version(&entry.file_name().to_string_lossy()) {
                disk::rewrite(&entry.path())?;
            }
        }
    }
    Ok(())
}

/// The library's `v1`, `v2` … and `current`.
fn is_version(name: &str) -> bool {
    name == CURRENT_VERSION || name.strip_prefix('v').is_some_and(|number| number.parse::<u64>().is_ok())
}

/// Whether the journal was closed in order; from now on, it is not.
///
/// That the file is gone need not be durable: what a power cut brings back it
/// brings back without what was in memory alone.
pub fn take_clean(journal: &Path) -> io::Result<bool> {
    match std::fs::remove_file(journal.join(CLEAN)) {
        Ok(()) => Ok(true),
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(cause),
    }
}

/// Says that the journal is closed in order. If that fails, the next opening takes a little longer.
pub fn mark_clean(journal: &Path) {
    if let Err(error) = File::create(journal.join(CLEAN)) {
        tracing::debug!(%error, "cannot say that the journal is closed");
    }
}
