//! The way in for user events: `POST /v1/namespaces/{namespace}/events`.
//!
//! ```text
//! accept ─> TLS ─> HTTP/1.1 ─> path, token ─> quota ─> body ─> parse ─> quota ─> match ─> Journal::append ─> 202
//!    │                             │            │        │        │        │       │             │
//!  limits                       401, 403       429    408, 413  400…      429  not ready   refused, 429
//! ```
//!
//! **Guarantees.** A 202 means that every event of the request, and every
//! delivery that it was matched to, is durable; anything else means that the
//! producer has to say it again, and a 503 that it may. Whoever has no right
//! to send makes nothing but a bounded effort: no body of theirs is kept.
//!
//! **Assumes.** The listener is on loopback, or TLS is on: [`run`] refuses
//! anything else, and [`check_exposure`] says so before a listener is made.
//!
//! **Does not do.** It never logs a token or what an event says.

mod connection;
mod exposure;
mod framing;
mod limits;
mod metrics;
pub mod parse;
mod problem;
pub mod quota;
mod server;
mod service;
mod tls;

pub use exposure::{Exposed, check_exposure};
pub use limits::Limits;
pub use metrics::Metrics;
pub use problem::{Problem, Unavailable};
pub use server::{RunError, run};
pub use service::{Accepted, Matching, Others, Service};
pub use tls::{TlsError, TlsFiles};

#[cfg(test)]
mod tests;
