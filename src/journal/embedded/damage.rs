//! What to do about logs that are damaged, before the library reads them.
//!
//! ```text
//! store/*.jnl ─ scan ─> whole: nothing to do
//!                  └──> damaged: reported, copied to damaged/, written again without the damage
//! ```
//!
//! Then the counts are wrong, and what belongs together may not be whole any
//! more: [`super::repair`] sees to that.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::disk;
use super::scan::scan;
use crate::journal::metrics::Metrics;

/// Damaged logs that are kept for people to look at.
const KEPT: usize = 4;

/// Leaves out of the store's logs what cannot be read. Whether there was anything.
pub fn leave_out(home: &Path, metrics: &Metrics) -> io::Result<bool> {
    let mut logs: Vec<(u64, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(home)? {
        let path = entry?.path();
        let number =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".jnl"));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            logs.push((number, path));
        }
    }
    logs.sort_unstable();
    let mut damaged = false;
    let last = logs.last().map(|(number, _)| *number);
    for (number, path) in &logs {
        damaged |= leave_out_of(path, Some(*number) != last, home, metrics)?;
    }
    Ok(damaged)
}

fn leave_out_of(path: &Path, sealed: bool, home: &Path, metrics: &Metrics) -> io::Result<bool> {
    let log = std::fs::read(path)?;
    let found = scan(&log, sealed);
    if found.torn > 0 {
        tracing::warn!(
            file = %path.display(),
            bytes = found.torn,
            "the log ends with an unfinished write, which was never acknowledged and is left out"
        );
    }
    if found.damaged.is_empty() {
        return Ok(false);
    }
    for range in &found.damaged {
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
    let new = path.with_extension("new");
    let mut out = File::create(&new)?;
    for range in found.good {
        out.write_all(log.get(range).unwrap_or_default())?;
    }
    out.sync_all()?;
    std::fs::rename(&new, path)?;
    disk::sync_folder(home)?;
    Ok(true)
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
