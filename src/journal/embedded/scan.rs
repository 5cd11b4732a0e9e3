//! The library's logs, read before the library does.
//!
//! ```text
//! log = batch · batch · … · zeros          batch = start · items · end with a checksum of the items
//!
//! batch · batch · half a batch · zeros     an unfinished write: left to the library, which cuts it
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

use xxhash_rust::xxh3::xxh3_64;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: &[u8] = b"FJL\x03";

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
        let batch = log.get(at..).and_then(batch);
        if let Some((length, number)) = batch {
            if bad < at {
                scan.damaged.push(bad..at);
            }
            found.push((at..at + length, number));
            at += length;
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

/// The length and the number of the batch that bytes begin with, if it is whole and right.
fn batch(bytes: &[u8]) -> Option<(usize, u64)> {
    let mut rest = Rest(bytes);
    if rest.u8()? != START {
        return None;
    }
    let (count, number) = (rest.u32()?, rest.u64()?);
    let items = rest.0;
    for _ in 0..count {
        match rest.u8()? {
            ITEM => {
                rest.take(2)?;
                rest.u64()?;
                let (key, _, value) = (rest.u16()?, rest.u32()?, rest.u32()?);
                rest.take(usize::from(key))?;
                rest.take(usize::try_from(value).ok()?)?;
            }
            CLEAR => drop(rest.u64()?),
            _ => return None,
        }
    }
    let items = items.get(..items.len() - rest.0.len())?;
    let ends = rest.u8()? == END && rest.u64()? == xxh3_64(items) && rest.take(4)? == TRAILER;
    ends.then_some((bytes.len() - rest.0.len(), number))
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}
