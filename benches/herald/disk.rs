//! What the disk gives: the rate of fdatasync after an append of 8 KiB.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::figures::{Table, quantile};

/// Appends and syncs for two seconds.
pub fn measure(directory: &Path, table: &mut Table) {
    let path = directory.join("fdatasync");
    let mut file = File::create(&path).unwrap();
    let block = vec![b'x'; 8192];
    let begun = Instant::now();
    let mut millis = Vec::new();
    while begun.elapsed() < Duration::from_secs(2) {
        let before = Instant::now();
        file.write_all(&block).unwrap();
        file.sync_data().unwrap();
        millis.push(before.elapsed().as_secs_f64() * 1000.0);
    }
    std::fs::remove_file(path).unwrap();
    let figure = format!(
        "{:.0}/s, p50 {:.2} ms, p99 {:.2} ms",
        millis.len() as f64 / begun.elapsed().as_secs_f64(),
        quantile(&millis, 0.5),
        quantile(&millis, 0.99)
    );
    table.row(
        "the disk: append 8 KiB and fdatasync",
        figure,
        String::new(),
        "1,500/s or the rest does not count",
    );
}
