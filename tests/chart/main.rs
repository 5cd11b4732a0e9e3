//! The chart, without a cluster: what it renders, what it refuses, and whether
//! what it says of Herald is true of Herald.
#![expect(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

mod nats;
mod pods;
mod render;
mod rights;
mod statuses;
mod telemetry;
mod values;
