//! Arguments in, exit status out.

use std::process::ExitCode;

use clap::Parser as _;

/// Many threads allocate what others free, and most allocators keep much of
/// that for themselves: docs/journal.md has figures, .cargo/config.toml the settings.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    herald::cli::Herald::parse().run()
}
