//! Arguments in, exit status out.

use std::process::ExitCode;

use clap::Parser as _;

/// Many threads allocate what others free, and glibc's allocator keeps much of
/// that for itself: docs/journal.md has figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    herald::cli::Herald::parse().run()
}
