//! Storage libraries on the journal's access pattern, side by side:
//! `cargo run --release -- [folder] [events]`.
//!
//! ```text
//! append   groups of 1, 64 and 1000: an event of 800 bytes, a ticket, and an entry under a random
//!          key that is looked up first, one sync a group
//! settle   every delivery: event and ticket removed, in commits of 64, a sync every 100 ms
//! head     the first ticket of the queue, after all of that
//! open     the time to open with that many pending, and to count them
//! ```
//!
//! One thread writes, as in the journal. Each library has the settings that it
//! recommends for durable commits of this size.

mod fjall_store;
mod heed_store;
mod redb_store;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a library is asked to do.
pub trait Store: Sized {
    /// For the table.
    const NAME: &str;
    /// Opens or creates.
    fn open(path: &Path) -> Self;
    /// One durable commit of events and tickets.
    fn append(&mut self, first: u64, count: u64, event: &[u8]);
    /// One commit that removes events and tickets, durable or not.
    fn settle(&mut self, first: u64, count: u64, sync: bool);
    /// Tickets at or after a number: how many there are, `most` at most, with their events read.
    fn read(&self, from: u64, most: usize) -> usize;
    /// All tickets, counted.
    fn count(&self) -> usize;
}

/// A ticket's key: 16 bytes of a webhook, and the number.
pub fn ticket(seq: u64) -> [u8; 24] {
    let mut key = [7; 24];
    key[16..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// The key of an event among the known ones: as good as random.
pub fn known(seq: u64) -> [u8; 16] {
    let mut key = [0; 16];
    for (half, salt) in key.chunks_mut(8).zip([0x9e37_79b9_7f4a_7c15_u64, 0xc2b2_ae3d_27d4_eb4f]) {
        let mut mixed = (seq + 1).wrapping_mul(salt);
        mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        half.copy_from_slice(&(mixed ^ (mixed >> 32)).to_be_bytes());
    }
    key
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| ".".to_owned())).join("storage-bench");
    let events: u64 =
        arguments.next().map_or(1_000_000, |number| number.parse().expect("a number of events"));
    run::<fjall_store::Fjall>(&folder, events);
    run::<redb_store::Redb>(&folder, events);
    run::<heed_store::Heed>(&folder, events);
}

fn run<S: Store>(folder: &Path, events: u64) {
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).expect("a folder");
    println!("{}: disk {}", S::NAME, disk(folder));
    // Half of it is like every other event, half is its own, as JSON is.
    let mut event: Vec<u8> =
        b"{\"user\":\"identity\",\"note\":\"".iter().copied().cycle().take(800).collect();
    let mut random = 88_172_645_463_325_252_u64;
    for byte in event.iter_mut().step_by(2) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        *byte = b'a' + (random % 26) as u8;
    }
    let mut next = 0;
    let mut store = S::open(&folder.join("db"));
    for (group, limit) in [(1, Duration::from_secs(4)), (64, Duration::from_secs(8)), (1000, Duration::MAX)] {
        let meter = Meter::start();
        let first = next;
        while next < events && meter.start.elapsed() < limit {
            let count = group.min(events - next);
            store.append(next, count, &event);
            next += count;
        }
        meter.print(S::NAME, &format!("append by {group}"), next - first);
    }
    println!("{}: {} MB on disk with {next} pending", S::NAME, bytes(folder) >> 20);
    drop(store);
    let start = Instant::now();
    let mut store = S::open(&folder.join("db"));
    let opened = start.elapsed();
    assert_eq!(store.count() as u64, next);
    println!("{}: opened in {opened:.0?}, counted after {:.0?}", S::NAME, start.elapsed());
    let meter = Meter::start();
    let mut synced = Instant::now();
    for first in (0..next).step_by(64) {
        assert!(store.read(first, 64) > 0);
        let sync = synced.elapsed() >= Duration::from_millis(100);
        store.settle(first, 64.min(next - first), sync);
        if sync {
            synced = Instant::now();
        }
    }
    meter.print(S::NAME, "read and settle by 64", next);
    store.settle(next, 0, true);
    store.append(next, 1, &event);
    let start = Instant::now();
    assert_eq!(store.read(0, 1), 1);
    println!("{}: head read from the very start after {next} settled: {:.0?}", S::NAME, start.elapsed());
    let start = Instant::now();
    assert_eq!(store.read(next, 1), 1);
    println!("{}: head read from a low-water mark: {:.0?}", S::NAME, start.elapsed());
    // Steady work on a queue that is nearly empty.
    let meter = Meter::start();
    let (first, mut done) = (next + 1, next + 1);
    while meter.start.elapsed() < Duration::from_secs(10) {
        store.append(done, 64, &event);
        store.settle(done, 64, false);
        done += 64;
    }
    meter.print(S::NAME, "append, then settle, by 64", done - first);
    println!("{}: {} MB on disk with nothing pending", S::NAME, bytes(folder) >> 20);
    drop(store);
    let start = Instant::now();
    drop(S::open(&folder.join("db")));
    println!("{}: opened empty in {:.0?}\n", S::NAME, start.elapsed());
    let _ = std::fs::remove_dir_all(folder);
}

struct Meter {
    start: Instant,
    cpu: Duration,
}

impl Meter {
    fn start() -> Self {
        Self { start: Instant::now(), cpu: cpu() }
    }

    fn print(&self, name: &str, what: &str, count: u64) {
        let rate = count as f64 / self.start.elapsed().as_secs_f64();
        let each = (cpu() - self.cpu).as_secs_f64() * 1e6 / count.max(1) as f64;
        println!("{name}: {what}: {rate:.0}/s, {each:.1} us of CPU each");
    }
}

/// CPU time of this process, from Linux's clock ticks of 10 ms.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<_> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    let ticks = |field: usize| fields[field].parse::<u64>().expect("a number");
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

fn disk(folder: &Path) -> String {
    let mut file = File::create(folder.join("disk")).expect("a file");
    let (start, mut syncs) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(1) {
        file.write_all(&[7; 8192]).expect("written");
        file.sync_data().expect("synced");
        syncs += 1;
    }
    format!("{syncs} fdatasync/s")
}

fn bytes(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).expect("a folder").flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => bytes(&entry.path()),
        Ok(meta) => std::os::unix::fs::MetadataExt::blocks(&meta) * 512,
        Err(_) => 0,
    };
    entries.map(size).sum()
}
