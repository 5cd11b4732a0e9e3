//! How the library's logs are written.
//!
//! ```text
//! log   = batch · batch · … · zeros
//! batch = 1 · items u32 · number u64 ── items ── 3 · checksum of the items u64 · trailer
//! item  = 2 · kind · compression · keyspace u64 · lengths of key u16, value u32, value here u32 · key · value
//! ```
//!
//! Numbers are little endian. The library can also write that a keyspace was
//! cleared; Herald clears none.

use xxhash_rust::xxh3::xxh3_64;

/// What a batch begins with.
pub const START: u8 = 1;

const ITEM: u8 = 2;
const END: u8 = 3;

/// What a batch ends with.
pub const TRAILER: &[u8] = b"FJL\x03";

/// A batch that is whole, and whose checksum is right.
pub struct Batch<'a> {
    /// Its number, which is in no checksum.
    pub number: u64,
    /// Bytes of it in the log.
    pub length: usize,
    /// What it writes.
    pub items: Vec<Item<'a>>,
}

/// What a batch writes under one key.
pub struct Item<'a> {
    /// The keyspace's number.
    pub keyspace: u64,
    bytes: &'a [u8],
}

#[cfg(any(test, fuzzing))]
impl<'a> Item<'a> {
    /// Of its bytes in a log, for keyspace 7.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { keyspace: 7, bytes }
    }
}

/// The batch that bytes begin with.
pub fn read(bytes: &[u8]) -> Option<Batch<'_>> {
    let mut rest = Rest(bytes);
    if rest.u8()? != START {
        return None;
    }
    let (count, number) = (rest.u32()?, rest.u64()?);
    let all = rest.0;
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(rest.item()?);
    }
    let all = all.get(..all.len() - rest.0.len())?;
    let ends = rest.u8()? == END && rest.u64()? == xxh3_64(all) && rest.take(4)? == TRAILER;
    ends.then_some(Batch { number, length: bytes.len() - rest.0.len(), items })
}

/// A batch of some of the items that another had.
pub fn write(number: u64, items: &[Item<'_>]) -> Vec<u8> {
    let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
    let all: Vec<u8> = items.iter().flat_map(|item| item.bytes).copied().collect();
    let mut batch = Vec::with_capacity(all.len() + 26);
    batch.push(START);
    batch.extend(count.to_le_bytes());
    batch.extend(number.to_le_bytes());
    batch.extend(&all);
    batch.push(END);
    batch.extend(xxh3_64(&all).to_le_bytes());
    batch.extend(TRAILER);
    batch
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn item(&mut self) -> Option<Item<'a>> {
        let all = self.0;
        if self.u8()? != ITEM {
            return None;
        }
        self.take(2)?;
        let keyspace = self.u64()?;
        let (key, _, value) = (self.u16()?, self.u32()?, self.u32()?);
        self.take(usize::from(key))?;
        self.take(usize::try_from(value).ok()?)?;
        let bytes = all.get(..all.len() - self.0.len())?;
        Some(Item { keyspace, bytes })
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
