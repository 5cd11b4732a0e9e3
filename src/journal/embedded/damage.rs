//! What is said and kept of damage in a log.
//!
//! What was lost is counted when the store is open ([`super::repair`]), and until
//! then a mark on the disk says that it has to be: the damage itself is in the
//! log no more.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::disk;
use crate::journal::metrics::Metrics;

/// Damaged logs that are kept for people to look at.
const KEPT: usize = 4;

/// Beside the store, while its records have to be counted.
const MARK: &str = "REPAIR";

/// Says, durably, that the records of a store have to be counted.
pub fn mark(home: &Path) -> io::Result<()> {
    File::create(home.with_file_name(MARK))?;
    disk::sync_folder(home.parent().unwrap_or(home))
}

/// Whether the records of a store have to be counted.
pub fn is_marked(home: &Path) -> bool {
    home.with_file_name(MARK).exists()
}

/// They are. If that is forgotten, they are counted once more.
pub fn unmark(home: &Path) -> io::Result<()> {
    std::fs::remove_file(home.with_file_name(MARK))
}

/// Says what of a log cannot be read, counts it and keeps a copy.
pub fn report(path: &Path, damaged: &[Range<usize>], home: &Path, metrics: &Metrics) {
    for range in damaged {
        tracing::error!(
            file = %path.display(),
            offset = range.start,
            bytes = range.len(),
            "the log is damaged; what stands there is lost, the rest is recovered"
        );
        metrics.damaged.inc();
    }
    if let Err(cause) = set_aside(path, home) {
        tracing::error!(error = %cause, "the damaged log could not be copied");
    }
}

/// Keeps a copy in `damaged/`, and there the newest ones only.
fn set_aside(path: &Path, home: &Path) -> io::Result<()> {
    let folder = home.with_file_name("damaged");
    std::fs::create_dir_all(&folder)?;
    let mut kept: Vec<(u64, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.split('-').next().and_then(|number| number.parse().ok());
        kept.push((number.unwrap_or(0), path));
    }
    kept.sort_unstable();
    let next = kept.last().map_or(0, |(number, _)| *number) + 1;
    let most = (kept.len() + 1).saturating_sub(KEPT);
    for (_, old) in kept.iter().take(most) {
        std::fs::remove_file(old)?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    disk::copy(path, &folder.join(format!("{next}-{name}")))?;
    disk::sync_folder(&folder)
}
