//! A log that is bounded by bytes and age, for what need not survive a crash.
//!
//! ```text
//! put ─> buffer ── thread: twice a second, or when much is there ─> segment files
//!                                                                      │
//!                                        the oldest go, whole ─────────┘── read
//! ```
//!
//! **Guarantees.** Putting costs no I/O and never waits; the buffer is bounded.
//! What was put before [`Log::flush`] can be read after it.
//!
//! **Does not promise.** There is no fsync. What does not fit into the buffer,
//! or cannot be written, is lost and counted.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

use super::segment::{self, Segment};
use crate::journal::limits::Bounds;
use crate::model::Timestamp;

/// How often what is in the buffer is written.
const EVERY: Duration = Duration::from_millis(500);
/// So many bytes are written at once.
const MUCH: usize = 256 * 1024;
/// No more bytes are in memory.
const MOST: usize = 4 * 1024 * 1024;
/// The oldest segment goes as a whole, so a log has at least so many.
const SEGMENTS: u64 = 16;
/// For how long a reader waits for what is in the buffer.
const PATIENCE: Duration = Duration::from_secs(5);

/// See the module.
pub struct Log {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

struct Shared {
    folder: PathBuf,
    bounds: Bounds,
    lost: Counter,
    state: Mutex<State>,
    /// For the thread: there is something to do.
    work: Condvar,
    /// For who waits: it is done.
    done: Condvar,
}

#[derive(Default)]
struct State {
    buffer: Vec<u8>,
    records: u64,
    /// When the first and the last record in the buffer were put.
    span: Option<(Timestamp, Timestamp)>,
    segments: Vec<Segment>,
    /// Flushes that were asked for, and that are done.
    asked: u64,
    done: u64,
    closed: bool,
}

impl Log {
    /// Goes on with what is in the folder, in a new file.
    pub fn open(folder: PathBuf, bounds: Bounds, lost: Counter) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let mut segments = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            segments.extend(Segment::of(&entry.path(), entry.metadata()?.len()));
        }
        segments.sort_unstable_by_key(|segment| segment.number);
        let state = Mutex::new(State { segments, ..State::default() });
        let (work, done) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { folder, bounds, lost, state, work, done });
        let thread = std::thread::Builder::new().name("history".to_owned());
        let writer = thread.spawn({
            let shared = Arc::clone(&shared);
            move || Writer { shared, file: None }.run()
        })?;
        Ok(Self { shared, writer: Some(writer) })
    }

    /// Adds a record; `write` adds its body to the bytes.
    pub fn put(&self, at: Timestamp, write: impl FnOnce(&mut Vec<u8>)) {
        if self.shared.bounds.bytes == 0 {
            return;
        }
        let mut state = self.shared.lock();
        if state.buffer.len() >= MOST || state.closed {
            self.shared.lost.inc();
            return;
        }
        let before = state.buffer.len();
        segment::put(&mut state.buffer, at, write);
        state.records += 1;
        let (first, _) = state.span.unwrap_or((at, at));
        state.span = Some((first, at));
        let enough = before < MUCH && state.buffer.len() >= MUCH;
        drop(state);
        if enough {
            self.shared.work.notify_one();
        }
    }

    /// Waits until what was put before can be read.
    pub fn flush(&self) {
        let mut state = self.shared.lock();
        state.asked += 1;
        let asked = state.asked;
        self.shared.work.notify_one();
        let waits = |state: &mut State| state.done < asked && !state.closed;
        let waited = self.shared.done.wait_timeout_while(state, PATIENCE, waits);
        drop(waited);
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> Vec<Segment> {
        self.shared.lock().segments.clone()
    }

    /// At most `most` bytes of a segment; none if it is no longer there.
    pub fn read(&self, segment: &Segment, from: u64, most: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = File::open(segment.path(&self.shared.folder)).and_then(|mut file| {
            file.seek(SeekFrom::Start(from))?;
            file.take(most as u64).read_to_end(&mut bytes)
        });
        match read {
            Ok(_) => bytes,
            // It went while it was read.
            Err(_) => Vec::new(),
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_one();
        if let Some(writer) = self.writer.take() {
            // It has nothing to do but to write what is left.
            let _ = writer.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What its thread has.
struct Writer {
    shared: Arc<Shared>,
    /// The newest segment, while it is open.
    file: Option<File>,
}

impl Writer {
    fn run(mut self) {
        let mut spare = Vec::new();
        loop {
            let mut state = self.shared.lock();
            let idle =
                |state: &mut State| state.buffer.len() < MUCH && state.asked == state.done && !state.closed;
            (state, _) = self
                .shared
                .work
                .wait_timeout_while(state, EVERY, idle)
                .unwrap_or_else(PoisonError::into_inner);
            let buffer = std::mem::replace(&mut state.buffer, std::mem::take(&mut spare));
            let (asked, closed) = (state.asked, state.closed);
            let (records, span) = (std::mem::take(&mut state.records), state.span.take());
            drop(state);
            if let Some((first, last)) = span {
                if let Err(error) = self.write(&buffer, first) {
                    self.shared.lost.inc_by(records);
                    tracing::warn!(%error, records, "the history of deliveries could not be written");
                    self.file = None;
                }
                self.evict(last);
            }
            self.shared.lock().done = asked;
            self.shared.done.notify_all();
            if closed {
                return;
            }
            spare = buffer;
            spare.clear();
            // After a burst its memory goes back.
            spare.shrink_to(MUCH);
        }
    }

    fn write(&mut self, bytes: &[u8], first: Timestamp) -> io::Result<()> {
        if self.is_due(first) {
            let number = self.shared.lock().segments.last().map_or(0, |last| last.number + 1);
            let segment = Segment { number, begun: first, bytes: 0 };
            self.file = Some(File::create(segment.path(&self.shared.folder))?);
            self.shared.lock().segments.push(segment);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(bytes)?;
        if let Some(segment) = self.shared.lock().segments.last_mut() {
            segment.bytes += bytes.len() as u64;
        }
        Ok(())
    }

    /// Whether another segment is to begin.
    fn is_due(&self, now: Timestamp) -> bool {
        let Bounds { bytes, age } = self.shared.bounds;
        let parts = u32::try_from(SEGMENTS).unwrap_or(u32::MAX);
        self.file.is_none()
            || self.shared.lock().segments.last().is_none_or(|last| {
                last.bytes >= (bytes / SEGMENTS).max(1) || now.since(last.begun) > age / parts
            })
    }

    /// Lets the oldest segments go.
    fn evict(&self, now: Timestamp) {
        let Bounds { bytes, age } = self.shared.bounds;
        loop {
            let oldest = {
                let mut state = self.shared.lock();
                let total: u64 = state.segments.iter().map(|segment| segment.bytes).sum();
                // All of a segment is older than the beginning of the next.
                let old = state.segments.get(1).is_some_and(|next| now.since(next.begun) > age);
                if state.segments.len() < 2 || !(total > bytes || old) {
                    return;
                }
                state.segments.remove(0)
            };
            if let Err(error) = fs::remove_file(oldest.path(&self.shared.folder)) {
                tracing::warn!(%error, "an old part of the history of deliveries could not be removed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::segment::records;
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn open(folder: &tempfile::TempDir, bytes: u64) -> Log {
        let bounds = Bounds { bytes, age: Duration::from_secs(160) };
        Log::open(folder.path().join("log"), bounds, Counter::default()).unwrap()
    }

    fn put(log: &Log, second: u64, body: &str) {
        log.put(at(second), |buffer| buffer.extend(body.as_bytes()));
    }

    fn found(log: &Log) -> Vec<String> {
        log.flush();
        let bodies = |segment: &Segment| {
            let bytes = log.read(segment, 0, usize::MAX);
            records(&bytes, 0).map(|r| String::from_utf8(r.body.to_vec()).unwrap()).collect::<Vec<_>>()
        };
        log.segments().iter().flat_map(bodies).collect()
    }

    #[test]
    fn what_was_put_is_there_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let log = open(&folder, 1 << 20);
        put(&log, 1, "a");
        put(&log, 2, "b");
        assert_eq!(found(&log), ["a", "b"]);
        put(&log, 3, "c");
        drop(log);
        let log = open(&folder, 1 << 20);
        assert_eq!(found(&log), ["a", "b", "c"]);
        put(&log, 4, "d");
        assert_eq!(found(&log), ["a", "b", "c", "d"]);
    }

    #[test]
    fn beyond_its_bytes_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let log = open(&folder, 16 * 100);
        for n in 0..100 {
            put(&log, 1, &format!("{n:080}"));
            log.flush();
        }
        let left = found(&log);
        let first: u64 = left[0].parse().unwrap();
        assert!((80..90).contains(&first), "{first}");
        assert_eq!(left.len() as u64, 100 - first);
        let bytes: u64 = log.segments().iter().map(|segment| segment.bytes).sum();
        assert!(bytes <= 1600, "{bytes}");
        assert_eq!(fs::read_dir(folder.path().join("log")).unwrap().count(), log.segments().len());
    }

    #[test]
    fn what_is_too_old_goes() {
        let folder = tempfile::tempdir().unwrap();
        let log = open(&folder, 1 << 20);
        for second in (0..600).step_by(10) {
            put(&log, second, &second.to_string());
            log.flush();
        }
        let first: u64 = found(&log)[0].parse().unwrap();
        assert!((590 - 160 - 30..=590 - 160).contains(&first), "{first}");
    }

    #[test]
    fn with_no_bytes_nothing_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let log = open(&folder, 0);
        put(&log, 1, "a");
        assert_eq!(found(&log), [""; 0]);
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_later_records_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let log = open(&folder, 1 << 20);
        let path = folder.path().join("log");
        fs::remove_dir(&path).unwrap();
        put(&log, 1, "lost");
        log.flush();
        assert_eq!(log.shared.lost.get(), 1);
        fs::create_dir(&path).unwrap();
        put(&log, 2, "kept");
        assert_eq!(found(&log), ["kept"]);
    }
}
