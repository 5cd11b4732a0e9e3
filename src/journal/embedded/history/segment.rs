//! One file of a log, and the records in it.
//!
//! ```text
//! name    number (10 digits) - moment of the first record (ms) .log
//! record  length (4 bytes) · hash (8 bytes) · moment (8 bytes) · body
//! ```
//!
//! The hash (XXH3) is of moment and body. A file is never written again once
//! another was begun or the process has ended, so what a crash has torn is at
//! its end; reading stops at the first record that is not whole.

use std::path::{Path, PathBuf};

use crate::model::Timestamp;

/// Bytes before a record's body.
pub const HEAD: usize = 20;

/// A file of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Counts on from one to the next.
    pub number: u64,
    /// When its first record was written.
    pub begun: Timestamp,
    /// Its length.
    pub bytes: u64,
}

impl Segment {
    /// What a file is called that begins at `begun`.
    pub fn path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{:010}-{}.log", self.number, self.begun.as_millis()))
    }

    /// The segment of a file; `None` if it is none.
    pub fn of(path: &Path, bytes: u64) -> Option<Self> {
        let (number, begun) = path.file_name()?.to_str()?.strip_suffix(".log")?.split_once('-')?;
        let begun = Timestamp::from_millis(begun.parse().ok()?);
        Some(Self { number: number.parse().ok()?, begun, bytes })
    }
}

/// Adds a record to a buffer. `write` adds its body.
pub fn put(buffer: &mut Vec<u8>, at: Timestamp, write: impl FnOnce(&mut Vec<u8>)) {
    let start = buffer.len();
    buffer.extend([0; 12]);
    buffer.extend(at.as_millis().to_be_bytes());
    write(buffer);
    let Some((head, rest)) = buffer.get_mut(start..).and_then(|record| record.split_at_mut_checked(12))
    else {
        return;
    };
    let (length, hash) = head.split_at_mut(4);
    length.copy_from_slice(&u32::try_from(rest.len()).unwrap_or(u32::MAX).to_be_bytes());
    hash.copy_from_slice(&xxhash_rust::xxh3::xxh3_64(rest).to_be_bytes());
}

/// A record of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it begins in the file.
    pub offset: usize,
    /// Where the next one begins.
    pub end: usize,
    /// When it was written.
    pub at: Timestamp,
    /// What was written.
    pub body: &'a [u8],
}

/// The records of a file from an offset on, up to the first that is not whole.
pub fn records(bytes: &[u8], from: usize) -> impl Iterator<Item = Record<'_>> {
    let mut offset = from;
    std::iter::from_fn(move || {
        let record = record(bytes, offset)?;
        offset = record.end;
        Some(record)
    })
}

fn record(bytes: &[u8], offset: usize) -> Option<Record<'_>> {
    let (length, rest) = bytes.get(offset..)?.split_first_chunk::<4>()?;
    let (hash, rest) = rest.split_first_chunk::<8>()?;
    let rest = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    if xxhash_rust::xxh3::xxh3_64(rest) != u64::from_be_bytes(*hash) {
        return None;
    }
    let (at, body) = rest.split_first_chunk::<8>()?;
    let at = Timestamp::from_millis(u64::from_be_bytes(*at));
    Some(Record { offset, end: offset + HEAD + body.len(), at, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn three() -> Vec<u8> {
        let mut bytes = Vec::new();
        for (millis, body) in [(1, "one"), (2, ""), (3, "three")] {
            put(&mut bytes, at(millis), |buffer| buffer.extend(body.as_bytes()));
        }
        bytes
    }

    fn bodies(bytes: &[u8]) -> Vec<(u64, &[u8])> {
        records(bytes, 0).map(|record| (record.at.as_millis(), record.body)).collect()
    }

    #[test]
    fn what_was_put_is_read() {
        let bytes = three();
        assert_eq!(bodies(&bytes), [(1, &b"one"[..]), (2, b""), (3, b"three")]);
        let second = records(&bytes, 0).nth(1).unwrap();
        assert_eq!(records(&bytes, second.offset).count(), 2);
        assert_eq!(records(&bytes, second.end).count(), 1);
    }

    #[test]
    fn reading_ends_at_what_is_torn_or_changed() {
        let bytes = three();
        let last = records(&bytes, 0).nth(2).unwrap().offset;
        for length in last..bytes.len() {
            assert_eq!(bodies(&bytes[..length]).len(), 2, "cut at {length}");
        }
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 0x10;
            assert!(bodies(&changed).len() < 3, "changed at {place}");
        }
    }

    #[test]
    fn a_name_tells_the_segment() {
        let segment = Segment { number: 7, begun: at(1_700_000_000_123), bytes: 5 };
        let path = segment.path(Path::new("/a"));
        assert_eq!(path, Path::new("/a/0000000007-1700000000123.log"));
        assert_eq!(Segment::of(&path, 5), Some(segment));
        for other in ["/a/x.log", "/a/1-2.txt", "/a/1-.log", "/a"] {
            assert_eq!(Segment::of(Path::new(other), 5), None, "{other}");
        }
    }
}
