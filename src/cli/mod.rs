//! The command line: one file a subcommand.

mod assembly;
mod connection;
mod controller;
mod crds;
mod deadletters;
mod dispatcher;
mod events;
mod flags;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod journal;
mod memory;
mod run;
mod send;
mod serving_certificate;
mod table;
mod test;
mod validate;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::model::line::one_line;

/// Webhooks for user events, as a Kubernetes resource.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
pub struct Herald {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Run>),
    Controller(Box<controller::Controller>),
    Dispatcher(Box<dispatcher::Dispatcher>),
    Crds(crds::Crds),
    Send(Box<send::Send>),
    Events(events::Events),
    #[command(name = "deadletters")]
    DeadLetters(deadletters::DeadLetters),
    Test(Box<test::Test>),
    Journal(journal::Journal),
    Validate(validate::Validate),
}

impl Herald {
    /// Does what the arguments say.
    pub fn run(self) -> ExitCode {
        // Wrong arguments end with 2 as well, by clap.
        let (outcome, status_of_failure) = match self.command {
            Command::Run(command) => (block_on(command.run()), 1),
            Command::Controller(command) => (block_on(command.run()), 1),
            Command::Dispatcher(command) => (block_on(command.run()), 1),
            Command::Crds(command) => (command.run().map(|()| ExitCode::SUCCESS), 1),
            Command::Send(command) => (block_on(command.run()), 2),
            Command::Events(command) => (block_on(command.run()), 2),
            Command::DeadLetters(command) => (block_on(command.run()), 2),
            Command::Test(command) => (block_on(command.run()), 2),
            Command::Journal(command) => (block_on(command.run()), 1),
            Command::Validate(command) => (command.run(), 2),
        };
        outcome.unwrap_or_else(|error| {
            // Where there is no standard error, nobody is there to be told.
            let _ = writeln!(io::stderr(), "herald: {}", one_line(&format!("{error:#}")));
            ExitCode::from(status_of_failure)
        })
    }
}

/// Runs what waits for others.
fn block_on(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}
