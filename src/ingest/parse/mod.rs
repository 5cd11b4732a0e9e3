//! From headers and body to events: `CloudEvents` 1.0 over HTTP.
//!
//! ```text
//! Content-Type ─> Mode ─┬─ structured: one JSON object ───┐
//!                       ├─ batched: an array of them ─────┼─> Members ─> Event
//!                       └─ binary: ce-… headers and data ─┘
//! ```
//!
//! **Guarantees.** Pure. What it returns is whole and checked, in the order of
//! the request; what it refuses, it refuses as a whole, and says what to change
//! and, in a batch, where. `data` is kept byte for byte as the producer wrote it.
//!
//! **Does not do.** Extension attributes are checked for their form and then
//! let go: no body that Herald sends has a place for them. Inside `data`
//! nothing is looked at but that it is JSON of a bearable depth.
//!
//! Source: the `CloudEvents` specification 1.0.2, its JSON format and its HTTP
//! protocol binding.

mod attributes;
mod binary;
mod content;
mod data;
mod fault;
mod members;
mod scalar;

use bytes::Bytes;
use http::HeaderMap;

use crate::model::{Event, Timestamp};

use content::Mode;
pub use fault::{Fault, Refusal};

/// The most events in one batch.
pub const MAX_BATCH_EVENTS: usize = 1000;
/// The largest body of a batch, in bytes.
pub const MAX_BATCH_BYTES: usize = 4 << 20;
/// The largest `data`, in bytes.
pub const MAX_DATA_BYTES: usize = 256 << 10;
/// The largest body that is one event: its data and room for the attributes.
pub const MAX_EVENT_BYTES: usize = MAX_DATA_BYTES + (16 << 10);

/// What the headers say about the body, known before the body is read.
#[derive(Debug)]
pub struct Head<'a> {
    headers: &'a HeaderMap,
    mode: Mode,
}

impl<'a> Head<'a> {
    /// Reads the content type and tells the modes apart.
    ///
    /// # Errors
    /// The content is of a type or an encoding that is not taken.
    pub fn read(headers: &'a HeaderMap) -> Result<Self, Refusal> {
        Ok(Self { headers, mode: content::mode(headers)? })
    }

    /// The largest body that this request may have, in bytes.
    pub const fn max_body_bytes(&self) -> usize {
        match self.mode {
            Mode::Batched => MAX_BATCH_BYTES,
            Mode::Structured | Mode::Binary => MAX_EVENT_BYTES,
        }
    }

    /// The events of the request, posted to `namespace` and received at `now`.
    ///
    /// # Errors
    /// The first thing that is wrong, with the index of the event in a batch.
    pub fn events(&self, body: &Bytes, namespace: &str, now: Timestamp) -> Result<Vec<Event>, Refusal> {
        match self.mode {
            Mode::Structured => Ok(vec![members::one(body)?.into_event(namespace, now)?]),
            Mode::Binary => Ok(vec![binary::members(self.headers, body)?.into_event(namespace, now)?]),
            Mode::Batched => members::many(body)?
                .into_iter()
                .enumerate()
                .map(|(index, members)| {
                    members.into_event(namespace, now).map_err(|fault| Refusal::at(index, fault))
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests;
