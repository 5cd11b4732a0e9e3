//! What is said and kept of damage in a log.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::disk;
use crate::journal::metrics::Metrics;

/// Damaged logs that are kept for people to look at.
const KEPT: usize = 4;

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
