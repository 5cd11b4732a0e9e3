//! What this machine and a process on it have done.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// The disk, under small writes that are made durable one by one.
#[derive(Clone, Copy, Debug)]
pub struct Fdatasync {
    /// A second.
    pub rate: f64,
    /// Of one, in milliseconds.
    pub p50: f64,
    /// Of one, in milliseconds.
    pub p99: f64,
}

/// Appends 8 KiB and calls fdatasync, again and again for two seconds.
pub fn fdatasync(folder: &Path) -> Fdatasync {
    let path = folder.join("fdatasync");
    let mut file = File::create(&path).unwrap();
    let begun = Instant::now();
    let mut millis = Vec::new();
    while begun.elapsed() < Duration::from_secs(2) {
        file.write_all(&[b'x'; 8192]).unwrap();
        let before = Instant::now();
        file.sync_data().unwrap();
        millis.push(before.elapsed().as_secs_f64() * 1000.0);
    }
    let rate = millis.len() as f64 / begun.elapsed().as_secs_f64();
    std::fs::remove_file(path).unwrap();
    Fdatasync { rate, p50: quantile(&millis, 0.5), p99: quantile(&millis, 0.99) }
}

/// The value below which a share of the values lies.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index into the values")]
    let at = ((values.len() as f64 - 1.0) * share).round() as usize;
    values[at]
}

/// Processor time of a process so far, to a hundredth of a second.
pub fn processor_time(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name may hold spaces; it ends with the last bracket.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// Resident memory of a process, in megabytes.
pub fn memory_mb(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// Bytes that a process has caused to be written to disks.
pub fn written(process: u32) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{process}/io")).unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
    line.trim().parse().unwrap()
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Resident, in megabytes.
    pub memory_mb: f64,
    /// Open files and connections.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
}

impl Held {
    /// Of a process that runs.
    pub fn of(process: u32) -> Self {
        let count = |what| std::fs::read_dir(format!("/proc/{process}/{what}")).unwrap().count();
        Self { memory_mb: memory_mb(process), descriptors: count("fd"), threads: count("task") }
    }
}

/// Bytes that the files of a folder take up on the disk.
pub fn disk_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    // A file may be removed meanwhile.
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_gone) => 0,
        })
        .sum()
}
