//! The library's logs, read before the library does.
//!
//! ```text
//! batch · batch · half a batch · zeros     an unfinished write: the library would cut it
//! batch · DAMAGE · batch · zeros           the library would cut here, or not open: left out here
//! ```
//!
//! What follows damage is found by looking for the next batch whose checksum is
//! right. No event can pass itself off as one: JSON has none of the bytes that
//! a batch begins with.
//!
//! The number of a batch is in no checksum. One that does not lie between its
//! neighbours is damage as well.

use std::ops::Range;

use super::log::{self, START, TRAILER};

/// A step of a batch's number that nobody makes.
const LEAP: u64 = 1 << 32;

/// What is in a log.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// What can be read, in order.
    pub good: Vec<Range<usize>>,
    /// What was written and cannot be read.
    pub damaged: Vec<Range<usize>>,
    /// Bytes of an unfinished write at the end.
    pub torn: usize,
}

/// Looks through a log. In one that is `sealed`, no write was unfinished.
pub fn scan(log: &[u8], sealed: bool) -> Scan {
    let used = log.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut found = Vec::new();
    let mut scan = Scan::default();
    let (mut at, mut bad) = (0, 0);
    while at < used {
        if let Some(batch) = log.get(at..).and_then(log::read) {
            if bad < at {
                scan.damaged.push(bad..at);
            }
            found.push((at..at + batch.length, batch.number));
            at += batch.length;
            bad = at;
        } else {
            let next = log.get(at + 1..used).and_then(|rest| rest.iter().position(|byte| *byte == START));
            at = next.map_or(used, |next| at + 1 + next);
        }
    }
    if bad < used {
        let tail = log.get(bad..used).unwrap_or_default();
        // A write that was cut has no end.
        let whole = tail.windows(TRAILER.len()).any(|bytes| bytes == TRAILER);
        if sealed || whole {
            scan.damaged.push(bad..used);
        } else {
            scan.torn = used - bad;
        }
    }
    let (good, wrong) = in_order(found);
    scan.good = good;
    scan.damaged.extend(wrong);
    scan.damaged.sort_unstable_by_key(|range| range.start);
    scan
}

/// Sorts out the batches whose number does not lie between those of their neighbours.
fn in_order(found: Vec<(Range<usize>, u64)>) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
    let (mut good, mut wrong) = (Vec::new(), Vec::new());
    let mut last: Option<u64> = None;
    let mut rest = found.into_iter().peekable();
    while let Some((range, number)) = rest.next() {
        let follows = last.is_none_or(|last| number > last && number - last < LEAP);
        let leads = rest.peek().is_none_or(|(_, next)| {
            // If the next is wrong itself, that is seen at its turn.
            *next > number || last.is_some_and(|last| *next <= last)
        });
        if follows && leads {
            last = Some(number);
            good.push(range);
        } else {
            wrong.push(range);
        }
    }
    (good, wrong)
}
