//! Waiting until the disk has the library's log, by a descriptor of our own.
//!
//! ```text
//! writer ── commit ──> log <── fsync ── library, by its descriptor, before it flushes a table
//!    └───── fsync ──────^
//! ```
//!
//! After an fsync that failed the kernel takes the pages for clean, and tells
//! each open description of the file of it once. Were there one for both, whoever
//! asks second would hear that all is well: the library would go on and make a
//! table of what the log has lost, so that a power cut leaves parts of commits,
//! and the writer would acknowledge what the library could not make durable.
//!
//! **Guarantees.** What a table has, the log had on the disk before. What
//! [`Fsync::all`] has said to be on the disk, no fsync of the library failed to
//! write.
//!
//! **Assumes** a kernel that does so, which Linux is since 4.13, and that the
//! library flushes on one thread, which ends with the first fsync that fails: so
//! nothing is added to what it flushes after it has made the log durable.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::logs;

/// See the module.
pub struct Fsync {
    home: PathBuf,
    last: Mutex<Option<Log>>,
}

struct Log {
    number: u64,
    file: File,
}

impl Fsync {
    /// Of a store that was just opened, before anything is written to it.
    pub fn new(home: &Path) -> io::Result<Self> {
        let last = match logs::list(home)?.pop() {
            Some((number, path)) => open(&path)?.map(|file| Log { number, file }),
            None => None,
        };
        Ok(Self { home: home.to_owned(), last: Mutex::new(last) })
    }

    /// Makes durable all that was written.
    pub fn all(&self) -> io::Result<()> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = &*last {
            log.file.sync_data()?;
        }
        for (number, path) in logs::list(&self.home)? {
            if last.as_ref().is_some_and(|log| number <= log.number) {
                continue;
            }
            if let Some(file) = open(&path)? {
                file.sync_data()?;
                *last = Some(Log { number, file });
            }
        }
        Ok(())
    }
}

/// `None` where the library has removed the log, since tables have all of it.
fn open(log: &Path) -> io::Result<Option<File>> {
    match File::open(log) {
        Ok(file) => Ok(Some(file)),
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_that_is_written_to_is_followed_whatever_comes_and_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = |number: u64| folder.path().join(format!("{number}.jnl"));
        let number = |fsync: &Fsync| fsync.last.lock().expect("free").as_ref().map(|log| log.number);
        let fsync = Fsync::new(folder.path()).expect("readable");
        fsync.all().expect("nothing is there");
        assert_eq!(number(&fsync), None);
        for (made, removed) in [(8, None), (9, None), (10, Some(8)), (12, Some(10))] {
            File::create(log(made)).expect("made");
            if let Some(removed) = removed {
                std::fs::remove_file(log(removed)).expect("removed");
            }
            fsync.all().expect("durable");
            assert_eq!(number(&fsync), Some(made));
        }
        assert_eq!(number(&Fsync::new(folder.path()).expect("readable")), Some(12));
    }
}
