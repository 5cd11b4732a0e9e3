//! A power cut at any moment loses nothing that was acknowledged.
//!
//! ```text
//! child: journal under load, on a recorded disk; it writes to LEDGER, on the same disk,
//!        what it is about to append and to settle, and what was acknowledged
//! test:  for many moments of the log, and for several ways to lose what was not fsynced:
//!        open the journal on what is left, and compare with LEDGER as it was at that moment
//! ```

#![expect(clippy::print_stdout, reason = "figures that the documentation gives")]

mod fsync;
mod full_disk;
mod ledger;
mod load;
mod opening;
mod power_cut;
mod survivors;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use self::ledger::Ledger;
use super::disk::{self, Disk};
use super::{SMALL_BUFFERS, die_of_any_panic};
use crate::journal::embedded::Config;

/// Tells the child where to work; nobody else sets it.
const FOLDER: &str = "HERALD_TEST_CRASH_FOLDER";

/// The seed; to look again.
const SEED: &str = "HERALD_TEST_CRASH_SEED";

/// States to look at; to look longer.
const STATES: &str = "HERALD_TEST_CRASH_STATES";

/// What a child works with.
struct Child {
    folder: PathBuf,
    ledger: Ledger,
    /// Where the faults of its disk stand.
    faults: PathBuf,
}

impl Child {
    /// `None` where this is no child: then there is nothing to do.
    fn new() -> Option<Self> {
        let folder = PathBuf::from(std::env::var_os(FOLDER)?);
        die_of_any_panic();
        let faults = PathBuf::from(std::env::var_os(disk::FAULTS).expect("a disk that can fail"));
        Some(Self { ledger: Ledger::new(&folder), folder, faults })
    }

    fn config(&self) -> Config {
        Config::new(self.folder.join("journal"))
    }
}

/// Runs a child of this test binary on the disk.
fn run(disk: &Disk, test: &str, environment: &[(&str, &str)]) {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(FOLDER, disk.root());
    command.env(SMALL_BUFFERS, "1").envs(environment.iter().copied()).stdout(Stdio::null());
    disk.watch(&mut command);
    assert!(command.status().expect("it starts").success(), "{test} failed");
}
