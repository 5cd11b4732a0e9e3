//! How much of the process callers may use.

use std::time::Duration;

/// The bounds of ingestion. What an event and a batch may be is fixed by the
/// protocol; these are an operator's to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at one time; further ones wait in the kernel's queue.
    pub connections: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From the handshake to the end of the first request's header.
    pub first_header: Duration,
    /// From the end of one request to the end of the next one's header.
    pub idle: Duration,
    /// For the whole body, from the header to its last byte.
    pub body: Duration,
    /// For the journal to answer.
    pub store: Duration,
    /// For what is under way when the server is told to stop.
    pub drain: Duration,
    /// The most bytes of bodies in memory at one time; at least one batch.
    pub body_bytes: usize,
    /// The most bytes of one request's header.
    pub header_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            handshake: Duration::from_secs(10),
            first_header: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body: Duration::from_secs(10),
            store: Duration::from_secs(10),
            drain: Duration::from_secs(20),
            body_bytes: 64 << 20,
            header_bytes: 32 << 10,
        }
    }
}
