//! What must hold of every parser of outside input, whatever the input.
//!
//! ```text
//! fuzz/seeds/TARGET ─┬─> tests: each seed, and some mutations of it              make test
//!                    └─> libFuzzer: as long as one likes, guided by coverage     make fuzz
//!                              └─> property: a function here, or in the `fuzz.rs` of the parser's module
//! ```
//!
//! A property holds for any bytes and panics where it does not: what is taken reads back
//! as it was written, bounds hold, two parsers of one grammar agree, and a complaint
//! neither is long nor repeats a secret. This module is in no binary that is shipped.
#![allow(
    clippy::expect_used,
    clippy::format_collect,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a panic is what a fuzzer looks for"
)]

mod events;
#[cfg(test)]
mod mutation;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// A property, by the name of its target.
pub type Target = (&'static str, fn(&[u8]));

/// All of them. Each has seeds, and a program in `fuzz/fuzz_targets`.
pub const TARGETS: [Target; 20] = [
    ("allowance", crate::outbound::fuzz::allowance),
    ("answer", crate::outbound::fuzz::answer),
    ("answers", crate::cli::fuzz::answers),
    ("authorization", crate::access::fuzz::authorization),
    ("challenge", crate::controller::fuzz::challenge),
    ("duration", crate::api::fuzz::duration),
    ("events", events::events),
    ("logs", crate::journal::embedded::fuzz::logs),
    ("manifest", crate::api::fuzz::manifest),
    ("memory", crate::dispatch::fuzz::memory),
    ("places", crate::journal::embedded::fuzz::places),
    ("records", crate::journal::embedded::fuzz::records),
    ("retry_after", crate::dispatch::fuzz::retry_after),
    ("send", crate::cli::fuzz::send),
    ("segments", crate::journal::embedded::fuzz::segments),
    ("signing_secret", crate::outbound::fuzz::signing_secret),
    ("snapshot", crate::journal::jetstream::fuzz::snapshot),
    ("tls_settings", crate::outbound::fuzz::tls_settings),
    ("uri", crate::api::fuzz::uri),
    ("wire", crate::journal::jetstream::fuzz::wire),
];

/// Holds a target's property against some bytes.
///
/// # Panics
/// It does not hold, or no target has the name.
pub fn run(name: &str, data: &[u8]) {
    let (_, property) = TARGETS.iter().find(|(known, _)| *known == name).expect("the name of a target");
    property(data);
}

/// The key of a challenge, as seeds have it.
pub(crate) const KEY: &str = "k";

/// A text of headers, a blank line and a body. Lines that no header can be are left out.
pub(crate) fn message(data: &[u8]) -> (HeaderMap, Bytes) {
    let end = data.windows(2).position(|bytes| bytes == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&data[..end], &data[end + 2..]),
        None => (data, &[][..]),
    };
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n').take(128) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    (headers, Bytes::copy_from_slice(body))
}
