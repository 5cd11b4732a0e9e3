//! What happened: every attempt, and every event as it was accepted.
//!
//! ```text
//! journal/history/attempts/   newest first: what became of an event
//! journal/history/events/     oldest first: what can be replayed
//! ```
//!
//! Nothing here is needed to deliver, so it costs no fsync, and whoever asks
//! reads the files from one end to the other: there is no index to keep.

mod log;
pub(super) mod segment;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use self::log::Log;
use self::segment::records;
use crate::journal::inspect::{Attempt, AttemptFilter, Cursor, Kept, KeptFilter, Page, PageRoom};
use crate::journal::limits::Bounds;
use crate::journal::metrics::Metrics;
use crate::journal::record::Corrupt;
use crate::journal::record::history as record;
use crate::model::{Timestamp, WebhookUid};

/// See the module.
pub struct History {
    attempts: Log,
    events: Log,
}

/// Bytes of kept events that are read at a time.
const PIECE: usize = 1024 * 1024;

/// Where a record is: the number of its segment, and its offset there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Position(u64, u64);

impl Position {
    fn cursor(self) -> Cursor {
        Cursor::of_pair((self.0, self.1))
    }

    /// What is no cursor of these is as if there were none.
    fn of(cursor: &Cursor) -> Option<Self> {
        cursor.pair().map(|(number, offset)| Self(number, offset))
    }
}

impl History {
    /// Opens both logs in a folder.
    pub fn open(folder: &Path, attempts: Bounds, events: Bounds, metrics: &Metrics) -> io::Result<Self> {
        Ok(Self {
            attempts: Log::open(folder.join("attempts"), attempts, metrics.attempts_lost.clone())?,
            events: Log::open(folder.join("events"), events, metrics.volume.events_not_kept.clone())?,
        })
    }

    /// Keeps an attempt; `now` is on the journal's clock.
    pub fn note(&self, now: Timestamp, attempt: &Attempt) {
        self.attempts.put(now, |bytes| record::encode_attempt(bytes, attempt));
    }

    /// Keeps an event that was accepted `at` by the time of day, from its record.
    pub fn keep(&self, now: Timestamp, at: Timestamp, webhooks: &[WebhookUid], event: &[u8]) {
        self.events.put(now, |bytes| record::encode_kept(bytes, at, webhooks, event));
    }

    /// See [`crate::journal::Inspect::attempts`]. Reads files.
    pub fn attempts(
        &self,
        of: &AttemptFilter,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Attempt>, Corrupt> {
        self.attempts.flush();
        let before = cursor.and_then(Position::of).unwrap_or(Position(u64::MAX, u64::MAX));
        let mut page = Page { items: Vec::new(), next: None };
        for segment in self.attempts.segments().iter().rev() {
            if segment.number > before.0 {
                continue;
            }
            let bytes = self.attempts.read(segment, 0, usize::MAX);
            let mut found = Vec::new();
            for record in records(&bytes, 0) {
                let position = Position(segment.number, record.offset as u64);
                if position >= before {
                    break;
                }
                let attempt = record::decode_attempt(record.body)?;
                if of.wants(&attempt) {
                    found.push((position, attempt));
                }
            }
            for (position, attempt) in found.into_iter().rev() {
                if page.items.len() == limit.max(1) {
                    return Ok(page);
                }
                page.next = Some(position.cursor());
                page.items.push(attempt);
            }
        }
        page.next = None;
        Ok(page)
    }

    /// The namespaces of all events that are kept. Reads files.
    pub fn namespaces(&self) -> Result<BTreeSet<String>, Corrupt> {
        self.events.flush();
        let mut names = BTreeSet::new();
        for segment in self.events.segments() {
            let bytes = self.events.read(&segment, 0, usize::MAX);
            for record in records(&bytes, 0) {
                let kept = record::decode_kept(record.body)?;
                if !names.contains(&kept.event.namespace) {
                    names.insert(kept.event.namespace.clone());
                }
            }
        }
        Ok(names)
    }

    /// See [`crate::journal::Inspect::kept`]. Reads files.
    pub fn kept(
        &self,
        of: &KeptFilter,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Kept>, Corrupt> {
        self.events.flush();
        let Position(number, mut offset) = cursor.and_then(Position::of).unwrap_or(Position(0, 0));
        let mut page = Page { items: Vec::new(), next: None };
        let mut room = PageRoom::new(limit);
        for segment in self.events.segments() {
            if segment.number < number {
                continue;
            }
            if segment.number > number {
                offset = 0;
            }
            let mut size = PIECE;
            while offset < segment.bytes {
                let bytes = self.events.read(&segment, offset, size);
                let mut read = 0;
                for record in records(&bytes, 0) {
                    if room.is_used_up() {
                        return Ok(page);
                    }
                    let kept = record::decode_kept(record.body)?;
                    if of.wants(&kept) {
                        room.put(&kept.event);
                        page.items.push(kept);
                    }
                    read = record.end;
                    page.next = Some(Position(segment.number, offset + read as u64).cursor());
                }
                if read > 0 {
                    (offset, size) = (offset + read as u64, PIECE);
                } else if bytes.len() == size {
                    // A record that is larger than what was read.
                    size *= 2;
                } else {
                    // Torn by a crash: nothing follows.
                    break;
                }
            }
        }
        page.next = None;
        Ok(page)
    }
}

#[cfg(test)]
mod tests;
