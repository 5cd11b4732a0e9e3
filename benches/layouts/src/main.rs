//! Ways to keep the queues of webhooks on NATS `JetStream`, side by side:
//! `cargo run --release -- [folder]`, with `nats-server` on the `PATH`.
//!
//! ```text
//! consumers    an event is a message; each webhook has a durable consumer, which acknowledges it
//! references   an event, and a reference to it for each webhook, in one atomic batch
//! packs        events in one message, their references by partition of the webhooks, in one atomic batch
//! index        events in one message, and whom they are for in its header: what Herald does
//! ```
//!
//! Three servers keep three copies of everything and sync every write. They
//! share the machine with this program, so what is held against each other is
//! the servers' processor time, and rates only as shares of what plain
//! publishes of the same bytes reached a moment before.

mod bench;
mod consumers;
mod layouts;
mod leases;
mod machine;
mod meter;
mod reading;
mod retries;
mod servers;
mod settling;
mod store;
mod table;
mod writes;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use self::bench::Bench;
use self::layouts::{Index, Packs, References};
use self::machine::Shares;
use self::table::Tables;

/// Bytes of an event.
const EVENT: usize = 1000;

/// Events that a write has, and writes that are on their way at one time.
const WRITES: [Write; 2] = [Write { events: 1, in_flight: 16 }, Write { events: 50, in_flight: 4 }];

/// Webhooks that each event is for.
const FAN_OUT: [usize; 3] = [1, 10, 900];

/// How long a row is measured.
const ROW: Duration = Duration::from_secs(3);

/// Numbers of consumers whose idle cost is measured; a stream allows 1,000 unless told otherwise.
const IDLE: [usize; 3] = [100, 500, 1000];

/// How long servers are watched that have little to do.
const WATCH: Duration = Duration::from_secs(10);

/// Deliveries that are acknowledged, by all consumers together.
const ACKS: usize = 20_000;

/// Writes in flight where something is settled, each of its own partition.
const SETTLING: usize = 16;

/// Outcomes in one message.
const OUTCOMES: usize = 100;

/// Messages that are stored to be read.
const STORED: usize = 20_000;

/// Retries that are due at one moment.
const RETRIES: usize = 10_000;

/// How long before that moment they begin to be written.
const RETRY_AFTER: Duration = Duration::from_secs(12);

/// Leases, if each webhook has one; and dispatchers, if each of them has one.
const LEASES: [usize; 2] = [1000, 10];

/// How often a lease is renewed.
const RENEW: Duration = Duration::from_secs(2);

/// Parts that the webhooks are divided into.
const PARTITIONS: usize = 32;

/// A size of writes.
#[derive(Clone, Copy)]
pub struct Write {
    events: usize,
    in_flight: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // However it ends, what it has started is ended by its owner's drop.
    tokio::select! {
        done = run(folder) => done,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
}

async fn run(folder: PathBuf) -> Result<()> {
    let begun = Instant::now();
    let bench = Bench::start(folder.join(format!("herald-layouts-{}", std::process::id()))).await?;
    println!("{}; {}", bench.version(), machine::fdatasync(bench.servers.folder())?);
    let (shares, mut tables) = (Shares::begin(&bench.servers)?, Tables::default());
    bench.warm_up().await?;
    leases::nothing(&bench, &mut tables).await?;
    writes::of(&bench, References, &mut tables).await?;
    writes::of(&bench, Packs, &mut tables).await?;
    writes::of(&bench, Index, &mut tables).await?;
    settling::all(&bench, &mut tables).await?;
    reading::all(&bench, &mut tables).await?;
    retries::all(&bench, &mut tables).await?;
    leases::all(&bench, &mut tables).await?;
    // Last, since a thousand consumers are not gone at once.
    consumers::all(&bench, &mut tables).await?;
    println!("{}; {}", machine::fdatasync(bench.servers.folder())?, shares.end(&bench.servers)?);
    println!("{:.0} s\n\n{tables}", begun.elapsed().as_secs_f64());
    Ok(())
}
