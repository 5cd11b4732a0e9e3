//! A time of day for each dispatcher: the library of `clock.c` under its process.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles the library; where it is.
pub fn library(folder: &Path) -> PathBuf {
    let library = folder.join("clock.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/herald/faults/clock.c");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .status()
        .expect("a C compiler");
    assert!(built.success(), "clock.c does not compile");
    library
}

/// The time of day of one process.
pub struct HandsOf(PathBuf);

impl HandsOf {
    /// As it is.
    pub fn new(file: PathBuf) -> Self {
        std::fs::write(&file, 0_i64.to_ne_bytes()).unwrap();
        Self(file)
    }

    /// For a process that is about to be started.
    pub fn show(&self, library: &Path, command: &mut Command) {
        command.env("LD_PRELOAD", library).env("HERALD_CLOCK_OFFSET", &self.0);
    }

    /// So many seconds beside what it is.
    pub fn set(&self, seconds: i64) {
        let file = std::fs::File::options().write(true).open(&self.0).unwrap();
        file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }
}
