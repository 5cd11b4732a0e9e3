//! What only this engine promises: that it is durable, and what is on its disk.

mod contents;
mod crash;
mod damage;
#[path = "../../../tests/disk/mod.rs"]
pub mod disk;
mod durable;
mod kill;
mod limits;
mod listing;
mod logs;
mod panics;
mod quota;
pub mod recount;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Config, Embedded};
use crate::journal::{Append, Journal, Lane};
use crate::model::{Event, EventType, ManualClock, Ordering, Timestamp, WebhookUid};

/// Tells a child where to die, and at the how-manieth time.
pub const KILL_AT: &str = "HERALD_TEST_KILL_AT";

/// Tells a child that its store has small write buffers.
pub const SMALL_BUFFERS: &str = "HERALD_TEST_SMALL_BUFFERS";

/// A journal in a folder of its own, whose clock the test moves.
struct Bench {
    folder: tempfile::TempDir,
    hand: ManualClock,
}

impl Bench {
    fn new() -> Self {
        let hand = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
        Self { folder: tempfile::tempdir().expect("a folder"), hand }
    }

    fn config(&self) -> Config {
        Config::new(self.folder.path().join("journal"))
    }

    fn open(&self) -> Embedded {
        self.open_with(self.config())
    }

    fn open_with(&self, config: Config) -> Embedded {
        Embedded::open(config, self.hand.clock()).expect("the journal opens")
    }
}

fn webhook(number: u8) -> WebhookUid {
    WebhookUid::from_bytes([number; 16])
}

fn event(id: &str, subject: &str) -> Arc<Event> {
    Arc::new(Event {
        namespace: "identity".to_owned(),
        id: id.to_owned(),
        source: "/idp".to_owned(),
        event_type: EventType::UserCreated,
        subject: subject.to_owned(),
        time: Timestamp::from_millis(1),
        data: Bytes::from_static(b"{}"),
    })
}

fn append(id: &str, webhooks: &[u8]) -> Append {
    Append { event: event(id, "user"), webhooks: webhooks.iter().copied().map(webhook).collect() }
}

/// The library's logs.
fn logs(journal: &Path) -> Vec<PathBuf> {
    let store = std::fs::read_dir(journal.join("store")).expect("a store");
    let paths = store.map(|entry| entry.expect("readable").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "jnl")).collect()
}

/// Writes what is in memory to tables, of the keyspaces that are chosen by name.
fn flush(journal: &Embedded, choose: fn(&str) -> bool) {
    let store = journal.0.core.store().expect("open");
    for keyspace in store.keyspaces().into_iter().filter(|keyspace| choose(keyspace.name())) {
        keyspace.rotate_memtable_and_wait().expect("flushed");
    }
}

/// A number that may be set for a longer run, or to play one again.
fn number<T: FromStr>(name: &str, otherwise: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A child ends with the first of its threads that panics, and not by a signal: one that lives
/// on without its writer would be waited for, and one that aborts would pass for killed.
#[expect(clippy::exit, reason = "whoever panicked is not the thread whose end ends the process")]
fn die_of_any_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        std::process::exit(101);
    }));
}

/// Everything within a deadline that fails loudly.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it happens within 30 s")
}

async fn claim(journal: &Embedded, number: u8) -> super::EmbeddedLane {
    soon(journal.claim(webhook(number), Ordering::None)).await.expect("the lane is free")
}

/// The ids of what is leased next, `n` of them; the leases are dropped with the lane.
async fn ids(lane: &mut super::EmbeddedLane, n: usize) -> Vec<String> {
    use crate::journal::Lease;
    let mut leases = Vec::new();
    while leases.len() < n {
        leases.extend(soon(lane.next(n - leases.len())).await.expect("the lane is ours"));
    }
    leases.iter().map(|lease| lease.delivery().event.id.clone()).collect()
}
