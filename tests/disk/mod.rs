//! A disk for tests that can lose, fail and record: the library of `disk.c`
//! under a child process, and what can be made of its log.
//!
//! ```text
//! child under Disk::watch ──> operation log ──> log::read ──> World, operation by operation
//!                                                               │
//!                         a folder as a crash may leave it  <── World::write(Crash)
//! ```
//!
//! A C compiler is needed, as for linking. Everything is below a folder in
//! memory where there is one, since here an fsync needs to be asked for, not done.

pub mod log;
pub mod world;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Names the file of the faults, to the child as well.
pub const FAULTS: &str = "HERALD_DISK_FAULTS";

/// A folder whose changes are recorded.
pub struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// An empty one.
    pub fn new() -> Self {
        let disk = Self { folder: folder() };
        std::fs::create_dir(disk.root()).expect("made");
        disk
    }

    /// The folder that is watched.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// The operation log.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Loads the library into a process that is about to be started.
    pub fn watch(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", library())
            .env("HERALD_DISK_ROOT", self.root())
            .env("HERALD_DISK_LOG", self.log())
            .env(FAULTS, self.faults());
    }

    /// Where the faults stand.
    pub fn faults(&self) -> PathBuf {
        self.folder.path().join("faults")
    }
}

/// Changes what fails from now on: see `disk.c`.
pub fn fail(faults: &Path, what: &str) {
    let new = faults.with_extension("new");
    std::fs::write(&new, what).expect("written");
    std::fs::rename(&new, faults).expect("renamed");
}

/// A folder in memory, if there is a place for it.
pub fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.or_else(|_| tempfile::tempdir()).expect("a folder")
}

/// The compiled library, next to this test binary.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = std::env::current_exe().expect("this binary").parent().expect("a folder").to_owned();
        let new = folder.join(format!("disk-{}.so", std::process::id()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/disk/disk.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
            .args([&new, &source])
            .args(["-ldl", "-lpthread"])
            .status()
            .expect("a C compiler");
        assert!(built.success(), "disk.c does not compile");
        let library = folder.join("disk.so");
        std::fs::rename(&new, &library).expect("renamed");
        library
    })
}

/// Random numbers of a seed that can be printed (`SplitMix64`).
pub struct Dice(pub u64);

impl Dice {
    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `bound`, or 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % bound.max(1) as u64).unwrap_or(0)
    }
}
