//! Arguments in, exit status out.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    herald::cli::Herald::parse().run()
}
