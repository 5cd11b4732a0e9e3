//! What the embedded journal does on this disk: `cargo bench --bench journal`.
//!
//! Every figure stands beside the rate at which the disk made small writes
//! durable just before, since appends wait for nothing else. `SECONDS=60` makes
//! each part run longer, `DELIVERIES=1000000` drains more.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, stops at what is wrong, and rounds"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use herald::journal::embedded::{Config, Embedded};
use herald::journal::{Append, Appended, Journal, Lane, Lease, Outcome, Settled};
use herald::model::{Clock, Event, EventType, Ordering, Timestamp, WebhookUid};

#[path = "support/mod.rs"]
mod support;

use support::machine::{Fdatasync, fdatasync, memory_mb, processor_time};

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder =
            tempfile::tempdir_in(std::env::var("BENCH_DIR").unwrap_or_else(|_| ".".to_owned())).unwrap();
        let length = Duration::from_secs(setting("SECONDS", 5));
        disk(folder.path());
        for (name, callers, batch) in [
            ("append, 1 caller, 1 event", 1, 1),
            ("append, 64 callers, 1 event", 64, 1),
            ("append, 64 callers, batches of 100", 64, 100),
            ("append, 1 caller, batches of 64", 1, 64),
            ("append, 1 caller, batches of 1000", 1, 1000),
        ] {
            append(folder.path(), name, callers, batch, length).await;
        }
        disk(folder.path());
        for ordering in [Ordering::None, Ordering::PerUser] {
            drain(folder.path(), setting("DELIVERIES", 300_000), ordering).await;
        }
        through(folder.path(), 64, 1, length).await;
        through(folder.path(), 64, 100, length).await;
        disk(folder.path());
    });
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn disk(folder: &Path) {
    let Fdatasync { rate, p50, p99 } = fdatasync(folder);
    println!("disk: {rate:.0} fdatasync/s of 8 KiB, p50 {p50:.2} ms, p99 {p99:.2} ms");
}

fn webhook() -> WebhookUid {
    WebhookUid::from_bytes([7; 16])
}

/// An event of about 800 bytes.
fn event(number: u64) -> Append {
    let data = format!("{{\"user\":{number},\"note\":\"{}\"}}", "lorem ipsum ".repeat(55));
    let event = Event {
        namespace: "identity".to_owned(),
        id: format!("{number:020}"),
        source: "/identity".to_owned(),
        event_type: EventType::UserUpdated,
        subject: format!("user-{}", number % 10_000),
        time: Timestamp::from_millis(number),
        data: Bytes::from(data),
    };
    Append { event: Arc::new(event), webhooks: vec![webhook()] }
}

fn open(path: &Path) -> Embedded {
    let mut config = Config::new(path);
    config.limits.backlog = u64::MAX;
    config.limits.max_bytes = u64::MAX;
    Embedded::open(config, Clock::default()).unwrap()
}

fn disk_bytes(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).unwrap().flatten();
    let size = |entry: std::fs::DirEntry| {
        let Ok(meta) = entry.metadata() else { return 0 };
        if meta.is_dir() {
            disk_bytes(&entry.path())
        } else {
            std::os::unix::fs::MetadataExt::blocks(&meta) * 512
        }
    };
    entries.map(size).sum()
}

struct Meter {
    start: Instant,
    cpu: Duration,
}

impl Meter {
    fn start() -> Self {
        Self { start: Instant::now(), cpu: processor_time(std::process::id()) }
    }

    fn print(&self, name: &str, count: u64, more: &str) {
        let rate = count as f64 / self.start.elapsed().as_secs_f64();
        let cpu = processor_time(std::process::id()).saturating_sub(self.cpu);
        let each = cpu.as_secs_f64() * 1e6 / count.max(1) as f64;
        println!(
            "{name}: {rate:.0}/s, {each:.1} us of CPU each, {:.0} MB resident{more}",
            memory_mb(std::process::id())
        );
    }
}

/// Appends until the time is over; the number of events.
async fn producers(journal: &Embedded, callers: usize, batch: usize, length: Duration) -> u64 {
    let number = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + length;
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (journal, number) = (journal.clone(), Arc::clone(&number));
            tokio::spawn(async move {
                while Instant::now() < end {
                    let first = number.fetch_add(batch as u64, Relaxed);
                    let answers = journal.append((first..first + batch as u64).map(event).collect()).await;
                    assert!(answers.iter().all(|answer| *answer == Appended::Stored));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    number.load(Relaxed)
}

async fn append(folder: &Path, name: &str, callers: usize, batch: usize, length: Duration) {
    let path = folder.join("append");
    let journal = open(&path);
    let meter = Meter::start();
    let count = producers(&journal, callers, batch, length).await;
    let more = format!(
        ", {:.1} a sync, {} MB on disk",
        count as f64 / journal.syncs() as f64,
        disk_bytes(&path) >> 20
    );
    meter.print(name, count, &more);
    journal.close().await.unwrap();
    drop(journal);
    std::fs::remove_dir_all(path).unwrap();
}

/// Leases and settles until `count` are done, or for ever.
async fn consume(journal: &Embedded, ordering: Ordering, count: u64, done: &AtomicU64) {
    let mut lane = journal.claim(webhook(), ordering).await.unwrap();
    while done.load(Relaxed) < count {
        for lease in lane.next(64).await.unwrap() {
            assert_eq!(lease.settle(Outcome::Done).await, Settled::Ok);
            done.fetch_add(1, Relaxed);
        }
    }
}

async fn drain(folder: &Path, count: u64, ordering: Ordering) {
    let path = folder.join("drain");
    {
        let journal = open(&path);
        for first in (0..count).step_by(1000) {
            journal.append((first..first + 1000).map(event).collect()).await;
        }
        journal.close().await.unwrap();
    }
    let start = Instant::now();
    let journal = open(&path);
    let opened = start.elapsed();
    let meter = Meter::start();
    consume(&journal, ordering, count, &AtomicU64::new(0)).await;
    let more = format!(", opened in {} ms", opened.as_millis());
    meter.print(&format!("drain {count}, {ordering:?}"), count, &more);
    journal.close().await.unwrap();
    drop(journal);
    println!("  {} MB on disk after it", disk_bytes(&path) >> 20);
    let start = Instant::now();
    let journal = open(&path);
    let opened = start.elapsed();
    journal.append(vec![event(count)]).await;
    let start = Instant::now();
    consume(&journal, ordering, 1, &AtomicU64::new(0)).await;
    let (opened, head) = (opened.as_millis(), start.elapsed().as_micros());
    println!("  opened again in {opened} ms, first read at the head {head} us");
    journal.close().await.unwrap();
    drop(journal);
    std::fs::remove_dir_all(path).unwrap();
}

async fn through(folder: &Path, callers: usize, batch: usize, length: Duration) {
    let path = folder.join("through");
    let journal = open(&path);
    let done = Arc::new(AtomicU64::new(0));
    let consumer = tokio::spawn({
        let (journal, done) = (journal.clone(), Arc::clone(&done));
        async move { consume(&journal, Ordering::None, u64::MAX, &done).await }
    });
    let meter = Meter::start();
    let count = producers(&journal, callers, batch, length).await;
    let behind = count - done.load(Relaxed);
    let more = format!(", {behind} behind at the end, {} MB on disk", disk_bytes(&path) >> 20);
    meter.print(&format!("append and deliver, {callers} callers, {batch} events"), count, &more);
    consumer.abort();
    let _ = consumer.await;
    journal.close().await.unwrap();
    drop(journal);
    std::fs::remove_dir_all(path).unwrap();
}
