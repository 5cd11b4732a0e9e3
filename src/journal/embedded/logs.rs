//! The library's logs, made ready before it reads them.
//!
//! ```text
//! store/*.jnl ─ scan ─> damage:               reported, copied to damaged/, left out
//!                  ├──> what tables have:     left out
//!                  ├──> an unfinished write:  left out
//!                  └──> the rest:             kept
//! ```
//!
//! What tables have the library would skip, but only after it has looked up the
//! keyspace of each item: seconds for a full log, of which a webhook's small
//! keyspaces keep almost nothing. Leaving it out assumes that the version
//! files, which say what tables there are, are durable.
//!
//! After damage the counts are wrong, and what belongs together may not be whole
//! any more: [`super::repair`] sees to that.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::damage;
use super::disk;
use super::log;
use super::scan::scan;
use crate::journal::metrics::Metrics;

/// The number of the last batch whose items tables have, by keyspace.
pub type Flushed = HashMap<u64, u64>;

/// Makes the logs ready, `anew` also those that have only what is to be kept.
pub fn prepare(home: &Path, flushed: &Flushed, anew: bool, metrics: &Metrics) -> io::Result<()> {
    let logs = list(home)?;
    let last = logs.last().map(|(number, _)| *number);
    for (number, path) in &logs {
        let log = std::fs::read(path)?;
        let found = scan(&log, Some(*number) != last);
        if found.torn > 0 {
            tracing::warn!(
                file = %path.display(),
                bytes = found.torn,
                "the log ends with an unfinished write, which was never acknowledged and is left out"
            );
        }
        if !found.damaged.is_empty() {
            damage::report(path, &found.damaged, home, metrics);
            damage::mark(home)?;
        }
        let (kept, less) = keep(&log, &found.good, flushed);
        if anew || less || !found.damaged.is_empty() {
            disk::replace(path, |new| {
                let mut out = BufWriter::new(File::create(new)?);
                kept.iter().try_for_each(|bytes| out.write_all(bytes))?;
                out.into_inner()?.sync_all()
            })?;
        }
    }
    disk::sync_folder(home)
}

/// The logs of a store by their numbers, the one that is written to last.
pub fn list(home: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(home)? {
        let path = entry?.path();
        let number =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".jnl"));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            logs.push((number, path));
        }
    }
    logs.sort_unstable();
    Ok(logs)
}

/// What tables do not have. Whether that is less than there is.
fn keep<'a>(log: &'a [u8], batches: &[Range<usize>], flushed: &Flushed) -> (Vec<Cow<'a, [u8]>>, bool) {
    let mut kept = Vec::new();
    let mut less = false;
    for bytes in batches.iter().filter_map(|range| log.get(range.clone())) {
        let Some(mut batch) = log::read(bytes) else { continue };
        let all = batch.items.len();
        batch.items.retain(|item| flushed.get(&item.keyspace).is_none_or(|last| batch.number > *last));
        if batch.items.len() == all {
            kept.push(Cow::Borrowed(bytes));
            continue;
        }
        less = true;
        if !batch.items.is_empty() {
            kept.push(Cow::Owned(log::write(batch.number, &batch.items)));
        }
    }
    (kept, less)
}
