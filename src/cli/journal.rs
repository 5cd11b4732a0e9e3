//! `herald journal`: what can be done with a journal that no dispatcher has open.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::flags::{NatsFlags, duration};
use super::memory;
use super::table::Table;
use crate::journal::embedded;
use crate::journal::embedded::export::Export;
use crate::journal::import::{self, Count, Ledger};
use crate::journal::jetstream::import::Import as Target;
use crate::journal::limits::{Limits, Window};
use crate::model::Clock;
use crate::telemetry::{LogFormat, init_logs};

/// How often it is said how far it is.
const SAY: Duration = Duration::from_secs(2);

/// Move a journal
#[derive(Debug, Args)]
pub(super) struct Journal {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Import(Box<Import>),
}

/// Take what a stopped dispatcher left in its directory to the journal on NATS
///
/// Events that wait, with how often they failed and when they are due, dead letters, and the ids by which repeats are told. It may be
/// broken off and run again: what is there already is left as it is. The exit status is 0 only when all of it is durable on NATS.
#[derive(Debug, Args)]
struct Import {
    /// The directory of the journal; no dispatcher may have it open
    #[arg(long = "journal-dir", value_name = "DIR")]
    directory: PathBuf,
    /// A namespace whose ids are to go over although nothing else of it is left (repeat for more)
    #[arg(long = "namespace", value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    /// How long a repeat of an event is told from a new one, as for the dispatchers
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
    dedupe_window: Duration,
    /// How many of a namespace's newest events repeats are told by, as for the dispatchers
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000)]
    dedupe_ids: u64,
    #[command(flatten)]
    nats: NatsFlags,
}

impl Journal {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Import(import) => import.run().await,
        }
    }
}

impl Import {
    async fn run(self) -> anyhow::Result<ExitCode> {
        init_logs("warn", LogFormat::default())?;
        memory::seal().context("cannot keep this process's memory to itself")?;
        let window = Window { age: self.dedupe_window, ids: self.dedupe_ids };
        let limits = Limits { window, ..Limits::default() };
        let nats = self.nats.config("import").context("name the servers of NATS by --journal-nats")?;
        let directory = embedded::Config { limits, ..embedded::Config::new(self.directory) };
        // Before anything is asked of NATS: another process may have it.
        let export =
            tokio::task::spawn_blocking(move || Export::open(&directory, Clock::default())).await??;
        let config = crate::journal::jetstream::Config { limits, ..nats };
        let target = Box::pin(Target::open(config, Clock::default())).await?;
        let mut said = Instant::now();
        let progress = |ledger: &Ledger| {
            if said.elapsed() >= SAY {
                said = Instant::now();
                say(ledger);
            }
        };
        let ledger = Box::pin(import::run(export, &target, &self.namespaces, progress)).await?;
        io::stdout().write_all(describe(&ledger).as_bytes()).context("cannot print the ledger")?;
        if ledger.is_complete() {
            return Ok(ExitCode::SUCCESS);
        }
        if ledger.unnamed > 0 {
            anyhow::bail!(
                "{} ids are of namespaces whose names nothing in the journal says: name these by --namespace, and run \
                 it again",
                ledger.unnamed
            );
        }
        anyhow::bail!(
            "{} deliveries and dead letters cannot be read and were left out; everything else is on NATS",
            ledger.unreadable
        );
    }
}

/// Says how far it is, where nobody may listen.
fn say(ledger: &Ledger) {
    let Count { read, written, there } = ledger.events;
    let ids = ledger.ids;
    let _ = writeln!(
        io::stderr(),
        "events: {read} read, {written} written, {there} there already; ids: {} written, {} there already",
        ids.written,
        ids.there
    );
}

fn describe(ledger: &Ledger) -> String {
    let mut table = Table::new(["", "READ", "WRITTEN", "ALREADY THERE"]);
    for (name, count) in [
        ("events", ledger.events),
        ("deliveries", ledger.deliveries),
        ("dead letters", ledger.letters),
        ("ids of events that ended", ledger.ids),
    ] {
        let numbers = [count.read, count.written, count.there].map(|number| number.to_string());
        let [read, written, there] = numbers;
        table.row([name.to_owned(), read, written, there]);
    }
    table.print()
}
