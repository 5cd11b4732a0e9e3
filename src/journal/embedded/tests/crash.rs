//! A power cut at any moment loses nothing that was acknowledged.
//!
//! ```text
//! child: journal under load, on a recorded disk; it writes to LEDGER, on the same disk,
//!        what was acknowledged and what it is about to settle
//! test:  for many moments of the log, and for several ways to lose what was not fsynced:
//!        open the journal on what is left, and compare with LEDGER as it was at that moment
//! ```

#![expect(clippy::print_stdout, reason = "figures that the documentation gives")]

mod full_disk;
mod ledger;
mod load;
mod power_cut;
mod survivors;

use std::process::{Command, Stdio};

use super::SMALL_BUFFERS;
use super::disk::Disk;

/// Tells the child where to work; nobody else sets it.
const FOLDER: &str = "HERALD_TEST_CRASH_FOLDER";

/// The seed; to look again.
const SEED: &str = "HERALD_TEST_CRASH_SEED";

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Runs a child of this test binary on the disk.
fn run(disk: &Disk, test: &str, environment: &[(&str, &str)]) {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(FOLDER, disk.root());
    command.env(SMALL_BUFFERS, "1").envs(environment.iter().copied()).stdout(Stdio::null());
    disk.watch(&mut command);
    assert!(command.status().expect("it starts").success(), "{test} failed");
}
