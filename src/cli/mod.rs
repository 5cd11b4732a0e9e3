//! The command line: one file a subcommand.

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
enum Command {}

impl Herald {
    /// Does what the arguments say.
    pub fn run(self) -> ExitCode {
        match self.command {}
    }
}
