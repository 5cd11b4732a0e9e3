//! The command line: one file a subcommand.

mod crds;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Webhooks for user events, as a Kubernetes resource.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
pub struct Herald {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Crds(crds::Crds),
}

impl Herald {
    /// Does what the arguments say.
    pub fn run(self) -> ExitCode {
        let outcome = match self.command {
            Command::Crds(command) => command.run(),
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // Where there is no standard error, nobody is there to be told.
                let _ = writeln!(io::stderr(), "herald: {error:#}");
                ExitCode::FAILURE
            }
        }
    }
}
