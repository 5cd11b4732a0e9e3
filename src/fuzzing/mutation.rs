//! Small changes of bytes, as a fuzzer makes them: for a moment of it in every run of the tests.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Bytes and words that parsers trip over.
const WORDS: [&[u8]; 20] = [
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\x7f",
    b"\x80",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"[",
    b"]}",
    b"\n\n",
    b"\r\n",
    b": ",
    b"%",
    b"%00",
    b"9999999999999999999999",
    b"-1",
    "\u{202e}\u{feff}\u{2028}".as_bytes(),
];

/// The longest that a mutation makes an input.
const MOST: usize = 4096;

/// A source of mutations that is the same for the same seed.
pub(super) struct Mutator(StdRng);

impl Mutator {
    pub(super) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// One of the inputs, with one to six changes.
    pub(super) fn next(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = self.one_of(inputs).to_vec();
        for _ in 0..self.0.random_range(1..=6) {
            self.change(&mut bytes, inputs);
        }
        bytes.truncate(MOST);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let (from, to) = self.span(bytes.len());
        match self.0.random_range(0..7) {
            0 => bytes.iter_mut().skip(from).take(1).for_each(|byte| *byte ^= 1 << self.0.random_range(0..8)),
            1 => bytes.iter_mut().skip(from).take(1).for_each(|byte| *byte = self.0.random()),
            2 => drop(bytes.drain(from..to)),
            3 => {
                let word = self.one_of(&WORDS.map(<[u8]>::to_vec)).to_vec();
                drop(bytes.splice(from..from, word));
            }
            4 => {
                let copies = self.0.random_range(1..=8);
                let piece = bytes[from..to].repeat(copies);
                drop(bytes.splice(from..from, piece));
            }
            5 => {
                let other = self.one_of(inputs).to_vec();
                let (start, end) = self.span(other.len());
                drop(bytes.splice(from..to, other[start..end].iter().copied()));
            }
            _ => bytes.truncate(from),
        }
    }

    fn one_of<'a>(&mut self, inputs: &'a [Vec<u8>]) -> &'a [u8] {
        &inputs[self.0.random_range(0..inputs.len())]
    }

    /// A part of so many bytes, mostly a short one.
    fn span(&mut self, length: usize) -> (usize, usize) {
        let from = self.0.random_range(0..=length);
        let longest = if self.0.random() { 8 } else { length };
        (from, self.0.random_range(from..=length.min(from.saturating_add(longest))))
    }
}
