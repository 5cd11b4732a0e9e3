//! What the journal asks of the disk beside what the storage library does.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// Makes the names in a folder durable.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes the names in a folder and in all folders below it durable.
pub fn sync_folders(path: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    sync_folder(path)
}

/// Replaces a file by a copy of it that is durable; its name is when its folder was synced.
pub fn rewrite(path: &Path) -> io::Result<()> {
    replace(path, |new| copy(path, new))
}

/// Replaces a file by what is written to another name and made durable there.
pub fn replace(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let new = with_suffix(path, "new");
    write(&new).and_then(|()| std::fs::rename(&new, path)).inspect_err(|_| {
        // The room may be needed.
        let _ = std::fs::remove_file(&new);
    })
}

/// Copies a file, and makes the copy durable. What is only zeros takes no room, as in a log
/// that was made longer than what is in it.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let (mut from, mut to) = (File::open(from)?, File::create(to)?);
    let mut piece = vec![0; 64 * 1024];
    let mut length = 0;
    loop {
        let read = from.read(&mut piece)?;
        let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        if bytes.iter().any(|byte| *byte != 0) {
            to.seek(SeekFrom::Start(length))?;
            to.write_all(bytes)?;
        }
        length += read as u64;
    }
    to.set_len(length)?;
    to.sync_all()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}
