//! What the disk gives: the rate of fdatasync after an append of 8 KiB.

use std::path::Path;

use super::figures::Table;
use super::support::machine::{Fdatasync, fdatasync};

/// Adds the row.
pub fn measure(directory: &Path, table: &mut Table) {
    let Fdatasync { rate, p50, p99 } = fdatasync(directory);
    let figure = format!("{rate:.0}/s, p50 {p50:.2} ms, p99 {p99:.2} ms");
    let target = "1,500/s or the rest does not count";
    table.row("the disk: append 8 KiB and fdatasync", figure, String::new(), target);
}
